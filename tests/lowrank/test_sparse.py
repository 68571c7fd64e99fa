"""What is sparse arrays' own in sampled products: any format, COO in order, and no more work than is stored."""

from __future__ import annotations

import pytest

sparse = pytest.importorskip("sparse")

import numpy as np  # noqa: E402
from timing import fastest  # noqa: E402

from kernels import lowrank  # noqa: E402
from kernels.lowrank import SAMPLINGS, stored_products, stored_terms  # noqa: E402
from kernels.lowrank.stored_matrix import by_rows  # noqa: E402

FORMATS = {
    "coo": lambda x: x,
    "csr": lambda x: x.asformat("gcxs", compressed_axes=[0]),
    "csc": lambda x: x.asformat("gcxs", compressed_axes=[1]),
    "dok": lambda x: x.asformat("dok"),
}
DTYPES = ["float32", "float64", "complex64", "complex128"]
SHAPES = [(7, 9, 5), (1, 30, 1), (40, 3, 60), (30, 200, 300)]
KEY = 2**63 + 9
HUGE = 10**5

rng = np.random.default_rng(7)
every_format = pytest.mark.parametrize("kind", FORMATS)
every_sampling = pytest.mark.parametrize("sampling", SAMPLINGS)


def stored(m, n, density=0.3, dtype="float64"):
    """Random values at random places, some of them 0 all the same; some rows and columns store nothing."""
    places = np.array(
        np.nonzero(rng.random((m, n)) < density * rng.integers(0, 3, (m, 1)) * rng.integers(0, 3, (1, n)))
    )
    values = rng.normal(size=places.shape[1]) * (rng.random(places.shape[1]) < 0.9)
    if np.dtype(dtype).kind == "c":
        values = values * np.exp(1j * rng.normal(size=len(values)))
    return sparse.COO(places, values.astype(dtype), (m, n))


def scattered(m, n, count=2000):
    """A matrix too large to be dense."""
    coords = np.unique(np.stack((rng.integers(m, size=count), rng.integers(n, size=count))), axis=1)
    return sparse.COO(coords, rng.normal(size=coords.shape[1]), (m, n))


def overlapping(m, terms, n, count=2000):
    """Two such matrices whose terms are not all 0: what x stores in a column, y stores in that row."""
    middle = rng.integers(terms, size=count)
    x = sparse.COO(np.stack((rng.integers(m, size=count), middle)), rng.normal(size=count), (m, terms))
    return x, sparse.COO(np.stack((middle, rng.integers(n, size=count))), rng.normal(size=count), (terms, n))


def assert_in_order(w):
    places = w.coords[0].astype(object) * w.shape[1] + w.coords[1]
    assert (places[1:] > places[:-1]).all()
    assert w.fill_value == 0


def tolerance(dtype):
    return 1e-3 if np.dtype(dtype).char in "fF" else 1e-9


