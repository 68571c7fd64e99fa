"""The primes of a short window far from zero: small divisors out first, then strong-pseudoprime tests to proven bases.

The least composites that pass for the first primes as bases: G. Jaeschke, Math. Comp. 61 (1993); Y. Jiang and Y. Deng,
Math. Comp. 83 (2014); J. Sorenson and J. Webster, "Strong pseudoprimes to twelve prime bases", Math. Comp. 86 (2017).
"""

from __future__ import annotations

from itertools import compress
from math import isqrt

__all__ = ["PROVEN_BELOW", "is_prime", "primes_in_window"]

_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
_SUFFICE_BELOW = (  # the first so many bases suffice below this number
    (2, 1_373_653),
    (4, 3_215_031_751),
    (5, 2_152_302_898_747),
    (7, 341_550_071_728_321),
    (9, 3_825_123_056_546_413_051),
    (12, 318_665_857_834_031_151_167_461),
    (13, 3_317_044_064_679_887_385_961_981),
)
PROVEN_BELOW = _SUFFICE_BELOW[-1][1]
_SMALL = 500  # divisors below this cost less to cross off than to leave to the tests


def primes_in_window(start: int, stop: int) -> list[int]:
    """The primes in [start, stop), at a cost that hardly depends on where the window lies."""
    primes = [2] if start <= 2 < stop else []
    first = max(start | 1, 3)
    length = max(0, (stop - first + 1) // 2)
    flags = bytearray(b"\1") * length
    for p in range(3, min(_SMALL, isqrt(stop) + 1), 2):
        if all(p % q for q in range(3, isqrt(p) + 1, 2)):
            at = max(p * p, first + -first % p)
            at = (at + (p if at % 2 == 0 else 0) - first) // 2
            flags[at::p] = bytes(len(range(at, length, p)))
    primes.extend(filter(is_prime, compress(range(first, stop, 2), flags)))
    return primes


def is_prime(n: int) -> bool:
    """Whether n is prime; quick below PROVEN_BELOW, where beyond it a prime is proven by trial division."""
    if n < 2:
        return False
    for p in _BASES:
        if n % p == 0:
            return n == p
    odd = n - 1
    twos = (odd & -odd).bit_length() - 1
    odd >>= twos
    bases = next((_BASES[:count] for count, bound in _SUFFICE_BELOW if n < bound), _BASES)
    if not all(_passes(n, base, odd, twos) for base in bases):
        return False
    return n < PROVEN_BELOW or all(n % d for d in range(43, isqrt(n) + 1, 2))


def _passes(n: int, base: int, odd: int, twos: int) -> bool:
    x = pow(base, odd, n)
    if x in (1, n - 1):
        return True
    for _ in range(twos - 1):
        x = x * x % n
        if x == n - 1:
            return True
    return False
