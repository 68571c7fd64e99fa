"""Philox4x32-10: random words as a function of a counter and a key, so that any of them is had without the ones before.

J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

One text for Python's ints, for int64 arrays and, compiled, for int64: a product may wrap modulo 2**64, but no bit of it
that is looked at is lost by that. Words are from 0 to 2**32 - 1; a word that all counters share may be a plain int.
"""

from __future__ import annotations

from typing import Any

__all__ = ["philox4x32", "uniforms"]

MASK = 0xFFFFFFFF


def philox4x32(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """The four random words of a counter of four words and a key of two."""
    for _ in range(10):
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = second >> 32 & MASK ^ c1 ^ k0, second & MASK, first >> 32 & MASK ^ c3 ^ k1, first & MASK
        k0, k1 = k0 + 0x9E3779B9 & MASK, k1 + 0xBB67AE85 & MASK
    return c0, c1, c2, c3


def uniforms(r0: Any, r1: Any, r2: Any, r3: Any) -> tuple[Any, Any]:
    """Two float64 numbers of 53 random bits each from four words: the one in (0, 1], the other in [0, 1)."""
    return ((r0 << 21 | r1 >> 11) + 1) * 2.0**-53, (r2 << 21 | r3 >> 11) * 2.0**-53
