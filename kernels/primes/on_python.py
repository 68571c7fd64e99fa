"""The primes in pure Python.

Listing: the segmented sieve of Eratosthenes (C. Bays and R. H. Hudson, BIT 17, 1977) over odd numbers, a byte each.
Counts and sums below a limit: `lmo_python`. A short window far from zero, where listing the primes up to the root would
cost most: tests of each number, `strong_pseudoprime`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from math import isqrt

from kernels.primes import lmo_python, nth_prime
from kernels.primes.lmo_python import odd_sieve
from kernels.primes.python_loops import cross_off, position_sum, select
from kernels.primes.strong_pseudoprime import primes_in_window

__all__ = [
    "below",
    "between",
    "count_below",
    "count_between",
    "nth",
    "sieve",
    "sum_below",
    "sum_between",
    "sum_first",
]

SEGMENT = 1 << 17  # flags: they and a prime's zeros stay in the second-level cache
SIEVED = 1 << 16  # up to this limit, sieving from 0 costs less than any other count
TEST_COST = 150  # what testing a number costs over sieving one for the primes to the root
COUNT_COST = 25  # what counting below n costs, over sieving n^(2/3) numbers


def sieve(limit: int) -> bytearray:
    flags = bytearray(limit)
    flags[1::2] = odd_sieve(limit)
    flags[2:3] = b"\1" * len(flags[2:3])
    return flags


def below(limit: int) -> array[int]:
    if limit > 2 * SEGMENT:
        return between(0, limit)
    primes = array("q", [2] if limit > 2 else [])
    primes.extend(array("q", select(range(1, limit, 2), odd_sieve(limit))))
    return primes


def between(start: int, stop: int) -> array[int]:
    if _few(start, stop):
        return array("q", primes_in_window(start, stop))
    primes = array("q", [2] if start <= 2 < stop else [])
    for first, flags in _segments(start, stop):
        primes.extend(array("q", select(range(first, first + 2 * len(flags), 2), flags)))
    return primes


def count_below(limit: int) -> int:
    if limit <= SIEVED:
        return (limit > 2) + odd_sieve(limit).count(1)
    return lmo_python.sum_powers(limit - 1, 0)[0]


def sum_below(limit: int) -> int:
    if limit <= SIEVED:
        flags = odd_sieve(limit)
        return 2 * (limit > 2) + flags.count(1) + 2 * position_sum(flags)
    return lmo_python.sum_powers(limit - 1, 1)[0]


def _count_and_sum_below(limit: int) -> tuple[int, int]:
    if limit <= SIEVED:
        return count_below(limit), sum_below(limit)
    count, total = lmo_python.sum_powers(limit - 1, 0, 1)
    return count, total


def count_between(start: int, stop: int) -> int:
    if _few(start, stop):
        return len(primes_in_window(start, stop))
    if _many(start, stop):
        return count_below(stop) - count_below(start)
    return (start <= 2 < stop) + sum(flags.count(1) for _, flags in _segments(start, stop))


def sum_between(start: int, stop: int) -> int:
    if _few(start, stop):
        return sum(primes_in_window(start, stop))
    if _many(start, stop):
        return sum_below(stop) - sum_below(start)
    total = 2 if start <= 2 < stop else 0
    for first, flags in _segments(start, stop):
        total += first * flags.count(1) + 2 * position_sum(flags)
    return total


def nth(k: int) -> int:
    return nth_prime.nth(k, count_below, between)


def sum_first(k: int) -> int:
    return nth_prime.sum_first(k, _count_and_sum_below, between)


def _few(start: int, stop: int) -> bool:
    return TEST_COST * (stop - start) < isqrt(stop)


def _many(start: int, stop: int) -> bool:
    return stop > SIEVED and (stop - start) ** 3 > COUNT_COST**3 * stop**2


def _segments(start: int, stop: int) -> Iterator[tuple[int, bytearray]]:
    """Runs of odd numbers in [start, stop): the first of each, and flags that are set at the primes."""
    first = max(start | 1, 3)
    root = isqrt(stop)
    primes = below(root + 1)[1:]
    while first < stop:
        flags = bytearray(b"\1") * min(max(root, SEGMENT), (stop - first + 1) // 2)
        top = isqrt(first + 2 * len(flags))
        for p in primes:
            if p > top:
                break
            at = max(-(first + p) // 2 % p, (p * p - first) // 2)  # the first: p divides first + 2 i
            if at < len(flags):
                cross_off(flags, at, p)
        yield first, flags
        first += 2 * len(flags)
