"""Every function on every backend against its formula in double precision, for every kind of array."""

from __future__ import annotations

import warnings
from array import array

import pytest

np = pytest.importorskip("numpy", reason="NumPy is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

import kernels  # noqa: E402
from kernels import lowrank  # noqa: E402
from kernels.dispatch import CONTRACTS  # noqa: E402
from kernels.lowrank import SAMPLINGS  # noqa: E402
from kernels.registry import BUILT_IN, find  # noqa: E402
from lowrank import families, product_formulas  # noqa: E402

FUNCTIONS = {name.removeprefix("lowrank.") for name in CONTRACTS if name.startswith("lowrank.")}
DTYPES = ["float32", "float64", "complex64", "complex128"]
FACTOR = 8  # what a bound may miss: weights and products that are rounded once more
LOOSE = 1e-8  # normal equations that are solved by iteration
KEY = 2**63 + 2026

rng = np.random.default_rng(20261120)
START = rng.bit_generator.state
every_sampling = pytest.mark.parametrize("sampling", SAMPLINGS)


@pytest.fixture(autouse=True)
def _the_same_numbers_in_whatever_order_tests_run():
    rng.bit_generator.state = START


def normal(*shape, dtype="float64"):
    values = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.normal(size=shape)
    return values.astype(dtype)


def factors(m, terms, n, dtype="float64"):
    """Two matrices whose terms are of very different weights."""
    sizes = rng.lognormal(size=terms)
    return (normal(m, terms) * sizes).astype(dtype) + normal(m, terms, dtype=dtype) / 8, normal(terms, n, dtype=dtype)


def own(backend, value):
    """`value` as the backend's own array."""
    return find(backend, "the test").from_numpy(value) if isinstance(value, np.ndarray) else value


def dense(value):
    return kernels.to_numpy(value)


def call(name, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return getattr(lowrank, name)(*arguments, **options)


def promoted(*arrays):
    return np.result_type(*(array.dtype if array.dtype.kind in "fc" else "float64" for array in arrays))


def unit(*arrays):
    """The roundoff of the dtype that arrays are promoted to."""
    return float(np.finfo(promoted(*arrays)).eps)


def assert_near(found, expected, scale):
    """Whether nothing is off by more than `scale`; NaN and infinities must be where they are expected."""
    assert found.shape == expected.shape
    with np.errstate(invalid="ignore"):
        exact = (found == expected) | (np.isnan(found) & np.isnan(expected))
        error = np.where(exact, 0, np.abs(found - expected))
    assert (exact | (error <= scale)).all(), f"off by {np.max(error / (scale + 1e-300))} times what is allowed"


def sample(backend, x, y, *options, given=None, sampling="systematic", key=KEY, **others):
    """Products and infos of NumPy arrays, and of the backend's own, which `given` replaces; all are checked."""
    found, mine = [], given or (own(backend, x), own(backend, y))
    for place, arrays in enumerate([(x, y)] if mine[0] is x else [(x, y), mine]):
        w, info = call(
            "cr_matmul", *arrays, *options, sampling=sampling, rng=key, return_info=True, backend=backend, **others
        )
        if place == 0:
            assert type(w) is np.ndarray
            assert w.dtype == promoted(x, y)
        else:
            assert find(backend, "the test").owns(type(w)) or isinstance(w, np.ndarray)
        w, info = dense(w), info._replace(indices=dense(info.indices), weights=dense(info.weights))
        check_info(w, info, x, y)
        found.append((w, info))
    return found


def check_info(w, info, x, y):
    """What holds of every product that is not of NaN."""
    assert info.indices.shape == info.weights.shape
    assert (np.diff(info.indices) > 0).all()
    assert info.indices.dtype == "int64" or not info.indices.size
    assert type(info.rank) is int
    assert type(info.error) is type(info.relative_error) is float
    expected, scale = product_formulas.sampled(x, y, info.indices.astype(int), info.weights)
    assert_near(w, expected, FACTOR * unit(x, y) * scale)
    if info.method == "exact":
        assert info.kind == "exact"
        assert (info.error, info.relative_error) == (0, 0)
        assert info.rank == len(y)
        assert np.array_equal(info.indices, np.arange(len(y)))
        assert (info.weights == 1).all()
    else:
        with_replacement = info.method in ("importance", "uniform") and info.rank > 1
        assert info.kind == ("unbiased" if with_replacement else "probes")


def test_every_function_is_there(backend):
    there = find(backend, "the test").functions("kernels.lowrank") & FUNCTIONS
    assert {*FUNCTIONS, "CRInfo", "CRPlan", "SVD"} == {*lowrank.__all__}
    assert there == FUNCTIONS if backend in BUILT_IN else there


# Which terms are drawn, and what is made of them

SHAPES = [(0, 5, 2), (3, 5, 0), (0, 5, 0), (1, 5, 1), (1, 2, 3), (7, 12, 5), (40, 33, 17), (3, 130, 2)]


@every_sampling
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(backend, sampling, shape):
    x, y = factors(*shape)
    for w, info in sample(backend, x, y, max(shape[1] // 3, 1), sampling=sampling):
        assert w.shape == (shape[0], shape[2])
        assert info.method == sampling
        if 0 not in shape:
            assert info.rank == max(shape[1] // 3, 1)


@pytest.mark.parametrize("shape", [*SHAPES, (0, 0, 0), (3, 0, 2), (1, 1, 1)], ids=str)
def test_all_terms(backend, shape):
    x, y = factors(*shape)
    for sampling, rank in [("systematic", max(shape[1], 1)), ("uniform", shape[1] + 1), ("topk_reweighted", 2**70)]:
        for w, info in sample(backend, x, y, rank, sampling=sampling):
            expected, scale = product_formulas.product(x, y)
            assert_near(w, expected, FACTOR * unit(x) * scale)
            assert info.method == "exact"


@every_sampling
@pytest.mark.parametrize("dtype", DTYPES)
def test_terms_are_those_of_the_key(backend, sampling, dtype):
    """The same ones on every backend, whatever the last digits of the weights are."""
    for terms, rank, key in [(2, 1, 0), (50, 40, 2**64 - 1), (150, 40, KEY)]:
        x, y = factors(10, terms, 8, dtype)
        expected = product_formulas.draw(product_formulas.grid(x, y), rank, sampling, key)
        drawn = np.flatnonzero(expected)
        expected, doubt = expected[drawn], 1e-9
        if sampling == "topk_reweighted":
            expected = product_formulas.reweighted(product_formulas.inner_products(x, y), drawn)
            doubt = LOOSE + 1e4 * unit(x)
        for _, info in sample(backend, x, y, rank, sampling=sampling, key=key):
            assert np.array_equal(info.indices, drawn)
            assert info.weights.dtype == ("complex128" if np.iscomplexobj(expected) else "float64")
            np.testing.assert_allclose(info.weights, expected, rtol=doubt)


def test_keys(backend):
    x, y = (own(backend, each) for each in factors(3, 40, 2))

    def drawn(rng):
        return dense(lowrank.cr_matmul(x, y, 9, rng=rng, return_info=True, backend=backend)[1].indices).tolist()

    generators = [np.random.default_rng(3) for _ in range(2)]
    assert drawn(5) == drawn(np.int64(5)) != drawn(6)
    assert drawn(generators[0]) == drawn(generators[1]) != drawn(generators[0])
    assert drawn(None) != drawn(None)


def test_the_result_alone(backend):
    """It is the same without the info, and the info is left out unless it is asked for."""
    x, y = factors(6, 30, 5)
    w, _ = lowrank.cr_matmul(x, y, 9, rng=1, return_info=True, backend=backend)
    assert np.array_equal(w, lowrank.cr_matmul(x, y, rank=9, rng=1, backend=backend))
    mine = lowrank.cr_matmul(own(backend, x), own(backend, y), 9, rng=1, backend=backend)
    assert_near(dense(mine), w, 1e-12)


@every_sampling
def test_terms_of_weight_zero_are_never_drawn(backend, sampling):
    x, y = factors(5, 24, 4)
    x[:, ::3] = 0
    y[1::3] = 0
    for rank in (3, 8, 20):
        for w, info in sample(backend, x, y, rank, sampling=sampling):
            assert (info.indices % 3 == 2).all()
            if rank >= 8 and sampling in ("systematic", "topk", "topk_reweighted"):  # all that are left
                assert_near(w, x @ y, 1e-12)
                assert len(info.indices) == 8
                assert info.error < 1e-12


@every_sampling
@pytest.mark.parametrize("zero", ["x", "y", "both", "by turns"])
def test_zeros(backend, sampling, zero):
    x, y = factors(3, 10, 4)
    if zero != "by turns":
        x, y = x * (zero == "y"), y * (zero == "x")
    else:
        x[:, ::2] = 0
        y[1::2] = 0
    for w, info in sample(backend, x, y, 4, sampling=sampling):
        assert w.shape == (3, 4)
        assert not w.any()
        assert not info.indices.size
        assert (info.error, info.relative_error) == (0, 0)
        assert info.method == sampling


@pytest.mark.parametrize("sampling", ["systematic", "importance", "topk_reweighted"])
@pytest.mark.parametrize(
    ("dtype", "of_x", "of_y"),
    [("float32", 1e30, 1e-30), ("complex64", 1e30, 1e-30), ("float32", 1e-30, 1e30), ("float64", 1e200, 1e-200),
     ("float64", 1e-200, 1e200), ("complex128", 1e200, 1e-200), ("float64", 1e-310, 1e300)],
)  # fmt: skip
def test_norms_neither_overflow_nor_vanish(backend, sampling, dtype, of_x, of_y):
    x, y = factors(6, 30, 5, dtype)
    x, y = (x * of_x).astype(dtype), (y * of_y).astype(dtype)
    drawn = np.flatnonzero(product_formulas.draw(product_formulas.grid(x, y), 9, sampling, KEY))
    assert len(drawn) > 3
    for w, info in sample(backend, x, y, 9, sampling=sampling):
        assert np.array_equal(info.indices, drawn)
        true = np.linalg.norm(w - product_formulas.product(x, y)[0])
        assert true / 3 < info.error < 3 * true


def test_of_equal_weights_the_first_are_the_largest(backend):
    for w, info in sample(backend, np.ones((3, 9)), np.ones((9, 2)), 4, sampling="topk"):
        assert info.indices.tolist() == [0, 1, 2, 3]
        assert (w == 4).all()
    x = np.array([[1.0, 2, 3, 2, 3, 2]])
    for _, info in sample(backend, x, np.ones((6, 1)), 3, sampling="topk"):
        assert info.indices.tolist() == [1, 2, 4]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["U[0, 1)", "tall Gram"])
def test_reweighted_terms_leave_the_least_error(backend, family, dtype):
    x, y = families.FAMILIES[family](40, np.random.default_rng(1))
    if "complex" in dtype:
        x, y = x + 0.3j * normal(*x.shape), y + 0.3j * normal(*y.shape)
    x, y = x.astype(dtype), y.astype(dtype)
    exact, _ = product_formulas.product(x, y)
    plain, _ = sample(backend, x, y, 12, sampling="topk")[0]
    for w, info in sample(backend, x, y, 12, sampling="topk_reweighted"):
        rest = w - exact
        assert np.linalg.norm(rest) <= np.linalg.norm(plain - exact) * (1 + 1e-6)
        columns, rows = (product_formulas.double(each) for each in (x[:, info.indices], y[info.indices]))
        inner = np.einsum("ik,ij,kj->k", columns.conj(), rest, rows.conj())
        sizes = np.linalg.norm(columns, axis=0) * np.linalg.norm(rows, axis=1) * np.linalg.norm(exact)
        assert (np.abs(inner) <= (LOOSE + 1000 * unit(x)) * sizes).all()


def test_terms_that_depend_on_each_other(backend):
    """Of equal terms, and of terms that are multiples, no product comes near to dividing by zero."""
    x, y = factors(6, 5, 4)
    x, y = np.tile(x, 6), np.tile(y, (6, 1))
    y[10:] *= -2
    exact = x @ y
    expected = families.Terms(x, y)
    for rank in (7, 13, 25):
        least = expected.errors(expected.draws(rank, "topk_reweighted", [KEY]))[0] * np.linalg.norm(exact)
        for w, info in sample(backend, x, y, rank, sampling="topk_reweighted"):
            assert np.linalg.norm(w - exact) <= least + 1e-6 * np.linalg.norm(exact)
            assert (np.abs(info.weights) < 100).all()
        for sampling in ("systematic", "importance"):
            sample(backend, x, y, rank, sampling=sampling)


# Errors


@every_sampling
@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_of_samples(backend, sampling, dtype):
    x, y = (np.abs(each).astype(dtype) + normal(*each.shape, dtype=dtype) / 4 for each in factors(12, 40, 9))
    for rank in (1, 9):
        for w, info in sample(backend, x, y, rank, sampling=sampling):
            if info.kind == "unbiased":
                error, relative = product_formulas.without_bias(x, y, w, rank, sampling)
            else:
                error, relative, _ = product_formulas.probed(x, y, w, lowrank.estimates.N_PROBES, KEY)
            assert info.error == pytest.approx(error, rel=1e4 * unit(x) + 1e-8)
            assert info.relative_error == pytest.approx(relative, rel=1e4 * unit(x) + 1e-8)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*(((30, 70, 20), dtype) for dtype in DTYPES), ((1, 1, 1), "float64"), ((5, 3, 4), "complex128"),
     ((0, 3, 2), "float64"), ((3, 0, 2), "float32"), ((2, 3, 0), "complex64")],
)  # fmt: skip
def test_estimate_error(backend, shape, dtype):
    m, terms, n = shape
    x, y = normal(m, terms, dtype=dtype), normal(terms, n, dtype=dtype)
    wrong, right = normal(m, n, dtype=dtype), (x @ y).astype(dtype)
    for w, probes in [(wrong, 1), (wrong, 13), (right, 8)]:
        expected, _, bound = product_formulas.probed(x, y, w, probes, KEY)
        for arrays in ((x, y, w), [own(backend, each) for each in (x, y, w)]):
            found = call("estimate_error", *arrays, probes=probes, rng=KEY, backend=backend)
            assert type(found) is float
            assert found == pytest.approx(expected, rel=1e-12, abs=FACTOR * unit(x) * bound)


@pytest.mark.parametrize("structure", ["rank one", "none"])
def test_estimates_vary_as_much_as_they_may(backend, structure):
    """The variance of the squared error's estimate is known: ``2 / probes`` times that of the difference's spectrum."""
    x, y, probes = normal(20, 30), normal(30, 16), 400
    off = np.outer(normal(20), normal(16)) if structure == "rank one" else normal(20, 16)
    squared = np.linalg.norm(off) ** 2
    deviation = (2 / probes) ** 0.5 * np.linalg.norm(off.T @ off) / squared
    found = lowrank.estimate_error(x, y, x @ y + off, probes=probes, rng=7, backend=backend)
    assert abs(found**2 / squared - 1) < 4 * deviation


# Tolerances


@every_sampling
def test_tolerances_are_kept_to(backend, sampling):
    x, y = np.abs(normal(20, 300)), np.abs(normal(300, 10))
    for w, info in sample(backend, x, y, rtol=0.3, sampling=sampling):
        assert np.linalg.norm(w - x @ y) <= 0.3 * np.linalg.norm(x @ y)
        assert info.method in (sampling, "exact")


@every_sampling
def test_tolerances_that_call_for_all_terms(backend, sampling):
    for shape in [(6, 40, 5), (3, 1, 2), (0, 4, 2), (3, 0, 2)]:
        x, y = normal(*shape[:2]), normal(*shape[1:])
        for w, info in sample(backend, x, y, rtol=1e-12, sampling=sampling):
            assert_near(w, x @ y, 1e-12)
            assert info.method == "exact"


# Plans


@pytest.mark.parametrize("terms", [1, 2, 3, 8, 100])
def test_plan(backend, terms):
    x, y = factors(6, terms, 5)
    reference = lowrank.cr_plan(x, y, backend="numpy")
    for arrays in ((x, y), (own(backend, x), own(backend, y)), (x.astype("float32"), y.astype("float32"))):
        plan = call("cr_plan", *arrays, backend=backend)
        assert plan.ranks == (*(2**i for i in range(10) if 2**i < terms), terms)
        assert plan.errors[-1] == 0
        assert plan.errors == pytest.approx(reference.errors, rel=1e-4)
        assert plan.bounds == pytest.approx(reference.bounds, rel=1e-4)
        assert plan.worse_than_zero == reference.worse_than_zero
        assert 0 <= plan.break_even < terms
        assert type(plan.break_even) is type(plan.worse_than_zero) is type(plan.ranks[0]) is int
        assert {*map(type, (*plan.errors, *plan.bounds))} == {float}
        assert isinstance(plan.advice, str)


def test_plan_of_next_to_nothing(backend):
    for x, y in [
        (np.zeros((3, 0)), np.zeros((0, 2))),
        (np.zeros((0, 4)), np.zeros((4, 2))),
        (np.zeros((3, 4)), np.zeros((4, 2))),
    ]:
        plan = call("cr_plan", x, y, backend=backend)
        assert len(plan.ranks) == len(plan.errors) == len(plan.bounds)
        assert not any(plan.errors)
    x = normal(3, 4)
    x[1, 2] = np.nan
    for values in (x, own(backend, x)):
        plan = call("cr_plan", values, own(backend, normal(4, 2)) if values is not x else normal(4, 2), backend=backend)
        assert np.isnan(plan.errors[:-1]).all()


def test_plan_of_what_sampling_is_good_or_bad_at(backend):
    for family, expected in ((families.flat, range(25, 40)), (families.positive, [0])):
        x, y = (own(backend, each) for each in family(64, np.random.default_rng(1)))
        plan = lowrank.cr_plan(x, y, backend=backend)
        assert plan.worse_than_zero in expected  # for orthogonal terms, the error is the root of l / rank - 1
        assert (plan.errors[0] > 1) == bool(plan.worse_than_zero)


# Singular values


def with_spectrum(m, n, spectrum, dtype="float64"):
    u, v = (np.linalg.qr(normal(size, len(spectrum), dtype=dtype))[0] for size in (m, n))
    return ((u * spectrum) @ v.conj().T).astype(dtype)


def check_svd(backend, a, rank, tolerance, **options):
    """Against LAPACK's values; vectors orthonormal, with the signs that are promised, and a product that is as near."""
    k = min(rank, *a.shape)
    s = np.linalg.svd(product_formulas.double(a), compute_uv=False)
    best = np.linalg.norm(s[k:])
    for place, matrix in enumerate((a, own(backend, a))):
        svd = call("randomized_svd", matrix, rank, rng=KEY, backend=backend, **options)
        if place == 0:
            assert {type(part) for part in svd} == {np.ndarray}
            assert svd.u.dtype == svd.vh.dtype == a.dtype
            assert svd.s.dtype == a.real.dtype
        found = type(svd)(*map(dense, svd))
        assert (found.u.shape, found.s.shape, found.vh.shape) == ((len(a), k), (k,), (k, a.shape[1]))
        assert (np.diff(found.s) <= 0).all()
        assert (found.s >= 0).all()
        most = s.max(initial=0)
        np.testing.assert_allclose(found.s, s[:k], rtol=0, atol=tolerance * most)
        for vectors in (found.u, found.vh.conj().T):
            np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(k), atol=100 * unit(a))
        largest = found.u[np.abs(found.u).argmax(axis=0), np.arange(k)] if k else found.u[:0].sum(axis=0)
        assert (largest.real > 0).all()
        assert (np.abs(largest.imag) <= 4 * unit(a)).all()
        off = np.linalg.norm(product_formulas.double(found.u) * found.s @ product_formulas.double(found.vh) - a)
        assert off <= best * (1 + tolerance) + tolerance * most


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((60, 40), "float32"), ((40, 60), "float64"), ((33, 33), "complex64"), ((20, 100), "complex128")],
)
def test_singular_values_that_fall(backend, shape, dtype):
    a = with_spectrum(*shape, 2.0 ** -np.arange(min(shape)), dtype)
    check_svd(backend, a, 5, 1000 * unit(a))
    slowly = with_spectrum(*shape, 0.8 ** np.arange(min(shape)), dtype)
    check_svd(backend, slowly, 4, 1e-2)
    check_svd(backend, slowly, 4, 0.3, oversample=2, iterations=0)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (6, 9), (9, 6), (0, 3), (3, 0), (0, 0)], ids=str)
