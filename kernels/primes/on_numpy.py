"""The primes in NumPy.

Listing: the segmented sieve of Eratosthenes (C. Bays and R. H. Hudson, BIT 17, 1977) over the numbers coprime to 6, a
row of two flags for each 6 k + 1 and 6 k + 5. Counts and sums below a limit: `lmo_numpy`. A short window far from zero:
tests of each number, `strong_pseudoprime`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt, log, prod

import numpy as np

from kernels.primes import lmo_numpy, nth_prime
from kernels.primes.lmo_numpy import odd_primes
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

SEGMENT = 1 << 21  # rows of two flags: 4 MiB, for a share of the last-level cache
TILED = (5, 7, 11, 13)  # taken together, from a ready-made period of the flags
TURNS = 8  # primes that come less often in a segment are crossed off together
SIEVED = 1 << 16  # up to this limit, sieving from 0 at once costs less than anything cleverer
TEST_COST = 1000  # what testing a number costs over sieving one for the primes to the root
COUNT_COST = 12  # what counting below n costs, over sieving n^(2/3) numbers

Flags = np.ndarray


def sieve(limit: int) -> np.ndarray:
    result = np.zeros(limit, np.bool_)
    result[2:4] = True
    for row, flags in _segments(0, limit):
        for column, residue in enumerate((1, 5)):
            part = result[6 * row + residue : 6 * (row + len(flags)) : 6]
            part[:] = flags[: len(part), column]
    return result


def below(limit: int) -> np.ndarray:
    return between(0, limit)


def between(start: int, stop: int) -> np.ndarray:
    if _few(start, stop):
        return np.array(primes_in_window(start, stop), np.int64)
    primes = np.empty(_room(start, stop), np.int64)
    count = 0
    for p in (2, 3):
        if start <= p < stop:
            primes[count] = p
            count += 1
    for row, flags in _segments(start, stop):
        found = np.flatnonzero(flags)
        part = primes[count : count + len(found)]
        np.bitwise_and(found, 1, out=part)
        found *= 3
        part += found
        part += 6 * row + 1
        count += len(found)
    primes.resize(count, refcheck=False)
    return primes


def count_between(start: int, stop: int) -> int:
    if _many(start, stop):
        return count_below(stop) - count_below(start)
    if _few(start, stop):
        return len(primes_in_window(start, stop))
    small = sum(start <= p < stop for p in (2, 3))
    return small + sum(int(np.count_nonzero(flags)) for _, flags in _segments(start, stop))


def sum_between(start: int, stop: int) -> int:
    if _many(start, stop):
        return sum_below(stop) - sum_below(start)
    if _few(start, stop):
        return sum(primes_in_window(start, stop))
    total = sum(p for p in (2, 3) if start <= p < stop)
    for row, flags in _segments(start, stop):
        found = np.flatnonzero(flags)
        total += (6 * row + 1) * len(found) + 3 * int(found.sum()) + int(np.count_nonzero(flags[:, 1]))
    return total


def _few(start: int, stop: int) -> bool:
    return TEST_COST * (stop - start) < isqrt(stop)


def _many(start: int, stop: int) -> bool:
    return stop > SIEVED and (stop - start) ** 3 > COUNT_COST**3 * stop**2


def _room(start: int, stop: int) -> int:
    """No fewer than the primes in [start, stop): P. Dusart's bound, 1999; H. Montgomery and R. Vaughan's, 1973."""
    length = stop - start
    if length < 1000:
        return length + 2
    if start == 0 and stop > 355_991:
        x = log(stop)
        return int(stop / x * (1 + 1 / x + 2.51 / x**2)) + 1
    return int(2 * length / log(length)) + 2


def _segments(start: int, stop: int) -> Iterator[tuple[int, Flags]]:
    """Flags of the primes from 5 on in [start, stop), in runs of rows 6 k + 1, 6 k + 5; with each run its first k."""
    row, end = start // 6, -(-stop // 6)
    if stop <= 5 or start == stop:
        return
    root = isqrt(stop - 1)
    primes = odd_primes(max(root, TILED[-1]) + 1)[1:] if root < SIEVED else between(0, root + 1)[2:]
    tile = _tile()
    while row < end:
        length = min(SEGMENT, end - row)
        at = row % len(tile)
        flags = np.tile(tile, (-(-(at + length) // len(tile)), 1))[at : at + length]
        _cross_off(flags, row, primes)
        if row == 0:
            flags[0, 0] = False
        if 6 * row < start:
            flags[0] &= (6 * row + 1 >= start, 6 * row + 5 >= start)
        if row + length == end:
            flags[-1] &= (6 * (end - 1) + 1 < stop, 6 * (end - 1) + 5 < stop)
        yield row, flags
        row += length


def _tile() -> Flags:
    """A period of the numbers that no prime of TILED divides."""
    tile = np.ones((prod(TILED), 2), np.bool_)
    for p in TILED:
        tile[p // 6 :: p, p % 6 // 5] = False
        tile[5 * p // 6 :: p, 1 - p % 6 // 5] = False
    return tile


def _cross_off(flags: Flags, row: int, primes: np.ndarray) -> None:
    length = len(flags)
    few = max(len(TILED), int(np.searchsorted(primes, length // TURNS)))
    own, other = primes // 6, 5 * primes // 6  # rows of the first multiples, in p's own column and in the other
    column = (primes % 6 == 5).astype(np.intp)
    own = (own - row) % primes
    other = (other - row) % primes
    for p, c, i, j in zip(*(x[len(TILED) : few].tolist() for x in (primes, column, own, other)), strict=True):
        flags[i::p, c] = False
        flags[j::p, 1 - c] = False
    for at, c in ((own[few:], column[few:]), (other[few:], 1 - column[few:])):
        step = primes[few:]
        while True:
            inside = at < length
            at, c, step = at[inside], c[inside], step[inside]
            if not len(at):
                break
            flags[at, c] = False
            at = at + step
    if 6 * row <= primes[-1:].sum():
        here = primes[(primes >= 6 * row) & (primes < 6 * (row + length))]
        flags[here // 6 - row, (here % 6 == 5).astype(np.intp)] = True


def count_below(limit: int) -> int:
    return lmo_numpy.sum_powers(limit - 1, 0)[0] if limit > SIEVED else count_between(0, limit)


def sum_below(limit: int) -> int:
    return lmo_numpy.sum_powers(limit - 1, 1)[0] if limit > SIEVED else sum_between(0, limit)


def _count_and_sum_below(limit: int) -> tuple[int, int]:
    if limit <= SIEVED:
        return count_between(0, limit), sum_between(0, limit)
    count, total = lmo_numpy.sum_powers(limit - 1, 0, 1)
    return count, total


def nth(k: int) -> int:
    return nth_prime.nth(k, count_below, between)


def sum_first(k: int) -> int:
    return nth_prime.sum_first(k, _count_and_sum_below, between, nth_prime.exact_sum)
