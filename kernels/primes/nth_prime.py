"""The k-th prime and the sum of the first k, from a backend's own counts: the same strategy for every backend.

Riemann's R says where the k-th prime should stand; count (and sum) the primes below that place, which needs no list,
and sieve only the gap from there to the k-th prime. The guess decides the cost, never the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log, sqrt
from typing import Any

from kernels.primes.riemann import riemann_r_inverse

__all__ = ["exact_sum", "nth", "sum_first"]

Primes = Any  # ascending, of any array type with len, slices and items that int() takes
LISTED = 1000  # up to this k, sieving from 0 costs less than counting


def nth(k: int, count_below: Callable[[int], int], between: Callable[[int, int], Primes]) -> int:
    """The k-th prime, k >= 1."""
    x = _guess(k)
    count = count_below(x) if x else 0
    above = count < k
    for primes in _gap(x, count, k if above else k - 1, between):
        end = primes
    return int(end[-1 if above else 0])


def sum_first(
    k: int,
    count_and_sum_below: Callable[[int], tuple[int, int]],
    between: Callable[[int, int], Primes],
    total: Callable[[Primes], int] = sum,
) -> int:
    """The sum of the first k primes, k >= 0; `total` adds up what `between` returns, exactly, to an int."""
    x = _guess(k)
    count, result = count_and_sum_below(x) if x else (0, 0)
    sign = 1 if count < k else -1
    for primes in _gap(x, count, k, between):
        result += sign * total(primes)
    return result


def _guess(k: int) -> int:
    return int(riemann_r_inverse(k)) if k > LISTED else 0


def _gap(x: int, count: int, k: int, between: Callable[[int, int], Primes]) -> Iterator[Primes]:
    """With `count` primes below x: the k - count next ones from x on, or the count - k last ones before x, in runs."""
    while count < k:
        stop = x + _width(k - count, x)
        primes = between(x, stop)[: k - count]
        if len(primes):
            yield primes
        count += len(primes)
        x = stop
    while count > k:
        start = max(0, x - _width(count - k, x))
        primes = between(start, x)
        primes = primes[max(0, len(primes) - (count - k)) :]
        if len(primes):
            yield primes
        count -= len(primes)
        x = start


def _width(missing: int, x: int) -> int:
    """Length of a window next to x that most often holds `missing` primes (three standard deviations to spare)."""
    density = log(x + 1.2 * missing * log(missing + 2) + 3)
    return int((missing + 3 * sqrt(missing) + 3) * density)


def exact_sum(primes: Any) -> int:
    """Exact sum of an ascending int64 array: as long as what its items exceed the first by adds up to below 2**63."""
    return int(primes[0]) * len(primes) + int((primes - primes[0]).sum())