def test_all_singular_values(backend, dtype, shape):
    a = normal(*shape, dtype=dtype)
    check_svd(backend, a, 100, 100 * unit(a))
    check_svd(backend, a, max(*shape, 1), 1e5 * unit(a), oversample=0, iterations=0)


def test_singular_values_of_low_rank(backend):
    check_svd(backend, normal(30, 3) @ normal(3, 20), 6, 1e-12)
    check_svd(backend, np.zeros((5, 4)), 2, 1e-12, oversample=1)
    for scale in (1e-150, 1e150):
        a = normal(12, 9)
        large, small = (lowrank.randomized_svd(a * by, 4, rng=1, backend=backend).s for by in (scale, 1.0))
        np.testing.assert_allclose(large / scale, small, rtol=1e-9)


def test_singular_vectors_are_those_of_the_key(backend):
    a = normal(50, 30)
    expected = lowrank.randomized_svd(a, 3, oversample=1, iterations=1, rng=9, backend="numpy")
    found = lowrank.randomized_svd(a, 3, oversample=1, iterations=1, rng=9, backend=backend)
    for part, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-8, atol=1e-8)
    other = lowrank.randomized_svd(a, 3, oversample=1, iterations=0, rng=8, backend=backend)
    assert not np.allclose(other.s, found.s, rtol=1e-6)


