"""What is Numba's own in the primes: leaves in parts, chunks on threads, tests of single numbers."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("numba", reason="Numba is not installed")

from kernels import primes
from kernels.jit import limit_threads
from kernels.primes import lmo, segments
from kernels.primes.strong_pseudoprime import is_prime


@pytest.mark.parametrize("sums", [False, True], ids=["count", "sum"])
@pytest.mark.parametrize("limit", [10**5, 1234567, 10**9 + 7])
@pytest.mark.parametrize("parts", [1, 2, 5, 16])
def test_leaves_in_any_parts_and_order(limit, parts, sums):
    plan = lmo.plan_for(limit, sums)
    results = [lmo.run(plan, task) for task in lmo.tasks(plan, parts)]
    random.Random(parts).shuffle(results)
    expected = (primes.sum_below if sums else primes.count_below)(limit, backend="numpy")
    assert lmo.combine(plan, results) == expected


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (1, 5), (3, 2), (8, 1)])
def test_leaves_by_any_bounds(alpha, beta):
    """The bounds y and z move work from one kind of leaf to another, and nothing else."""
    plan = lmo.plan_for(10**8, True, alpha, beta)
    assert lmo.combine(plan, [lmo.run(plan, task) for task in lmo.tasks(plan, 3)]) == 279209790387276


@pytest.mark.parametrize("chunk", [1 << 12, 1 << 15])
def test_borders_of_chunks(monkeypatch, chunk):
    monkeypatch.setattr(segments, "CHUNK", chunk)
    monkeypatch.setattr(segments, "BUFFER", 1 << 11)
    for start, stop in [(0, 10**6), (29, 10**6 + 1), (10**12 - 7, 10**12 + 10**6)]:
        expected = primes.between(start, stop, backend="numpy")
        assert primes.between(start, stop, backend="numba").tolist() == expected.tolist()
        assert primes.sum_between(start, stop, backend="numba") == int(expected.sum())


def test_threads_change_nothing():
    arguments = (10**10, 10**10 + 2 * 10**8)
    with limit_threads(1):
        alone = primes.sum_between(*arguments, backend="numba")
        sieved = primes.sum_below(10**12, backend="numba")
    assert primes.sum_between(*arguments, backend="numba") == alone
    assert primes.sum_below(10**12, backend="numba") == sieved == 18435588552550705911377


def test_strong_tests():
    """Carmichael numbers, strong pseudoprimes to the first bases, squares, and random numbers up to 2**63."""
    from kernels.primes.miller_rabin import is_prime as compiled

    random_ones = [random.Random(1).randrange(2**31, 2**63) | 1 for _ in range(2000)]
    hard = [3215031751, 3474749660383, 341550071728321, 3825123056546413051, 2147483647**2, 2**61 - 1, 2**63 - 25]
    import numpy as np

    for n in [*hard, *random_ones]:
        assert compiled(np.uint64(n)) == is_prime(n), n
