"""Values that follow from the definitions by hand, on every backend and interpreter, without NumPy if there is none."""

from __future__ import annotations

from importlib.util import find_spec
from math import cos, isnan, log, nan, pi, sin, sqrt

import pytest

from kernels import lowrank
from kernels.lowrank import python_sampling, sampling
from kernels.lowrank.python_normals import normal_columns
from kernels.philox import philox4x32
from kernels.python_philox import philox4x32 as python_philox4x32

IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
DIAGONAL = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

PRODUCTS = [
    (([[3, 0, 1]], [[1], [5], [1]], 3), {}, [[4.0]]),
    (([[3.0, 0.0, 1.0]], [[1.0], [5.0], [1.0]], 1), {"sampling": "topk"}, [[3.0]]),
    (([[3.0, 0.0, 1.0]], [[1.0], [5.0], [1.0]], 1), {"sampling": "topk_reweighted"}, [[4.0]]),
    (([[1.0, 1.0, 1.0]], [[2.0], [2.0], [1.0]], 2), {"sampling": "topk_reweighted"}, [[5.0]]),
    ((IDENTITY, DIAGONAL, 1), {"sampling": "topk_reweighted"}, [[2.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3]),
    (([[1.0, 2j]], [[1.0], [1j]], 1), {"sampling": "topk"}, [[-2.0]]),
    (([[1.0, 2j]], [[1.0], [1j]], 1), {"sampling": "topk_reweighted"}, [[-1.0]]),
    (([[1.0, 2j]], [[1.0], [1.0]], 1), {"sampling": "topk_reweighted"}, [[1 + 2j]]),
    (([[2.0, 0.0]], [[3.0], [0.0]], 1), {}, [[6.0]]),
    (([[2.0, 3.0]], [[0.0], [0.0]], 1), {}, [[0.0]]),
    (([[1.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]), {"rtol": 0.1}, [[3.0, 3.0]]),
]  # fmt: skip

# What the keys draw from the weights 1, 2, 1, 4, 1, 2, 1, 4, and what the terms are multiplied by.
WEIGHTS = [1.0, 2.0, 1.0, 4.0, 1.0, 2.0, 1.0, 4.0]
DRAWS = [
    ("systematic", 2, 0, [3, 7], [2.0, 2.0]),
    ("systematic", 2, 1, [5, 7], [4.0, 2.0]),
    ("systematic", 4, 0, [1, 3, 5, 7], [2.0, 1.0, 2.0, 1.0]),
    ("systematic", 4, 2**64 - 1, [0, 1, 3, 7], [4.0, 2.0, 1.0, 1.0]),
    ("importance", 4, 0, [0, 2, 3, 7], [4.0, 4.0, 1.0, 1.0]),
    ("importance", 4, 2**64 - 1, [3, 5, 6], [2.0, 2.0, 4.0]),
    ("uniform", 4, 0, [0, 1, 3, 6], [2.0, 2.0, 2.0, 2.0]),
    ("uniform", 4, 2**64 - 1, [2, 3, 5], [2.0, 2.0, 4.0]),
    ("topk", 4, 3, [1, 3, 5, 7], [1.0, 1.0, 1.0, 1.0]),
]  # fmt: skip

GRIDS = [[1, 2, 3, 4], [5, 0, 1, 1, 1], [1, 1], [7, 7, 7, 1, 0, 2], [1, 0, 0], [100, 1, 2, 3], [3, 9, 27]]

SVDS = [
    ([[3.0, 0.0], [0.0, -4.0]], 2, [[0.0, 1.0], [1.0, 0.0]], [4.0, 3.0], [[0.0, -1.0], [1.0, 0.0]]),
    ([[3, 0], [0, -4]], 1, [[0.0], [1.0]], [4.0], [[0.0, -1.0]]),
    ([[0.0, 2j]], 5, [[1.0]], [2.0], [[0.0, 1j]]),
    ([[3.0], [-4.0]], 1, [[-0.6], [0.8]], [5.0], [[-1.0]]),
    ([[1.0, 2.0, 2.0], [2.0, 4.0, 4.0]], 1, [[sqrt(0.2)], [sqrt(0.8)]], [sqrt(45)], [[1 / 3, 2 / 3, 2 / 3]]),
]  # fmt: skip


def listed(result):
    if not find_spec("numpy"):
        return result.tolist() if hasattr(result, "tolist") else result
    from kernels import to_numpy

    return to_numpy(result).tolist()


def assert_close(found, expected):
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for item, wanted in zip(found, expected, strict=True):
            assert_close(item, wanted)
    else:
        assert found == pytest.approx(expected, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize(("arguments", "options", "expected"), PRODUCTS)
def test_products_by_hand(backend, arguments, options, expected):
    w = listed(lowrank.cr_matmul(*arguments, **options, backend=backend))
    assert_close(w, expected)


@pytest.mark.parametrize(("name", "rank", "key", "indices", "factors"), DRAWS)
def test_draws_of_keys(backend, name, rank, key, indices, factors):
    """The same terms on every backend, whatever the scale: powers of two leave the weights as they are."""
    for scale in (1.0, 2.0**-700, 2.0**700):
        x, y = [[weight * scale for weight in WEIGHTS]], [[0.0, 1 / scale]] * 8
        w, info = lowrank.cr_matmul(x, y, rank, sampling=name, rng=key, return_info=True, backend=backend)
        assert (info.method, info.rank) == (name, rank)
        assert listed(info.indices) == indices
        assert_close(listed(info.weights), factors)
        assert_close(
            listed(w), [[0.0, sum(WEIGHTS[term] * factor for term, factor in zip(indices, factors, strict=True))]]
        )


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_systematic_chances_are_exact(monkeypatch, grid):
    """Over all starting points, a term that is not taken for sure is drawn as often as its weight says."""
    for rank in range(1, len(grid)):
        for key in (0, 1, 2026):
            total, left = certain(grid, rank)
            counts = [0] * len(grid)
            for start in range(max(total, 1)):
                monkeypatch.setattr(python_sampling, "below", lambda bound, *words, start=start: start)
                factors = python_sampling.draw(grid, rank, "systematic", key)
                drawn = [term for term, factor in enumerate(factors) if factor]
                assert len(drawn) == min(rank, sum(map(bool, grid)))
                for term in drawn:
                    counts[term] += 1
                    assert factors[term] == max(total / (left * grid[term]) if left else 1.0, 1.0)
            for count, weight in zip(counts, grid, strict=True):
                assert count == min(weight * left, total) if total else count == bool(weight)


def certain(grid, rank):
    """What the weights that are not taken for sure add up to, and how many of them are drawn."""
    rest, left = sorted(grid), rank
    while left and rest and rest[-1] * left >= sum(rest):
        rest.pop()
        left -= 1
    return sum(rest), left


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_chances_with_replacement_are_exact(monkeypatch, grid):
    """Over all random integers below the bound, in one sample each."""
    for name, bound, weights in (("importance", sum(grid), grid), ("uniform", len(grid), [1] * len(grid))):
        counts = [0] * len(grid)
        for start in range(bound):
            monkeypatch.setattr(python_sampling, "below", lambda bound, *words, start=start: start)
            factors = python_sampling.draw(grid, 1, name, 0)
            for term, factor in enumerate(factors):
                if factor:
                    counts[term] += 1
                    assert factor == bound / weights[term]
        assert counts == [weight if steps else 0 for weight, steps in zip(weights, grid, strict=True)]


@pytest.mark.parametrize("bound", [1, 2, 3, 2**31 - 1, 2**31, 2**31 + 1, 2**61 - 1])
def test_random_integers_at_their_ends(bound):
    assert sampling.below(bound, 0, 0) == 0
    assert sampling.below(bound, 2**32 - 1, 2**32 - 1) == bound - 1
    assert sampling.below(bound, 2**31, 0) == bound // 2


def test_weights_on_the_grid():
    bits = sampling.grid_bits(4)
    assert python_sampling.on_grid([4.0, 2.0, 1.0, 0.0], [1.0] * 4) == (
        [1 << bits, 1 << bits - 1, 1 << bits - 2, 0],
        True,
    )
    assert python_sampling.on_grid([1e200, 1e-100], [1e200, 1e-100]) == ([1 << bits, 1], True)
    assert python_sampling.on_grid([5e-324, 0.0], [5e-324, 1.0]) == ([1 << bits, 0], True)
    assert python_sampling.on_grid([nan, 0.0, 2.0], [1.0, 1.0, 1.0])[1] is False
    assert python_sampling.on_grid([], []) == ([], True)


def test_of_equal_weights_the_first(backend):
    w, info = lowrank.cr_matmul(IDENTITY, IDENTITY, 2, sampling="topk", return_info=True, backend=backend)
    assert listed(info.indices) == [0, 1]
    assert listed(w) == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(("name", "moment"), [("importance", 16.0), ("uniform", 18.0)])
def test_unbiased_errors_by_hand(backend, name, moment):
    for key in range(4):
        w, info = lowrank.cr_matmul(IDENTITY, DIAGONAL, 2, sampling=name, rng=key, return_info=True, backend=backend)
        square = sum(item * item for row in listed(w) for item in row)
        assert info.kind == "unbiased"
        assert info.error == pytest.approx(sqrt(max(moment - square, 0.0)), rel=1e-9, abs=1e-4)


def test_exact_products_say_so(backend):
    _, info = lowrank.cr_matmul(IDENTITY, DIAGONAL, 3, return_info=True, backend=backend)
    assert (info.method, info.rank, info.error, info.relative_error, info.kind) == ("exact", 3, 0.0, 0.0, "exact")
    assert (listed(info.indices), listed(info.weights)) == ([0, 1, 2], [1.0, 1.0, 1.0])


def test_what_is_not_finite(backend):
    w, info = lowrank.cr_matmul([[1.0, nan]], [[1.0], [0.0]], 1, return_info=True, backend=backend)
    assert isnan(listed(w)[0][0])
    assert isnan(info.error)
    assert isnan(lowrank.estimate_error([[1.0]], [[1.0]], [[nan]], backend=backend))
    svd = lowrank.randomized_svd([[1.0, nan], [1.0, 1.0]], 1, backend=backend)
    assert all(isnan(item) for item in [*listed(svd.s), *listed(svd.vh)[0], *listed(svd.u)[1]])


def test_probes_by_hand(backend):
    """Probes are the normal numbers of the key, and the difference is 3 - 2 * 5."""
    probes = normal_columns(1, 3, 2026, sampling.PROBES)
    expected = 7 * sqrt(sum(probe * probe for (probe,) in probes) / 3)
    found = lowrank.estimate_error([[2.0]], [[5.0]], [[3.0]], probes=3, rng=2026, backend=backend)
    assert found == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("a", "rank", "u", "s", "vh"), SVDS)
def test_svd_by_hand(backend, a, rank, u, s, vh):
    found = lowrank.randomized_svd(a, rank, rng=1, backend=backend)
    for part, expected in zip(found, (u, s, vh), strict=True):
        assert_close(listed(part), expected)


def test_plan_of_few_terms(backend):
    plan = lowrank.cr_plan([[3.0, 0.0, 1.0]], [[1.0], [5.0], [1.0]], backend=backend)
    assert (plan.ranks, plan.errors[-1], plan.break_even) == ((1, 2, 3), 0.0, 0)


def test_bad_input_needs_no_numpy(backend):
    with pytest.raises(ValueError, match="y must have as many rows as x has columns, 2, not 1"):
        lowrank.cr_matmul([[1.0, 2.0]], [[1.0]], 1, backend=backend)
    with pytest.raises(ValueError, match="give either rank or rtol, not both"):
        lowrank.cr_matmul([[1.0]], [[1.0]], 1, rtol=0.1, backend=backend)
    with pytest.raises(ValueError, match="did you mean 'systematic'"):
        lowrank.cr_matmul([[1.0]], [[1.0]], 1, sampling="systemic", backend=backend)


def test_words_of_all_forms_agree():
    words = (1, 0, 0, 0), (2**32 - 1,) * 4
    for _ in range(100):
        words = *words, philox4x32(*words[-1], words[-2][0], words[-1][1])
    for word, (k0, k1, *_) in zip(words, reversed(words), strict=True):
        assert python_philox4x32(*word, k0, k1) == philox4x32(*word, k0, k1)


def test_normal_numbers_by_hand():
    r0, r1, r2, r3 = philox4x32(3, 0, sampling.PROBES, 0, 7, 1)
    radius = sqrt(-2 * log(((r0 << 21 | r1 >> 11) + 1) / 2**53))
    angle = 2 * pi * (r2 << 21 | r3 >> 11) / 2**53
    columns = normal_columns(2, 3, (1 << 32) + 7, sampling.PROBES)
    assert (columns[2][1], len(columns)) == (pytest.approx(radius * cos(angle), rel=1e-13), 3)
    columns = normal_columns(2, 4, (1 << 32) + 7, sampling.PROBES)
    assert columns[3][1] == pytest.approx(radius * sin(angle), rel=1e-13)