# Kinds of arrays


@pytest.mark.parametrize(
    ("enlarge", "view"),
    [
        (lambda x: np.repeat(x, 2, axis=-1), lambda x: x[..., ::2]),
        (lambda x: np.concatenate([x, x]), lambda x: x[: len(x) // 2]),
        (lambda x: np.ascontiguousarray(x.T), lambda x: x.T),
        (lambda x: np.ascontiguousarray(x[::-1, ::-1]), lambda x: x[::-1, ::-1]),
        (lambda x: x, np.asfortranarray),
        (lambda x: x, lambda x: np.broadcast_to(x[:1], x.shape)),
        (lambda x: x, lambda x: np.broadcast_to(x[:, :1], x.shape)),
    ],
    ids=["strided", "part", "transposed", "reversed", "Fortran's order", "equal rows", "equal columns"],
)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_views(backend, enlarge, view, dtype):
    x, y = (view(enlarge(each)) for each in factors(6, 20, 8, dtype))
    for sampling in ("systematic", "topk_reweighted"):
        sample(backend, x, y, 7, sampling=sampling)
    sample(backend, x, y, 20)
    check_svd(backend, x, 6, 1000 * unit(x))
    expected, _, bound = product_formulas.probed(x, y, x[:, :8], 8, KEY)
    found = call("estimate_error", x, y, x[:, :8], rng=KEY, backend=backend)
    assert found == pytest.approx(expected, abs=FACTOR * unit(x) * bound)


@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("uint8", "int64"), (">f8", ">f4"), ("int32", "float32"),
                                    ("float32", "float64"), ("complex64", "float64"), ("float32", "complex64"),
                                    (">c8", "int16")], ids=" and ".join)  # fmt: skip
