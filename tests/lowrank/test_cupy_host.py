"""What the conformance suite leaves out on CuPy: waits and copies, slices and borders, both orders, both seeds."""

from __future__ import annotations

import importlib

import pytest

np = pytest.importorskip("numpy")
import emulator  # noqa: E402
import fake_cupy  # noqa: E402

import kernels.lowrank  # noqa: E402
from kernels.lowrank import SAMPLINGS, on_numpy, sampling  # noqa: E402
from kernels.lowrank.normals import normal_matrix  # noqa: E402
from kernels.lowrank.numpy_random import random  # noqa: E402
from kernels.lowrank.prediction import Prediction  # noqa: E402

pytestmark = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))

DTYPES = ["float32", "float64", "complex64", "complex128"]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
}
every_sampling = pytest.mark.parametrize("method", SAMPLINGS)
rng = np.random.default_rng(20261121)
START = rng.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_numbers_in_whatever_order_tests_run():
    rng.bit_generator.state = START


@pytest.fixture(params=[0, 1])
def on_cupy(request):
    with fake_cupy.installed(seed=request.param):
        yield importlib.import_module("kernels.lowrank.on_cupy")


def normal(*shape, dtype="float64"):
    values = rng.normal(size=shape) + (1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else 0)
    return values.astype(dtype)


def factors(m, terms, n, dtype="float64"):
    """Two matrices whose terms are of very different weights."""
    sizes = np.exp(rng.normal(size=terms)).astype(np.finfo(dtype).dtype)
    return normal(m, terms, dtype=dtype) * sizes, normal(terms, n, dtype=dtype)


def on_device(*arrays):
    """In the same layout, as if computed there."""
    return [fake_cupy._on_device(array) for array in arrays]


def near(found, expected, factor=100.0):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    scale = np.abs(expected).max(initial=0)
    assert (np.abs(found.get() - expected) <= factor * np.finfo(expected.dtype).eps * scale).all()


def assert_nothing_was_waited_for():
    assert not +fake_cupy.counts - fake_cupy.Counter(launches=fake_cupy.counts["launches"])


@every_sampling
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_terms_are_numpys(on_cupy, method, dtype):
    for rank, key in [(1, 0), (2, 7), (30, 2**32), (60, 2**63 + 5), (89, 2**64 - 1)]:
        x, y = factors(3, 90, 4, dtype)
        w, info = on_cupy.cr_matmul(*on_device(x, y), rank, None, method, key, True)
        expected, about = on_numpy.cr_matmul(x, y, rank, None, method, key, True)
        assert info[:2] == about[:2]
        assert info.kind == about.kind
        np.testing.assert_array_equal(info.indices.get(), about.indices)
        assert info.weights.dtype == about.weights.dtype
        if method != "topk_reweighted":  # dependent terms have many solutions, all of which are good
            np.testing.assert_allclose(info.weights.get(), about.weights, rtol=1e-12)
        near(w, expected, 1e4)
        tolerance = float(1e4 * np.finfo(dtype).eps * np.linalg.norm(expected))
        assert info.error == pytest.approx(about.error, rel=1e-4, abs=tolerance)


@every_sampling
def test_draws_of_many_keys_are_numpys_to_the_last_bit(on_cupy, method):
    for key in range(2**64 - 12, 2**64):
        length = 3 + key % 50 * 7
        weights = np.exp(3 * rng.normal(size=length)) * (rng.random(length) < 0.9)
        grid, _ = sampling.on_grid(np, weights, np.ones(length))
        rank = 1 + key % (length - 1)
        expected = sampling.draw(np, grid, rank, method, random(key))
        found = sampling.draw(fake_cupy, *on_device(grid), rank, method, on_cupy._random(key))
        np.testing.assert_array_equal(found.get(), expected)


@every_sampling
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_does_not_wait(on_cupy, method, dtype, layout):
    """Nor copies: neither for views nor where fewer terms are there to be drawn than asked for."""
    x, y = factors(5, 40, 6, dtype)
    x[:, :35] *= np.arange(35) % 7 == 1  # and the first term, which empty slots are of, is zero
    arrays = on_device(LAYOUTS[layout](x), LAYOUTS[layout](y))
    for rank in (3, 20):
        expected = on_numpy.cr_matmul(x, y, rank, None, method, 11, False)
        fake_cupy.counts.clear()
        w = on_cupy.cr_matmul(*arrays, rank, None, method, 11, False)
        assert_nothing_was_waited_for()
        near(w, expected, 1e4)