@every_format
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_those_of_dense_arrays(kind, dtype, shape):
    m, terms, n = shape
    x, y = stored(m, terms, dtype=dtype), stored(terms, n, dtype=dtype)
    near = {"rtol": tolerance(dtype), "atol": tolerance(dtype)}
    for sampling in SAMPLINGS:
        for rank in (1, 2, terms // 3 + 1, terms):
            options = {"sampling": sampling, "rng": KEY, "return_info": True}
            w, info = lowrank.cr_matmul(FORMATS[kind](x), FORMATS[kind](y), rank, **options)
            expected, same = lowrank.cr_matmul(x.todense(), y.todense(), rank, **options, backend="numpy")
            assert type(w) is sparse.COO
            assert w.dtype == dtype
            assert_in_order(w)
            np.testing.assert_allclose(w.todense(), expected, **near)
            np.testing.assert_array_equal(info.indices, same.indices)
            np.testing.assert_allclose(info.weights, same.weights, **near)
            lost = tolerance(dtype) ** 0.5 * (1 + np.linalg.norm(expected))  # in a difference of squares
            np.testing.assert_allclose(info.error, same.error, rtol=lost, atol=lost)
            assert (info.method, info.rank, info.kind) == (same.method, same.rank, same.kind)


@every_format
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_functions_are_those_of_dense_arrays(kind, dtype):
    x, y, w = stored(30, 200, dtype=dtype), stored(200, 40, dtype=dtype), stored(30, 40, dtype=dtype)
    near = {"rtol": tolerance(dtype), "atol": tolerance(dtype)}
    given, dense = [[FORMATS[kind](each) for each in (x, y, w)], [each.todense() for each in (x, y, w)]]
    found, expected = lowrank.cr_plan(*given[:2]), lowrank.cr_plan(*dense[:2], backend="numpy")
    np.testing.assert_allclose(found.errors, expected.errors, **near)
    np.testing.assert_allclose(found.bounds, expected.bounds, **near)
    found = lowrank.estimate_error(*given, rng=KEY)
    np.testing.assert_allclose(found, lowrank.estimate_error(*dense, rng=KEY, backend="numpy"), **near)
    found = lowrank.randomized_svd(given[0], 5, rng=KEY)
    assert {type(part) for part in found} == {np.ndarray}
    for part, same in zip(found, lowrank.randomized_svd(dense[0], 5, rng=KEY, backend="numpy"), strict=True):
        assert part.dtype == same.dtype
        np.testing.assert_allclose(part, same, **near)


@every_sampling
@pytest.mark.parametrize("shape", [(0, 3, 2), (3, 0, 2), (2, 3, 0), (0, 0, 0), (2, 3, 4)])
def test_nothing_stored(sampling, shape):
    m, terms, n = shape
    x, y = stored(m, terms, density=0), stored(terms, n, density=0)
    for rank in (1, 2, 5):
        w, info = lowrank.cr_matmul(x, y, rank, sampling=sampling, rng=KEY, return_info=True)
        assert w.shape == (m, n)
        assert w.nnz == 0
        assert info.error == 0
    assert lowrank.cr_matmul(x, y, rtol=0.1, sampling=sampling).nnz == 0
    assert lowrank.cr_plan(x, y).break_even == 0
    assert lowrank.estimate_error(x, y, stored(m, n, density=0)) == 0
    assert lowrank.randomized_svd(x, 2).s.shape == (min(2, m, terms),)


def test_integers_do_not_wrap():
    x, y = stored(20, 30), stored(30, 20)
    x, y = ((each * 60).astype("int8") for each in (x, y))
    w = lowrank.cr_matmul(x, y, 10, rng=KEY)
    assert w.dtype == "float64"
    np.testing.assert_allclose(w.todense(), lowrank.cr_matmul(x.todense(), y.todense(), 10, rng=KEY, backend="numpy"))


def test_duplicates_and_narrow_coordinates():
    coords = np.array([[2, 2, 0, 199], [1, 1, 2, 0]], np.uint8)
    x = sparse.COO(coords, [1.0, 2.0, 3.0, 4.0], (200, 3))
    y = sparse.COO(coords[::-1], [1.0, 2.0, 3.0, 4.0], (3, 200))
    assert x.nnz == 3
    np.testing.assert_array_equal(lowrank.cr_matmul(x, y, 3).todense(), x.todense() @ y.todense())
    info = lowrank.cr_matmul(x, y, 1, sampling="topk", return_info=True)[1]
    assert info.indices == [0]


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_stored_meets_infinity_in_an_exact_product(special):
    for _ in range(20):
        x, y = stored(4, 6).todense(), stored(6, 5).todense()
        for matrix in (x, y)[: rng.integers(1, 3)]:
            matrix.flat[rng.integers(matrix.size)] = special
        with np.errstate(invalid="ignore"):
            expected = (x[:, :, None] * y).sum(axis=1)
        w = lowrank.cr_matmul(sparse.COO.from_numpy(x), sparse.COO.from_numpy(y), 6)
        assert_in_order(w)
        np.testing.assert_allclose(w.todense(), expected, rtol=1e-12)


@every_sampling
@every_format
def test_a_sample_of_what_is_not_finite_stores_nothing(sampling, kind):
    for special in (np.nan, np.inf):
        x, y = sparse.COO([[0, 1], [2, 1]], [special, 1.0], (2, 3)), stored(3, 4)
        w, info = lowrank.cr_matmul(FORMATS[kind](x), FORMATS[kind](y), 2, sampling=sampling, rng=KEY, return_info=True)
        assert type(w) is sparse.COO
        assert w.nnz == 0
        assert np.isnan(w.fill_value)
        assert np.isnan([info.error, info.relative_error]).all()
        assert np.isnan(lowrank.estimate_error(x, y, stored(2, 4)))


@pytest.mark.parametrize("fill", [1.0, np.nan])
def test_other_fill_values_are_refused(fill):
    x, y = sparse.COO([[0], [0]], [2.0], (2, 2), fill_value=fill), stored(2, 2)
    for name, call in [
        ("x", lambda: lowrank.cr_matmul(x, y, 1)),
        ("y", lambda: lowrank.cr_matmul(y, x, 1)),
        ("x", lambda: lowrank.cr_plan(x, y)),
        ("w", lambda: lowrank.estimate_error(y, y, x)),
        ("a", lambda: lowrank.randomized_svd(x, 1)),
    ]:
        with pytest.raises(ValueError, match=rf"^{name} must have the fill value 0, .* {fill}$"):
            call()


# The parts


def as_dense(matrix):
    assert matrix.starts[0] == 0
    assert matrix.starts[-1] == len(matrix.columns) == len(matrix.values)
    assert (np.diff(matrix.starts) > 0).all()
    result = np.zeros(matrix.shape, matrix.values.dtype)
    result[matrix.row_of_each, matrix.columns] = matrix.values
    return result


@every_format
@pytest.mark.parametrize("shape", [(9, 7), (1, 200), (200, 1), (0, 5), (5, 0)])
def test_parts_of_matrices(kind, shape):
    x = stored(*shape, dtype="complex128")
    matrix, dense = by_rows("x", FORMATS[kind](x)), x.todense()
    np.testing.assert_array_equal(as_dense(matrix), dense)
    np.testing.assert_array_equal(as_dense(matrix.transposed()), dense.T)
    np.testing.assert_array_equal(as_dense(matrix.adjoint()), dense.conj().T)
    first, last = sorted(rng.integers(shape[0] + 1, size=2))
    inside = (np.arange(shape[0]) >= first) & (np.arange(shape[0]) < last)
    np.testing.assert_array_equal(as_dense(matrix.rows_between(first, last)), np.where(inside[:, None], dense, 0))
    indices = np.flatnonzero(rng.random(shape[1]) < 0.5)
    places = np.full(shape[1], -1)
    places[indices] = np.arange(len(indices))
    np.testing.assert_array_equal(as_dense(matrix.chosen_columns(places, len(indices))), dense[:, indices])


@pytest.mark.parametrize("scale", [1.0, 1e-180, 1e-310, 1e180, 2.0**1000])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_norms_neither_overflow_nor_vanish(scale, dtype):
    x = stored(50, 30, dtype=dtype)
    expected = np.linalg.norm(x.todense(), axis=0)
    scales = np.where(np.arange(30) % 3, scale, 1.0)
    scaled = by_rows("x", sparse.COO(x.coords, x.data * scales[x.coords[1]], x.shape))
    rtol = 1e-13 if scale > 1e-300 else 1e-8
    np.testing.assert_allclose(stored_terms.column_norms(scaled), expected * scales, rtol=rtol)
    np.testing.assert_allclose(stored_terms.row_norms(scaled.transposed()), expected * scales, rtol=rtol)


@pytest.mark.parametrize("few", [0, 16, 10**9], ids=["all read off", "as it is", "all sorted"])
@pytest.mark.parametrize("many", [0, 10**9], ids=["in parts", "as one"])
def test_products_in_either_way(monkeypatch, few, many):
    monkeypatch.setattr(stored_products, "MANY", many)
    sums = stored_products.sum_rows.py_func
    monkeypatch.setitem(sums.__globals__, "FEW", few)
    monkeypatch.setattr(stored_products, "sum_rows", sums)
    for shape in [(5, 6, 7), (3, 4, 64), (3, 4, 65), (4, 30, 9000)]:
        x, y = stored(*shape[:2]), stored(*shape[1:])
        factors = rng.normal(size=shape[1]) * (rng.random(shape[1]) < 0.5)
        w = stored_products.multiply(by_rows("x", x), by_rows("y", y), factors)
        assert_in_order(w)
        np.testing.assert_allclose(w.todense(), x.todense() * factors @ y.todense(), rtol=1e-12, atol=1e-13)


def test_terms_that_depend_on_each_other_share_their_factor():
    x = sparse.COO.from_numpy(np.repeat(stored(20, 3, density=0.5).todense(), 4, axis=1))
    y = sparse.COO.from_numpy(np.repeat(stored(3, 20, density=0.5).todense(), 4, axis=0))
    w, info = lowrank.cr_matmul(x, y, 6, sampling="topk_reweighted", return_info=True)
    expected, same = lowrank.cr_matmul(
        x.todense(), y.todense(), 6, sampling="topk_reweighted", return_info=True, backend="numpy"
    )
    np.testing.assert_allclose(w.todense(), expected, atol=1e-12)
    np.testing.assert_allclose(info.weights, same.weights, rtol=1e-10)


def test_right_sides_are_summed_up_block_by_block(monkeypatch):
    x, y = stored(30, 60), stored(60, 40)
    options = {"sampling": "topk_reweighted", "return_info": True}
    whole = lowrank.cr_matmul(x, y, 20, **options)[1].weights
    monkeypatch.setattr(stored_terms, "BLOCK", 50)
    np.testing.assert_allclose(lowrank.cr_matmul(x, y, 20, **options)[1].weights, whole, rtol=1e-12)


# What is stored, and what is not


@pytest.fixture
def only_stored(monkeypatch):
    def guarded(method):
        def call(self, *args, **kwargs):
            assert self.size < 10**5, f"made dense, or looked up: {self!r}"
            return method(self, *args, **kwargs)

        return call

    for array_type in (sparse.COO, sparse.GCXS, sparse.DOK):
        for name in ("todense", "maybe_densify", "__array__", "__getitem__"):
            if hasattr(array_type, name):
                monkeypatch.setattr(array_type, name, guarded(getattr(array_type, name)))


@every_sampling
@every_format
@pytest.mark.usefixtures("only_stored")
def test_nothing_is_made_dense_and_no_column_looked_up(sampling, kind):
    if kind == "dok":
        pytest.skip("a DOK of that size is made item by item")
    x, y = (FORMATS[kind](each) for each in overlapping(HUGE, 3000, HUGE))
    w, info = lowrank.cr_matmul(x, y, 500, sampling=sampling, rng=KEY, return_info=True)
    assert w.shape == (HUGE, HUGE)
    assert 0 < w.nnz < 10**5
    assert 0 < info.error < np.inf
    assert lowrank.cr_matmul(x, y, 3000).nnz > w.nnz
    assert lowrank.estimate_error(x, y, w, rng=KEY) > 0
    lowrank.cr_matmul(x, y, rtol=0.5, sampling=sampling, rng=KEY)
    assert lowrank.randomized_svd(scattered(HUGE, 50), 2).u.shape == (HUGE, 2)


@pytest.mark.usefixtures("only_stored")
def test_plans_count_products_of_stored_entries():
    few, many = (lowrank.cr_plan(*overlapping(1000, 1000, 1000, count)).break_even for count in (2000, 10**5))
    assert few == 0
    assert 500 < many < 1000


# Time


def test_a_hundredth_stored_takes_a_small_part_of_the_time():
    """A fiftieth of it and less where it is measured without other work."""
    n = 2048
    x, y = (sparse.random((n, n), density=0.01, random_state=seed) for seed in (1, 2))
    dense = x.todense(), y.todense()
    assert fastest(lambda: lowrank.cr_matmul(x, y, n // 8, rng=KEY)) < fastest(lambda: dense[0] @ dense[1]) / 4


def test_products_of_sparse_matrices_take_less_time_than_their_own():
    x, y = (sparse.random((2000, 2000), density=0.01, random_state=seed) for seed in (1, 2))
    own = fastest(lambda: x @ y)
    assert fastest(lambda: lowrank.cr_matmul(x, y, 2000)) < own / 2
    assert fastest(lambda: lowrank.cr_matmul(x, y, 250, rng=KEY)) < own / 6