def test_dtypes_are_promoted(backend, dtypes):
    x, y = (
        rng.integers(100, 127, shape).astype(dtype) for shape, dtype in zip([(6, 20), (20, 5)], dtypes, strict=True)
    )
    for sampling in ("importance", "topk_reweighted"):
        for w, _ in sample(backend, x, y, 12, sampling=sampling):
            exact, _ = product_formulas.product(x, y)
            assert np.linalg.norm(w - exact) < np.linalg.norm(exact) / 2  # which fails where norms wrap
    found = lowrank.estimate_error(x, y, (x[:, :5]), rng=KEY, backend=backend)
    assert found == pytest.approx(product_formulas.probed(x, y, x[:, :5], 8, KEY)[0], rel=1e-5)
    s = lowrank.randomized_svd(x, 3, rng=KEY, backend=backend).s
    np.testing.assert_allclose(s, np.linalg.svd(product_formulas.double(x))[1][:3], rtol=1e-4)


def test_lists(backend):
    """They are taken by every backend, and come back as NumPy's but from a python backend that was named."""
    x, y = factors(4, 12, 3)
    kind = list if backend == "python" else object
    for sampling in SAMPLINGS:
        expected, _ = lowrank.cr_matmul(x, y, 5, rng=1, sampling=sampling, return_info=True, backend=backend)
        w, info = lowrank.cr_matmul(
            x.tolist(), y.tolist(), 5, rng=1, sampling=sampling, return_info=True, backend=backend
        )
        assert isinstance(w, kind)
        assert isinstance(info.indices, array if backend == "python" else object)
        assert isinstance(info.weights, kind)
        np.testing.assert_allclose(dense(w), expected, rtol=1e-12, atol=1e-12)
    svd = lowrank.randomized_svd(x.tolist(), 2, rng=1, backend=backend)
    assert isinstance(svd.u, kind)
    np.testing.assert_allclose(dense(svd.s), lowrank.randomized_svd(x, 2, rng=1, backend=backend).s)
    assert type(lowrank.estimate_error(x.tolist(), y.tolist(), (x @ y).tolist(), backend=backend)) is float
    assert lowrank.cr_plan(x.tolist(), y.tolist(), backend=backend).ranks == (1, 2, 4, 8, 12)