def test_exact_products_do_not_wait(on_cupy):
    x, y = factors(5, 4, 6)
    arrays = on_device(x, y)
    fake_cupy.counts.clear()
    products = [on_cupy.cr_matmul(*arrays, rank, None, "systematic", 1, False) for rank in (4, 2**70)]
    w, info = on_cupy.cr_matmul(*arrays, 4, None, "topk", 1, True)
    assert_nothing_was_waited_for()
    for product in (*products, w):
        near(product, x @ y)
    assert (info.method, info.rank, info.error, info.relative_error, info.kind) == ("exact", 4, 0.0, 0.0, "exact")
    assert info.indices.get().tolist() == [0, 1, 2, 3]
    assert info.weights.get().tolist() == [1.0] * 4


@every_sampling
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(on_cupy, method, value):
    """Wherever they are, also where the other factor of the term is 0."""
    for place in range(4):
        x, y = factors(4, 20, 3, "complex64" if place % 2 else "float64")
        (x if place < 2 else y.T)[1, 6] = value
        (y if place < 2 else x.T)[6] *= place != 1
        arrays = on_device(x, y)
        fake_cupy.counts.clear()
        w = on_cupy.cr_matmul(*arrays, 5, None, method, 3, False)
        assert_nothing_was_waited_for()
        assert np.isnan(w.get()).all()
        _, info = on_cupy.cr_matmul(*arrays, 5, None, method, 3, True)
        assert np.isnan([info.error, info.relative_error]).all()
        assert info.indices.size == info.weights.size == 0


@every_sampling
@pytest.mark.parametrize("shape", [(0, 9, 3), (3, 9, 0), (0, 9, 0), (1, 9, 1), (2, 2, 2)])
def test_shapes_at_the_border(on_cupy, method, shape):
    x, y = factors(*shape)
    w, info = on_cupy.cr_matmul(*on_device(x, y), 1, None, method, 3, True)
    expected, about = on_numpy.cr_matmul(x, y, 1, None, method, 3, True)
    near(w, expected)
    assert info.indices.get().tolist() == about.indices.tolist()


@pytest.mark.parametrize("shape", [(0, 0, 0), (3, 0, 2), (3, 1, 2), (0, 1, 0)])
def test_one_term_or_none(on_cupy, shape):
    x, y = factors(*shape)
    for how in [(1, None), (None, 0.5)]:
        w, info = on_cupy.cr_matmul(*on_device(x, y), *how, "systematic", 3, True)
        near(w, x @ y)
        assert info.method == "exact"
    assert on_cupy.cr_plan(*on_device(x, y)).ranks == ((1,) if shape[1] else ())


@every_sampling
def test_zeros(on_cupy, method):
    x, y = factors(3, 20, 4)
    x[:, ::2], y[1::2] = 0, 0
    w, info = on_cupy.cr_matmul(*on_device(x, y), 7, None, method, 3, True)
    assert not w.get().any()
    assert info.indices.size == 0
    assert (info.error, info.relative_error) == (0, 0)


# The kernels


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sliced", [False, True])
def test_norms(on_cupy, monkeypatch, dtype, layout, sliced):
    if sliced:
        monkeypatch.setattr(on_cupy, "WORTH_A_SLICE", 1)
    for shape in [(1, 1), (3, 70), (70, 3), (1, 300), (300, 1), (257, 2), (20, 33), (0, 5), (5, 0)]:
        a = normal(*shape, dtype=dtype)
        expected = np.linalg.norm(a.astype(complex), axis=1)
        found = on_cupy._norms(*on_device(LAYOUTS[layout](a)))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found.get(), expected, rtol=1e-14)


@pytest.mark.parametrize("order", ["C", "F"])
def test_norms_of_extreme_items(on_cupy, monkeypatch, order):
    """Sums of what is small, medium and large meet in one norm, from all lanes and slices."""
    monkeypatch.setattr(on_cupy, "WORTH_A_SLICE", 1)
    scales = np.array([1e-320, 1e-200, 3e-155, 1e-150, 1.0, 1e140, 1e147, 1e154, 1e200, 1.7e307])
    a = scales[:, None] * rng.uniform(1, 2, size=(10, 20))
    a = np.concatenate([a, a[::-1] * (rng.random((10, 20)) < 0.5), rng.permutation(a.ravel()).reshape(10, 20)])
    np.testing.assert_allclose(found_norms(on_cupy, a, order), scaled_norms(a), rtol=1e-14)
    pairs = a + 1j * a[::-1]
    np.testing.assert_allclose(found_norms(on_cupy, pairs, order), scaled_norms(np.hstack([a, a[::-1]])), rtol=1e-14)
    for dtype in ("float32", "complex64"):
        single = (np.array([1e-45, 1e-30, 1.0, 1e30, 1e38])[:, None] * np.ones(8)).astype(dtype)
        expected = np.linalg.norm(single.astype(complex), axis=1)
        np.testing.assert_allclose(found_norms(on_cupy, single, order), expected, rtol=1e-14)


