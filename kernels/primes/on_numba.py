"""Primes on Numba: the segmented wheel sieve of `segments` for ranges, `lmo` for counts and sums from zero on.

Neither lists what it counts; the k-th prime and the sum of the first k go by `nth_prime`.
"""

from __future__ import annotations

import numpy as np

from kernels.primes import nth_prime
from kernels.primes.lmo import count_and_sum_below, count_below, sum_below
from kernels.primes.segments import count_bits, empty, listed, set_flags, sum_bits, sweep

__all__ = ["below", "between", "count_below", "count_between", "nth", "sieve", "sum_below", "sum_between", "sum_first"]


def sieve(limit: int) -> np.ndarray:
    flags = empty(limit).view(np.bool_)
    sweep(0, limit, lambda bits, first_byte: set_flags(bits, first_byte, flags))
    flags[_off_wheel(0, limit)] = True
    return flags


def below(limit: int) -> np.ndarray:
    return between(0, limit)


def between(start: int, stop: int) -> np.ndarray:
    return listed(start, stop, _off_wheel(start, stop), np.int64)


def count_between(start: int, stop: int) -> int:
    return len(_off_wheel(start, stop)) + sum(sweep(start, stop, lambda bits, _: count_bits(bits)))


def sum_between(start: int, stop: int) -> int:
    chunks = sweep(start, stop, lambda bits, first_byte: (first_byte, *sum_bits(bits)))
    return sum(_off_wheel(start, stop)) + sum(30 * first_byte * count + rest for first_byte, count, rest in chunks)


def nth(k: int) -> int:
    return nth_prime.nth(k, count_below, between)


def sum_first(k: int) -> int:
    return nth_prime.sum_first(k, count_and_sum_below, between, nth_prime.exact_sum)


def _off_wheel(start: int, stop: int) -> list[int]:
    return [prime for prime in (2, 3, 5) if start <= prime < stop]