def test_lists_of_integers_and_complex_numbers(backend):
    x, y = [[1, 2j, 3], [0, 1, -1]], [[2, 0], [1, 1], [4, 1 - 1j]]
    expected = np.array(x) @ np.array(y)
    np.testing.assert_allclose(dense(lowrank.cr_matmul(x, y, 3, backend=backend)), expected, rtol=1e-14)
    w, info = lowrank.cr_matmul(x, y, 2, sampling="topk", return_info=True, backend=backend)
    np.testing.assert_allclose(dense(w), np.array(x)[:, dense(info.indices)] @ np.array(y)[dense(info.indices)])


def test_arguments_are_left_as_they_were(backend):
    x, y = factors(6, 20, 5)
    w = x @ y
    before = [each.copy() for each in (x, y, w)]
    for each in (x, y, w):
        each.setflags(write=False)
    for sampling in SAMPLINGS:
        lowrank.cr_matmul(x, y, 7, sampling=sampling, rng=1, return_info=True, backend=backend)
    lowrank.cr_matmul(x, y, rtol=0.1, backend=backend)
    lowrank.cr_plan(x, y, backend=backend)
    lowrank.estimate_error(x, y, w, backend=backend)
    lowrank.randomized_svd(x, 3, backend=backend)
    assert all(np.array_equal(each, was) for each, was in zip((x, y, w), before, strict=True))


