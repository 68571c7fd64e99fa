"""Counting and summing the primes up to x in about x^(2/3) steps, listing none: Lagarias, Miller and Odlyzko's method.

f(n) is 1 to count and n to sum; F(v) is the sum of f over the primes up to v, and phi(v, b) over the numbers from 1 to
v without a factor among the first b primes. For y from the cube root to the square root of x, Meissel's formula reads
    F(x) = phi(x, pi(y)) + F(y) - 1 - P,    P: the sum of f(p) (F(x / p) - F(p - 1)) over the primes y < p <= root.
Putting phi(v, b - 1) - f(p) phi(v / p, b - 1) for phi(v, b), p the b-th prime, turns phi(x, pi(y)) into a sum of
    ordinary leaves,  mu(m) f(m) phi(x / m, c)           with m <= z,
    special leaves,  -mu(m) f(m p) phi(x / (m p), b - 1) with m <= z < m p,
all prime factors of m being at most y and beyond the c-th prime in ordinary leaves, beyond p in special ones. Where
p * p > z, the m of special leaves are primes q, and leaves are
    trivial for p > x^(1/3), phi being 1,
    easy for x / (p q) < p * p, phi being 1 + F(x / (p q)) - F(p - 1), by a table of F up to the root,
    hard otherwise. These, and all with p * p <= z, read phi off a sieve of [0, x / z], b after b.

J. C. Lagarias, V. S. Miller, A. M. Odlyzko, "Computing pi(x): the Meissel-Lehmer method", Math. Comp. 44 (1985);
M. Deleglise, J. Rivat, "Computing pi(x): the Meissel, Lehmer, Lagarias, Miller, Odlyzko method", Math. Comp. 65 (1996);
the easy leaves up to the root, and a z beside y, are X. Gourdon's, "Computation of pi(x): improvements to the Meissel,
Lehmer, Lagarias, Miller, Odlyzko, Deleglise and Rivat method" (2001).

All is exact: added up modulo 2**128, of which the sum of the primes below 2**63 stays clear. `prefix` tells why the
sums over batches of leaves are, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import partial
from math import isqrt, log, prod
from typing import NamedTuple

import numpy as np

from kernels.jit import n_threads, thread_map
from kernels.primes.integers import rank
from kernels.primes.leaves import WHEEL, Plan, easy_leaves, ordinary_leaves, pairs, primes_in, products, wheel
from kernels.primes.min25 import count_and_sum
from kernels.primes.prefix import WORD, running_totals, total_at
from kernels.primes.roots import cube_root
from kernels.primes.segments import sweep
from kernels.primes.sieved_leaves import SEGMENT, hard_leaves, semiprimes
from kernels.primes.wide import to_int

__all__ = ["Partial", "Task", "combine", "count_and_sum_below", "count_below", "plan_for", "run", "sum_below", "tasks"]

SMALL = 1 << 26  # up to here sweeping over the n // k costs less, and for both up to twice this
THREADED = 10**12


class Task(NamedTuple):
    """A stretch of the work: easy leaves by indices of primes, hard ones and semiprimes by numbers to sieve."""

    kind: str
    start: int
    stop: int


class Partial(NamedTuple):
    """What a stretch of the work comes to if phi (or F) is 0 before it, and what corrects that."""

    kind: str
    start: int
    total: int
    passed: list[int]  # over the stretch, how much the phi of each b, or F, grows
    weights: list[int]  # how often the phi of each b, or F, before the stretch is to be added


def count_below(limit: int) -> int:
    """The number of primes below a limit, itself at most 2**63."""
    return count_and_sum(limit - 1)[0] if limit <= SMALL else _by_leaves(limit, False)


def sum_below(limit: int) -> int:
    """The sum of the primes below a limit, itself at most 2**63."""
    return count_and_sum(limit - 1)[1] if limit <= SMALL else _by_leaves(limit, True)


def count_and_sum_below(limit: int) -> tuple[int, int]:
    """Both."""
    return count_and_sum(limit - 1) if limit <= 2 * SMALL else (_by_leaves(limit, False), _by_leaves(limit, True))


def _by_leaves(limit: int, sums: bool) -> int:
    plan = plan_for(limit, sums)
    if limit < THREADED or n_threads() == 1:
        return combine(plan, [run(plan, task) for task in tasks(plan, 1)])
    leaves = [task for task in tasks(plan, 4 * n_threads()) if task.kind != "semiprimes"]
    whole = [task for task in tasks(plan, 1) if task.kind == "semiprimes"]  # the sieve has threads of its own
    return combine(plan, [*thread_map(partial(run, plan), leaves), *(run(plan, task) for task in whole)])


def plan_for(limit: int, sums: bool, alpha: float | None = None, beta: float = 2) -> Plan:
    """Bounds and tables for a limit of 10**5 or more; y = alpha x^(1/3) and z = beta y balance easy and hard leaves."""
    x = limit - 1
    root = isqrt(x)
    alpha = alpha or max(1, (log(x) / 17.4) ** 3.5)
    y = min(root, int(alpha * cube_root(x)) + 1)
    z = min(root, int(beta * y))
    words = np.zeros(root // WORD + 1, np.uint64)

    def store(bits: np.ndarray, first_byte: int) -> None:
        words.view(np.uint8)[first_byte : first_byte + len(bits)] = bits

    sweep(0, root + 1, store)
    totals = np.empty(len(words) + 1, np.int64)
    running_totals(words, 0, 2 + 3 + 5 if sums else 3, sums, totals)
    primes = primes_in(words, 0, min(root, max(y, isqrt(x // isqrt(root)))))
    weights = primes if sums else np.ones_like(primes)
    least = products(primes[: rank(primes, y)], z)
    m = np.flatnonzero(least)
    m_weights = np.where(least[m] > 0, 1, -1) * (m if sums else 1)
    return Plan(x, root, y, z, sums, words, totals, primes, weights, m, m_weights, np.abs(least[m]), wheel())


def tasks(plan: Plan, parts: int) -> list[Task]:
    """The work as up to `parts` tasks of each kind, which take similar times."""
    shares = np.arange(parts + 1) / parts
    first, last = rank(plan.primes, max(isqrt(plan.z), WHEEL[-1])), rank(plan.primes, cube_root(plan.x))
    cost = np.cumsum(plan.primes[first:last] ** -0.5)  # of easy leaves: there are about sqrt(x / p) for a prime p
    easy = [*(first + np.searchsorted(cost, shares[:-1] * cost[-1:].sum())).tolist(), last]
    end = plan.x // plan.z + 1
    segments = -(-end // (30 * SEGMENT))
    hard = [*(30 * SEGMENT * (segments * shares[:-1] ** 2).astype(int)).tolist(), end]  # lower ones are denser
    begin, end = plan.root // WORD, plan.x // (plan.y + 1) // WORD + 1
    sieved = [WORD * (begin + (end - begin) * i // parts) for i in range(parts + 1)]
    return [
        Task(kind, start, stop)
        for kind, bounds in (("hard", hard), ("easy", easy), ("semiprimes", sieved))
        for start, stop in itertools.pairwise(bounds)
        if start < stop
    ]


def run(plan: Plan, task: Task) -> list[Partial]:
    """Do a task."""
    kind, start, stop = task

    def of_stretch(start: int, low: int, high: int, passed: np.ndarray, weights: np.ndarray) -> Partial:
        return Partial(kind, start, to_int(low, high), [to_int(*pair) for pair in passed.tolist()], weights.tolist())

    if kind == "easy":
        return [Partial(kind, start, to_int(*easy_leaves(plan, start, stop)), [], [])]
    if kind == "hard":
        return [of_stretch(start, *hard_leaves(plan, start, stop))]
    return sweep(start, stop, lambda bits, first_byte: of_stretch(first_byte, *semiprimes(plan, bits, first_byte)))


def combine(plan: Plan, results: Iterable[list[Partial]]) -> int:
    """The count or sum, from what all the tasks returned, in any order."""

    def up_to(v: int) -> int:
        return int(total_at(plan.words, plan.totals, 0, v, plan.sums))

    def all_pairs(low: int, high: int) -> int:
        return to_int(*pairs(primes_in(plan.words, low, high), plan.sums))

    result = to_int(*ordinary_leaves(plan)) + up_to(plan.y) - 1
    result += all_pairs(cube_root(plan.x), plan.y)  # trivial leaves
    result += all_pairs(plan.y, plan.root)  # of P, with the F(y) below: the F(p - 1)
    sieved = up_to(plan.root // WORD * WORD - 1) - up_to(plan.y)
    before = {"easy": [], "hard": [0] * len(plan.primes), "semiprimes": [sieved]}
    factors = {"easy": [], "hard": plan.weights.tolist(), "semiprimes": [1]}
    for kind, _, total, passed, weights in sorted(itertools.chain.from_iterable(results)):
        result += total + sum(map(prod, zip(factors[kind], before[kind], weights, strict=False)))
        before[kind] = list(map(sum, zip(before[kind], passed, strict=False)))
    return result % (1 << 128)