def found_norms(on_cupy, a, order):
    return on_cupy._norms(*on_device(np.asarray(a, order=order))).get()


def scaled_norms(a):
    most = np.ldexp(1.0, np.frexp(np.abs(a).max(axis=1, keepdims=True))[1] - 1)
    return np.linalg.norm(a / most, axis=1) * most[:, 0]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_norms_that_are_not_finite(on_cupy, order, value):
    a = normal(4, 100)
    a[1, 70] = value
    norms = found_norms(on_cupy, a, order)
    assert np.isfinite(norms).tolist() == [True, False, True, True]


def test_norms_repeat(on_cupy):
    (a,) = on_device(normal(100, 300))
    assert (on_cupy._norms(a).get() == on_cupy._norms(a).get()).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chosen_rows_and_columns(on_cupy, dtype, layout):
    a = normal(130, 70, dtype=dtype)
    (device,) = on_device(LAYOUTS[layout](a))
    for axis, take in enumerate((on_cupy._rows, on_cupy._columns)):
        indices = rng.integers(0, a.shape[axis], 40)
        scale = rng.normal(size=40)
        expected = np.take(a, indices, axis=axis)
        near(take(device, *on_device(indices)), expected, 0)
        near(
            take(device, *on_device(indices, scale)), (expected * (scale if axis else scale[:, None])).astype(dtype), 1
        )


def test_a_factor_of_zero_leaves_nothing(on_cupy):
    a = np.full((3, 5), np.inf, np.float32)
    found = on_cupy._rows(*on_device(a, np.array([2, 0]), np.array([0.0, np.nan]))).get()
    assert not found[0].any()
    assert np.isnan(found[1]).all()


def test_grids_are_within_what_cuda_takes(on_cupy, monkeypatch):
    """Whatever grows with the arrays is the first size of a grid."""
    grids = []
    monkeypatch.setattr(on_cupy._SOURCES, "kernel", lambda *_: lambda grid, block, arguments: grids.append(grid))
    size = 1 << 18
    for shape in ((size, 1), (1, size), (size, 2), (2, size)):
        for order in "CF":
            (a,) = on_device(np.empty(shape, np.float32, order))
            on_cupy._norms(a)
            on_cupy._rows(a, fake_cupy.zeros(shape[0], np.int64))
    assert max(grid[0] for grid in grids) >= size * on_cupy.WARP // on_cupy.THREADS
    assert max(max(grid[1:], default=1) for grid in grids) < 1 << 16


# Random numbers


@pytest.mark.parametrize("key", [0, 12345, 2**63 + 987654321, 2**64 - 1])
def test_words_and_counts_are_numpys(on_cupy, key):
    expected, found = random(key), on_cupy._random(key)
    for count, use in ((1, sampling.START), (1000, sampling.ORDER), (300, sampling.DRAWS)):
        words = found.words(count, use)
        assert len(words) == 4
        assert all(word.dtype == np.int64 for word in words)
        np.testing.assert_array_equal([word.get() for word in words], expected.words(count, use))
    drawn = rng.integers(0, 9, 1000) * 3
    counts = found.counts(*on_device(drawn), 30)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts.get(), expected.counts(drawn, 30))


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (7, 8), (30, 13), (0, 4), (4, 0)])
def test_normal_numbers_are_numpys(on_cupy, shape):
    for key in (3, 2**64 - 7):
        found = on_cupy._normal_matrix(*shape, key, sampling.PROBES).get()
        np.testing.assert_allclose(found, normal_matrix(*shape, key, sampling.PROBES), rtol=1e-12, atol=1e-15)


# What is told in numbers