# Values that are not finite


@every_sampling
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(backend, sampling, special):
    x, y = factors(5, 12, 4)
    for place in (0, 1):
        arrays = [x.copy(), y.copy()]
        arrays[place][3, 2] = special
        arrays[1 - place][(slice(None), 3) if place else 2] = 0  # not even a factor of 0 tells what such a term is
        for kind in (arrays, [own(backend, each) for each in arrays]):
            w, info = call("cr_matmul", *kind, 4, sampling=sampling, rng=KEY, return_info=True, backend=backend)
            assert np.isnan(dense(w)).all()
            assert dense(w).shape == (5, 4)
            assert info.method == sampling
            assert np.isnan([info.error, info.relative_error]).all()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_exact_products_of_what_is_not_finite(backend, dtype, special):
    x, y = factors(5, 12, 4, dtype)
    x[3, 2] = special
    for options in ({"rank": 12}, {"rtol": 0.5}):
        for arrays in ((x, y), (own(backend, x), own(backend, y))):
            with np.errstate(invalid="ignore"):
                w, info = call("cr_matmul", *arrays, **options, return_info=True, backend=backend)
            w = dense(w)
            assert info.method == "exact"
            assert not np.isfinite(w[3]).any()
            if np.isnan(special):
                assert np.isnan(w[3]).all()
            assert_near(np.delete(w, 3, 0), np.delete(x, 3, 0) @ y, 1e-4)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_other_functions_of_what_is_not_finite(backend, special):
    x, y = normal(6, 9), normal(9, 5)
    w = x @ y
    for place in range(3):
        arrays = [x.copy(), y.copy(), w.copy()]
        arrays[place][4, 2] = special
        for kind in (arrays, [own(backend, each) for each in arrays]):
            assert np.isnan(call("estimate_error", *kind, backend=backend))
    for a in (x, x.T.copy(), normal(1, 9), normal(9, 1)):
        a[-1, -1] = special
        for kind in (a, own(backend, a)):
            svd = call("randomized_svd", kind, 2, backend=backend)
            assert all(np.isnan(dense(part)).all() for part in svd)


