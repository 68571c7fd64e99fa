"""Counts and sums of the primes up to n in NumPy, by the method of Lagarias, Miller and Odlyzko.

`lmo_python` has the recurrences and the names; here each prime's leaves are taken at once, those of the half-sieved
table from its prefix sums, and those of two primes in batches of many primes.

Sums of m phi wrap modulo 2^64. Where they can, the same sum in floating point, whose error is below 2^62, says which
number is meant: pairwise summation errs by less than 2^-48 of the absolute terms, and those never reach n^2, so this is
exact for n < 2^54. Beyond, where one call takes minutes anyway, the sums are those of Python ints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import NamedTuple

import numpy as np

from kernels.primes.roots import cube_root

__all__ = ["odd_primes", "sum_powers"]

WHEEL = np.array([2, 3, 5, 7])
TURN = 210
SPOKES = np.flatnonzero(np.all(np.arange(TURN) % WHEEL[:, None], axis=0))
WRAPS_FROM = 1 << 32  # for smaller n no sum over leaves passes 2^63
UNSURE_FROM = 1 << 54
BALANCE = 1.5  # z / y is about its square: a longer table for fewer leaves
BATCH = 1 << 16  # pairs of primes taken at once


def odd_primes(limit: int) -> np.ndarray:
    """The odd primes below limit, by the plain sieve."""
    flags = np.ones(limit // 2, np.bool_)
    flags[:1] = False
    for i in range(1, isqrt(max(0, limit - 1)) // 2 + 1):
        if flags[i]:
            flags[2 * i * (i + 1) :: 2 * i + 1] = False
    return 2 * np.flatnonzero(flags) + 1


class Sum(NamedTuple):
    """What one choice of f brings with it."""

    power: int
    f: np.ndarray  # of the primes
    below: np.ndarray  # S(0), ..., S(z)
    weights: np.ndarray  # mu(m) f(m)
    dot: Callable[[np.ndarray, np.ndarray], int]


def sum_powers(n: int, *powers: int) -> list[int]:
    """For each of the powers, 0 or 1, the sum of p^power over the primes p up to n, for n >= 10_000."""
    root, third = isqrt(n), cube_root(n)
    y = max(third + 1, int(root / BALANCE))
    z = n // y
    primes = np.concatenate(([2], odd_primes(z + 1)))
    first, last, end = np.searchsorted(primes, [isqrt(z), y, root], side="right").tolist()
    numbers, mu = _rough_numbers(y, primes[len(WHEEL) : last])
    kinds = [_sum(n, power, z, primes, numbers, mu) for power in powers]
    special = _special_leaves(n, y, primes[len(WHEEL) : first].tolist(), numbers, kinds)
    beyond = primes[last:end]
    return [
        int(s.below[y])
        - 1
        - s.dot(s.f[last:end], s.below[n // beyond] - s.below[beyond - 1])
        + _ordinary_leaves(n, numbers, s)
        - leaves
        + _leaves_of_two_primes(n, third, primes, first, last, s)
        for s, leaves in zip(kinds, special, strict=True)
    ]


def _sum(n: int, power: int, z: int, primes: np.ndarray, numbers: np.ndarray, mu: np.ndarray) -> Sum:
    f = primes if power else np.ones_like(primes)
    below = np.zeros(z + 1, np.int64)
    below[primes] = f
    np.cumsum(below, out=below)
    dot = _plain_dot if not power or n < WRAPS_FROM else _wrapping_dot if n < UNSURE_FROM else _object_dot
    return Sum(power, f, below, mu * numbers if power else mu, dot)


def _plain_dot(a: np.ndarray, b: np.ndarray) -> int:
    return int(a @ b)


def _wrapping_dot(a: np.ndarray, b: np.ndarray) -> int:
    return _unwrap(int(a @ b), float(np.multiply(a, b, dtype=np.float64).sum()))


def _object_dot(a: np.ndarray, b: np.ndarray) -> int:
    return int(a.astype(object) @ b)


def _unwrap(residue: int, estimate: float) -> int:
    """The integer next to the estimate that is congruent to the residue modulo 2^64."""
    return residue + ((int(estimate) - residue + (1 << 63)) >> 64 << 64)


def _rough_numbers(y: int, primes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The squarefree m <= y coprime to the wheel, and mu(m)."""
    mu = np.zeros(-(-(y + 1) // TURN) * TURN, np.int8)
    mu.reshape(-1, TURN)[:, SPOKES] = 1
    half = int(np.searchsorted(primes, y // 11, side="right"))
    for p in primes[:half].tolist():
        np.negative(mu[p::p], out=mu[p::p])
        if p * p <= y:
            mu[p * p :: p * p] = 0
    mu[primes[half:]] = -1  # those have no other multiples on the wheel
    numbers = np.flatnonzero(mu[: y + 1])
    return numbers, mu[numbers].astype(np.int64)


def _ordinary_leaves(n: int, numbers: np.ndarray, s: Sum) -> int:
    on_wheel = np.zeros(TURN, np.int64)
    on_wheel[SPOKES] = 1
    counts = np.cumsum(on_wheel)
    turns, rest = np.divmod(n // numbers, TURN)
    if not s.power:
        return int(s.weights @ (len(SPOKES) * turns + counts[rest]))
    offsets = np.cumsum(on_wheel * np.arange(TURN))
    if n >= UNSURE_FROM:
        turns = turns.astype(object)
    pairs = np.where(turns % 2 == 1, (turns - 1) // 2 * turns, turns // 2 * (turns - 1))
    part = turns * (offsets[-1] + TURN * counts[rest]) + offsets[rest]
    exact = len(SPOKES) * TURN * pairs + part
    if n >= UNSURE_FROM:
        return int(s.weights @ exact)
    estimate = 0.5 * len(SPOKES) * TURN * turns * (turns - 1.0) + part
    return _unwrap(int(s.weights @ exact), float(s.weights @ estimate))


def _special_leaves(n: int, y: int, primes: list[int], numbers: np.ndarray, kinds: list[Sum]) -> list[int]:
    """Leaves f(m p) phi(n / m p, pi(p) - 1), signed, for p up to z^(1/2); the tables lose p's multiples in its turn."""
    z = n // y
    odd = np.arange(1, z + 1, 2)
    for p in WHEEL[1:].tolist():
        odd[p // 2 :: p] = 0
    tables = [odd if s.power else (odd > 0).astype(np.int64) for s in kinds]
    prefix = np.zeros(len(odd) + 1, np.int64)
    weights = [s.weights for s in kinds]
    totals = [0] * len(kinds)
    for p in primes:
        kept = numbers % p != 0 if p * p <= y else numbers != p
        numbers, weights = numbers[kept], [w[kept] for w in weights]
        x = n // p
        # phi comes from the table where x / m >= p^2, is a sum over primes from there to p, and then 1.
        begin, middle, end = np.searchsorted(numbers, (y // p, x // (p * p), x // p), side="right").tolist()
        middle, end = max(begin, middle), max(begin, end)
        places = x // numbers[begin:end]
        split = middle - begin
        halves = (places[:split] + 1) // 2
        phi = np.empty_like(places)
        for k, s in enumerate(kinds):
            np.cumsum(tables[k], out=prefix[1:])
            phi[:split] = prefix[halves]
            phi[split:] = s.below[places[split:]] - (s.below[p - 1] - 1)
            leaves = s.dot(weights[k][begin:end], phi) + int(weights[k][end:].sum())
            totals[k] += leaves * p**s.power
            tables[k][p // 2 :: p] = 0
    return totals


def _leaves_of_two_primes(n: int, third: int, primes: np.ndarray, first: int, last: int, s: Sum) -> int:
    """Leaves f(p q) phi(n / p q, pi(p) - 1) for primes p < q <= y, p from the one at `first` on."""
    up_to = int(np.searchsorted(primes, third, side="right"))
    f, sums, dot = s.f, s.below, s.dot
    total = dot(f[first:last], sums[primes[last - 1]] - sums[primes[first:last]])
    p, g = primes[first:up_to], f[first:up_to]
    total += dot(g * g, sums[n // p // p] - sums[p])
    ends = np.searchsorted(primes, np.sqrt(n // p), side="right")
    for i, lengths, place in _runs(first + 1, ends):
        q = primes[place]
        x = np.repeat(n // p[i], lengths)
        pairs = 2 * (sums[x // q] - sums[q]) + f[place]
        total += dot(f[place] * np.repeat(g[i], lengths), pairs)
    return total


def _runs(begin: int, ends: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """The ranges (begin + i, ends[i]) put end to end, in batches: which i, their lengths, and the places themselves."""
    lengths = np.maximum(ends - begin - np.arange(len(ends)), 0)
    stops = np.cumsum(lengths)
    at = 0
    while at < len(ends):
        done = int(stops[at - 1]) if at else 0
        to = max(at + 1, int(np.searchsorted(stops, done + BATCH, side="right")))
        some = lengths[at:to]
        starts = begin + np.arange(at, to) - (stops[at:to] - some - done)
        yield slice(at, to), some, np.repeat(starts, some) + np.arange(int(some.sum()))
        at = to