@every_sampling
def test_tolerances(on_cupy, monkeypatch, method):
    """The terms of the rank that the pilot leads to, or all of them where so many do not pay."""
    for name in ("ITEM", "GATHERED", "CALL", "PILOT"):
        monkeypatch.setattr(on_cupy, name, 0)
    x, y = factors(6, 200, 5)
    x, y = np.abs(x), np.abs(y)
    arrays = on_device(x, y)
    norms = np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=1)
    grid, _ = sampling.on_grid(np, *norms)
    draws = sampling.pilot(np, grid, random(9))
    columns, rows = x[:, draws] / norms[0][draws], y[draws] / norms[1][draws, None]
    prediction = Prediction(grid, draws, (columns.T @ columns) * (rows @ rows.T))
    w, info = on_cupy.cr_matmul(*arrays, None, 0.5, method, 9, True)
    assert info.rank == prediction.terms_needed(method, 0.5) < 200
    near(w, on_numpy.cr_matmul(x, y, info.rank, None, method, 9, False), 1e4)
    monkeypatch.setattr(on_cupy, "PILOT", 1e9)
    fake_cupy.counts.clear()
    w, info = on_cupy.cr_matmul(*arrays, None, 0.5, method, 9, True)
    assert_nothing_was_waited_for()  # shapes alone say that no pilot pays
    assert info.method == "exact"
    near(w, x @ y)


def test_tolerances_where_a_weight_is_not_finite(on_cupy, monkeypatch):
    monkeypatch.setattr(on_cupy, "_break_even", lambda *_: 100)
    x, y = factors(3, 200, 4)
    y[7, 0] = np.inf
    w, info = on_cupy.cr_matmul(*on_device(x, y), None, 0.5, "systematic", 9, True)
    assert info.method == "exact"
    np.testing.assert_allclose(w.get()[:, 1:], (x @ y)[:, 1:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_plans_are_numpys(on_cupy, dtype):
    x, y = factors(5, 300, 6, dtype)
    plan, expected = on_cupy.cr_plan(*on_device(x, y)), on_numpy.cr_plan(x, y)
    assert (plan.ranks, plan.break_even) == (expected.ranks, 0)
    np.testing.assert_allclose(plan.errors, expected.errors, rtol=1e-4)
    np.testing.assert_allclose(plan.bounds, expected.bounds, rtol=1e-4)


def test_break_even_grows_with_the_product(on_cupy):
    def share(size):
        x, y = (fake_cupy.broadcast_to(fake_cupy.zeros(1, np.float32), (size, size)) for _ in range(2))
        return on_cupy._break_even(x, y, on_cupy.CALL) / size

    assert share(1000) == 0
    assert 0 < share(3000) < share(10000) < 1


def test_norms_of_samples_copy_what_is_told_alone(on_cupy):
    """An info takes as many copies as it has numbers that depend on values, and no more."""
    x, y = on_device(*factors(5, 40, 6))
    for method in SAMPLINGS:
        fake_cupy.counts.clear()
        on_cupy.cr_matmul(x, y, 9, None, method, 1, True)
        assert fake_cupy.counts["to_host"] <= 3
        assert fake_cupy.counts["to_device"] == fake_cupy.counts["waits"] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_estimated_errors_are_numpys(on_cupy, dtype):
    x, y = factors(9, 20, 7, dtype)
    w = normal(9, 7, dtype=dtype)
    for probes in (1, 8, 11):
        fake_cupy.counts.clear()
        found = on_cupy.estimate_error(*on_device(x, y, w), probes, 2**40 + 1)
        assert fake_cupy.counts["to_host"] == 1
        assert found == pytest.approx(on_numpy.estimate_error(x, y, w, probes, 2**40 + 1), rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (1, 5), (5, 0), (0, 5)])
def test_singular_values_are_numpys(on_cupy, dtype, shape):
    a = normal(*shape, dtype=dtype) * (0.5 ** np.arange(shape[1])).astype(np.finfo(dtype).dtype)
    for layout in LAYOUTS.values():
        arrays = on_device(layout(a))
        fake_cupy.counts.clear()
        found = on_cupy.randomized_svd(*arrays, 3, 4, 2, 5)
        assert_nothing_was_waited_for()
        for part, expected in zip(found, on_numpy.randomized_svd(a, 3, 4, 2, 5), strict=True):
            near(part, expected, 1e4)


def test_all_functions_are_called():
    assert {*kernels.lowrank.__all__} - {"CRInfo", "CRPlan", "SVD"} == {
        "cr_matmul",
        "cr_plan",
        "estimate_error",
        "randomized_svd",
    }