# Shapes and values at random


def finite(dtype, shape):
    """Small integers, so that many weights are equal and many are zero."""
    elements = st.integers(-3, 3).map(np.dtype(dtype).type)
    return hnp.arrays(dtype, shape, elements=elements)


@given(
    data=st.data(),
    dtypes=st.tuples(st.sampled_from(DTYPES), st.sampled_from(DTYPES)),
    shape=st.tuples(st.integers(0, 6), st.integers(0, 14), st.integers(0, 6)),
    rank=st.integers(1, 16),
    sampling=st.sampled_from(SAMPLINGS),
    key=st.integers(0, 2**64 - 1),
)
@settings(max_examples=30, deadline=None)
def test_products_at_random(backend, data, dtypes, shape, rank, sampling, key):
    m, terms, n = shape
    x, y = data.draw(finite(dtypes[0], (m, terms))), data.draw(finite(dtypes[1], (terms, n)))
    drawn = np.flatnonzero(product_formulas.draw(product_formulas.grid(x, y), rank, sampling, key))
    for _, info in sample(backend, x, y, rank, sampling=sampling, key=key):
        assert np.array_equal(info.indices, drawn)


@given(data=st.data(), dtype=st.sampled_from(DTYPES), m=st.integers(0, 9), n=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_singular_values_at_random(backend, data, dtype, m, n):
    a = data.draw(finite(dtype, (m, n)))
    svd = lowrank.randomized_svd(a, 9, rng=1, backend=backend)
    np.testing.assert_allclose(svd.s, np.linalg.svd(a, compute_uv=False), atol=200 * unit(a))
    np.testing.assert_allclose(svd.u * svd.s @ svd.vh, a, atol=200 * unit(a))


# Bad input, the same on every backend

X, Y = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[1.0], [2.0], [3.0]]
W = [[1.0], [2.0]]
OF_TWO = ("cr_matmul", "cr_plan", "estimate_error")
BAD = [
    ("cr_matmul", (X, Y), {}, ValueError, "give either rank or rtol"),
    ("cr_matmul", (X, Y, 1), {"rtol": 0.1}, ValueError, "give either rank or rtol, not both"),
    ("cr_matmul", (X, Y, 0), {}, ValueError, "rank must be at least 1, not 0"),
    ("cr_matmul", (X, Y, -3), {}, ValueError, "rank must be at least 1, not -3"),
    ("cr_matmul", (X, Y, 1.0), {}, TypeError, "rank must be an integer, not 1.0 of type float"),
    ("cr_matmul", (X, Y, True), {}, TypeError, "rank must be an integer, not True of type bool"),
    ("cr_matmul", (X, Y, "1"), {}, TypeError, "rank must be an integer"),
    ("cr_matmul", (X, Y), {"rtol": 0.0}, ValueError, "rtol must be finite and positive, not 0.0"),
    ("cr_matmul", (X, Y), {"rtol": -0.1}, ValueError, "rtol must be finite and positive"),
    ("cr_matmul", (X, Y), {"rtol": float("nan")}, ValueError, "rtol must be finite and positive, not nan"),
    ("cr_matmul", (X, Y), {"rtol": float("inf")}, ValueError, "rtol must be finite and positive, not inf"),
    ("cr_matmul", (X, Y), {"rtol": "0.1"}, TypeError, "rtol must be a real number"),
    ("cr_matmul", (X, Y, 1), {"sampling": "topks"}, ValueError, "sampling must be one of .*did you mean 'topk'"),
    ("cr_matmul", (X, Y, 1), {"sampling": "abc"}, ValueError, "sampling must be one of systematic, .*not 'abc'$"),
    ("cr_matmul", (X, Y, 1), {"sampling": None}, ValueError, "sampling must be one of"),
    ("cr_matmul", (X, Y, 1), {"sampling": []}, ValueError, "sampling must be one of"),
    ("cr_matmul", (X, Y, 1), {"return_info": 1}, TypeError, "return_info must be a bool, not 1 of type int"),
    ("cr_matmul", (X, Y, 1), {"rng": 1.5}, TypeError, "rng must be an integer"),
    ("cr_matmul", (X, Y, 1), {"rng": -1}, ValueError, "rng must be at least 0"),
    ("cr_matmul", (X, Y, 1), {"rng": 2**64}, ValueError, "rng must be at most"),
    ("cr_matmul", (X, Y, 1), {"rng": "1"}, TypeError, "rng must be an integer"),
    ("estimate_error", (X, Y, [[1.0]]), {}, ValueError, r"w must have the shape \(2, 1\) of x @ y, not \(1, 1\)"),
    ("estimate_error", (X, Y, Y), {}, ValueError, r"w must have the shape \(2, 1\) of x @ y"),
    ("estimate_error", (X, Y, [1.0, 2.0]), {}, ValueError, "w must have 2 axes"),
    ("estimate_error", (X, Y, [["a"], ["b"]]), {}, TypeError, "w must be of"),
    ("estimate_error", (X, Y, W), {"probes": 0}, ValueError, "probes must be at least 1"),
    ("estimate_error", (X, Y, W), {"probes": 2.0}, TypeError, "probes must be an integer"),
    ("estimate_error", (X, Y, W), {"rng": 2**64}, ValueError, "rng must be at most"),
    ("randomized_svd", ([1.0], 1), {}, ValueError, "a must have 2 axes, not 1"),
    ("randomized_svd", ([X], 1), {}, ValueError, "a must have 2 axes, not 3"),
    ("randomized_svd", ([[True]], 1), {}, TypeError, "not of bool"),
    ("randomized_svd", (np.ones((2, 2), "float16"), 1), {}, TypeError, "not float16"),
    ("randomized_svd", (X, 0), {}, ValueError, "rank must be at least 1"),
    ("randomized_svd", (X, None), {}, TypeError, "rank must be an integer"),
    ("randomized_svd", (X, 1), {"oversample": -1}, ValueError, "oversample must be at least 0"),
    ("randomized_svd", (X, 1), {"oversample": 0.5}, TypeError, "oversample must be an integer"),
    ("randomized_svd", (X, 1), {"iterations": -1}, ValueError, "iterations must be at least 0"),
    ("randomized_svd", (X, 1), {"iterations": False}, TypeError, "iterations must be an integer"),
    ("randomized_svd", (X, 1), {"rng": []}, TypeError, "rng must be an integer"),
]
BAD_PAIRS = [
    ((X, X), ValueError, "y must have as many rows as x has columns, 3, not 2"),
    (([1.0], Y), ValueError, "x must have 2 axes, not 1"),
    ((X, [1.0, 2.0, 3.0]), ValueError, "y must have 2 axes, not 1"),
    ((X, 2.0), ValueError, "y must have 2 axes, not 0"),
    (([[1.0], [1.0, 2.0]], Y), ValueError, "x has rows of different lengths"),
    (("abc", Y), TypeError, "x must be an array or a nested list"),
    ((X, None), TypeError, "y must be an array or a nested list"),
    ((X, [["a"], ["b"], ["c"]]), TypeError, "y must be of float32, float64, complex64, complex128 or integers"),
    ((np.ones((2, 3), bool), np.ones((3, 1))), TypeError, "x must be of .*, not bool"),
    ((np.ones((2, 3)), np.ones((3, 1), "float16")), TypeError, "y must be of .*, not float16"),
    ((np.ones((2, 3)), np.ones((3, 1), object)), TypeError, "y must be of .*, not object"),
]
BAD_CALLS = [
    *BAD,
    *(
        (name, (*pair, *{"cr_matmul": (1,), "cr_plan": (), "estimate_error": (W,)}[name]), {}, error, text)
        for name in OF_TWO
        for pair, error, text in BAD_PAIRS
    ),
]


@pytest.mark.parametrize(("name", "arguments", "options", "error", "text"), BAD_CALLS)
def test_bad_input(backend, name, arguments, options, error, text):
    if name not in find(backend, "the test").functions("kernels.lowrank"):
        pytest.skip(f"{backend} has no lowrank.{name}")
    with pytest.raises(error, match=text):
        getattr(lowrank, name)(*arguments, **options, backend=backend)
