"""Philox4x32-10 of Python's ints, see `philox`, in the form that is the fastest.

PyPy compiles ints of 63 bits, and a product of 64 is none of them: there the words are multiplied in halves.
"""

from __future__ import annotations

import sys

__all__ = ["philox4x32"]

if sys.implementation.name == "pypy":
    from kernels.philox import MASK

    def philox4x32(c0: int, c1: int, c2: int, c3: int, k0: int, k1: int) -> tuple[int, int, int, int]:
        """The four random words of a counter of four words and a key of two."""
        for _ in range(10):
            first_high, first_low = _product(c0, 0xD2511F53)
            second_high, second_low = _product(c2, 0xCD9E8D57)
            c0, c1, c2, c3 = second_high ^ c1 ^ k0, second_low, first_high ^ c3 ^ k1, first_low
            k0, k1 = k0 + 0x9E3779B9 & MASK, k1 + 0xBB67AE85 & MASK
        return c0, c1, c2, c3

    def _product(a: int, b: int) -> tuple[int, int]:
        """The upper and the lower word of a product of two words."""
        low = (a & 0xFFFF) * b
        middle = (a >> 16) * b + (low >> 16)
        return middle >> 16, (middle & 0xFFFF) << 16 | low & 0xFFFF

else:
    from kernels.philox import philox4x32
