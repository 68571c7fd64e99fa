"""Every function of arrays on every backend, against its formula in double precision, for every kind of array."""

from __future__ import annotations

import warnings

import pytest

np = pytest.importorskip("numpy", reason="NumPy is not installed")

import oracle  # noqa: E402 - it needs NumPy
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

import kernels  # noqa: E402
from kernels import ndarray  # noqa: E402
from kernels.dispatch import CONTRACTS  # noqa: E402
from kernels.registry import BUILT_IN, find  # noqa: E402

FUNCTIONS = {name.removeprefix("ndarray."): this for name, this in CONTRACTS.items() if name.startswith("ndarray.")}
REAL = ["float32", "float64"]
DTYPES = [*REAL, "complex64", "complex128"]
FACTOR = 8  # what a bound may miss: the last digits of exp and log, a product rounded twice

rng = np.random.default_rng(20261120)


def normal(*shape, dtype="float64"):
    values = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.normal(size=shape)
    return values.astype(dtype)


def positive(*shape, dtype="float64"):
    values = rng.lognormal(size=shape)
    values[rng.random(shape) < 0.1] = 0
    return values.astype(dtype)


def own(backend, value):
    """`value` as the backend's own array."""
    return find(backend, "the test").from_numpy(value) if isinstance(value, np.ndarray) else value


def dense(value):
    return np.asarray(value) if isinstance(value, (float, complex)) else kernels.to_numpy(value)


def expect(name, *arguments, **options):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, scale = getattr(oracle, name)(*arguments, **options)
    return (expected, scale) if isinstance(expected, tuple) else ((expected,), (scale,))


def check(backend, name, *arguments, given=None, **options):
    """Compare a function with its formula, on NumPy arrays and on the backend's own, which `given` replaces."""
    expected, scales = expect(name, *arguments, **options)
    arrays = [arg for arg in (*arguments, *options.values()) if isinstance(arg, np.ndarray) and arg.dtype != bool]
    dtype = np.result_type(*(arg.dtype if arg.dtype.kind in "fc" else "float64" for arg in arrays))
    unit = np.finfo("float64" if name == "hsic" else dtype).eps
    function = getattr(ndarray, name)
    calls = [(arguments, options)]
    if given is None:
        moved = {option: own(backend, value) for option, value in options.items()}
        calls.append(([own(backend, value) for value in arguments], moved))
    elif BUILT_IN.get(backend, BUILT_IN["numpy"]).arrays:
        calls.append((given, options))
    for place, (args, opts) in enumerate(calls):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            results = function(*args, **opts, backend=backend)
        results = results if isinstance(results, tuple) else (results,)
        for result, wanted, scale in zip(results, expected, scales, strict=True):
            if place == 0 and not (type(result) is float and np.ndim(wanted) == 0):
                assert type(result) in (np.ndarray, np.dtype(dtype).type), type(result)
                assert result.dtype == dtype
            found = dense(result)
            assert found.shape == np.shape(wanted)
            with np.errstate(invalid="ignore"):
                exact = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
                error = np.where(exact, 0, np.abs(found.astype(np.result_type(found, "float64")) - wanted))
                within = exact | (error <= FACTOR * unit * scale)
            assert within.all(), f"{name} on {backend}: off by {np.max(error / (unit * scale + 1e-300))} units"


def test_every_function_is_there(backend):
    there = find(backend, "the test").functions("kernels.ndarray") & {*FUNCTIONS}
    assert {*FUNCTIONS, "BatchNorm"} == {*ndarray.__all__}
    assert there == {*FUNCTIONS} if backend in BUILT_IN else there


# Shapes and dtypes


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (1, 5), (7, 1), (257, 3), (130, 16), (65, 40)])
def test_log_gram(backend, dtype, shape):
    check(backend, "log_gram", positive(*shape, dtype=dtype))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", ["softmax", "logsumexp"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1,), 0), ((5,), -1), ((3, 4), 0), ((3, 4), 1), ((4, 33), -1), ((2, 3, 5), 1), ((2, 3, 4, 5), -3), ((33, 7), 0),
     ((3, 0), 0), ((0, 3), 1), ((2, 0, 3), 2), ((2, 1000), 1), ((300, 2), 0)],
)  # fmt: skip
def test_rows(backend, name, shape, axis, dtype):
    check(backend, name, 5 * normal(*shape, dtype=dtype), axis)


@pytest.mark.parametrize("dtype", REAL)
def test_rows_without_items(backend, dtype):
    for shape, axis in [((0,), 0), ((0, 3), 0), ((3, 0), 1), ((2, 0, 3), 1)]:
        check(backend, "softmax", np.zeros(shape, dtype), axis)
        check(backend, "logsumexp", np.zeros(shape, dtype), axis)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1, 1), 0), ((5, 3), 0), ((3, 5), 1), ((130, 65), 0), ((4, 3, 5), (0, 2)), ((2, 3, 4, 5), (0, 2, 3)),
     ((2, 3, 4), -2), ((2, 3, 4), (2, 0)), ((4, 0), 0), ((3, 4, 1), (0, 1))],
)  # fmt: skip
def test_batch_norm(backend, shape, axis, dtype):
    averaged = {each % len(shape) for each in (axis if isinstance(axis, tuple) else (axis,))}
    kept = [length for place, length in enumerate(shape) if place not in averaged]
    x = (3 * normal(*shape) + 7).astype(dtype)
    check(backend, "batch_norm", x, normal(*kept, dtype=dtype), normal(*kept, dtype=dtype), axis=axis)


def test_batch_norm_of_nothing(backend):
    check(backend, "batch_norm", np.ones((0, 3)), np.ones(3), np.ones(3))
    check(backend, "batch_norm", np.ones((2, 3)), np.ones(3), np.ones(3), eps=0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "width", "out", "dilation"),
    [((2, 9, 3), 3, 4, 1), ((2, 9, 3), 3, 4, 2), ((1, 5, 2), 1, 1, 7), ((1, 4, 2), 3, 2, 8), ((3, 1, 1), 2, 3, 1),
     ((40, 5), 4, 2, 3), ((17,), 3, 1, 2), ((2, 0, 3), 2, 2, 1), ((0, 4, 3), 2, 2, 1), ((2, 4, 0), 2, 2, 1),
     ((2, 4, 3), 2, 0, 1), ((1, 150, 17), 2, 33, 64)],
)  # fmt: skip
def test_causal_conv1d(backend, shape, width, out, dilation, dtype):
    features = shape[-1] if len(shape) > 1 else 1
    x, w = normal(*shape, dtype=dtype), normal(width, features, out, dtype=dtype)
    place = max(len(shape) - 2, 0)
    state = normal(*shape[:place], (width - 1) * dilation, *shape[place + 1 :], dtype=dtype)
    check(backend, "causal_conv1d", x, w, dilation=dilation)
    check(backend, "causal_conv1d", x, w, normal(out, dtype=dtype), dilation=dilation, state=state)


def test_causal_conv1d_in_pieces(backend):
    """A stream that is fed in pieces, with what came before as the state, gives what the whole gives."""
    x, w, reach = normal(2, 30, 3), normal(3, 3, 2), 4
    whole = ndarray.causal_conv1d(x, w, dilation=2, backend=backend)
    past = np.concatenate([np.zeros((2, reach, 3)), x], axis=1)
    for start, stop in [(0, 1), (1, 3), (3, 20), (20, 30)]:
        state = past[:, start : start + reach]
        piece = ndarray.causal_conv1d(x[:, start:stop], w, dilation=2, state=state, backend=backend)
        np.testing.assert_allclose(piece, whole[:, start:stop], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("batch", "n", "m", "d", "e"),
    [((), 3, 4, 2, 5), ((2,), 5, 3, 4, 1), ((2, 3), 4, 4, 3, 3), ((), 1, 1, 1, 1), ((), 70, 131, 8, 9),
     ((2,), 0, 3, 2, 2), ((2,), 3, 0, 2, 2), ((0,), 3, 2, 2, 2), ((), 3, 2, 0, 2), ((), 3, 2, 2, 0),
     ((1, 2), 33, 65, 64, 64)],
)  # fmt: skip
def test_attention(backend, batch, n, m, d, e, dtype):
    q, k, v = normal(*batch, n, d, dtype=dtype), normal(*batch, m, d, dtype=dtype), normal(*batch, m, e, dtype=dtype)
    check(backend, "attention", q, k, v)
    check(backend, "attention", q, k, v, rng.random((n, m)) < 0.6, scale=0.3)
    check(backend, "attention", q, k, v, rng.random((*batch, n, m)) < 0.1)
    check(backend, "attention", q, k, v, rng.random((*batch, n, 1)) < 0.5)
    check(backend, "attention", q, k, v, rng.random((m,)) < 0.5, scale=0.0)


def test_attention_with_the_mask_of_a_sequence_to_a_sequence(backend):
    q, k, v = normal(2, 12, 4), normal(2, 12, 4), normal(2, 12, 3)
    mask = ndarray.seq2seq_mask(5, 7, backend=backend)
    expected, _ = oracle.attention(q, k, v, oracle.seq2seq_mask(5, 7))
    result = ndarray.attention(*(own(backend, array) for array in (q, k, v)), mask, backend=backend)
    np.testing.assert_allclose(dense(result), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n_source", "n_target"), [(0, 0), (0, 3), (3, 0), (1, 1), (4, 6), (40, 30)])
def test_seq2seq_mask(backend, n_source, n_target):
    mask = dense(ndarray.seq2seq_mask(n_source, n_target, backend=backend))
    assert mask.dtype == bool or mask.size == 0
    assert (mask == oracle.seq2seq_mask(n_source, n_target)).all()


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("shape_x", "shape_y"),
    [((2, 1), (2, 1)), ((3, 2), (3, 5)), ((40,), (40, 3)), ((41, 60), (41,)), ((150, 3), (150, 2))],
)
def test_hsic(backend, shape_x, shape_y, dtype):
    x, y = normal(*shape_x, dtype=dtype), normal(*shape_y, dtype=dtype)
    check(backend, "hsic", x, y)
    check(backend, "hsic", x + 1000, y, sigma_x=0.7)
    check(backend, "hsic", x, y, sigma_x=2.5, sigma_y=0.01)


def test_hsic_of_equal_rows(backend):
    """Half of the distances and more are 0, and so is their median."""
    x = np.repeat(normal(3, 2), [20, 1, 1], axis=0)
    check(backend, "hsic", x, normal(22, 2))
    check(backend, "hsic", np.ones((6, 2)), normal(6, 2))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("shape", "iterations"),
    [((3, 2, 4), 1), ((3, 2, 4), 3), ((2, 5, 3, 2), 2), ((2, 2, 4, 10, 16), 3), ((1, 1, 1), 4), ((70, 3, 2), 2),
     ((0, 2, 3), 2), ((3, 0, 2), 2), ((3, 2, 0), 2), ((0, 3, 2, 2), 2), ((2, 130, 10, 16), 3)],
)  # fmt: skip
def test_capsule_routing(backend, shape, iterations, dtype):
    check(backend, "capsule_routing", normal(*shape, dtype=dtype) / 4, iterations)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("dim", [2, 3, 10, 1000])
@pytest.mark.parametrize("shape", [(), (0,), (50,), (0, 3), (4, 5, 6)])
def test_angle_pdf(backend, shape, dim, dtype):
    theta = np.asarray(rng.uniform(-0.2, 3.4, shape)).astype(dtype)
    check(backend, "angle_pdf", theta, dim)


def test_angle_pdf_of_a_number(backend):
    density = ndarray.angle_pdf(1.0, 5, backend=backend)
    assert type(density) is float
    assert density == pytest.approx(float(oracle.angle_pdf(np.array(1.0), 5)[0]), rel=1e-13)


def test_random_angles(backend):
    """The same key gives the same angles everywhere; whether they have their density is tested with the density."""
    for dim, size in [(2, 0), (2, 1), (3, 1000), (500, 257)]:
        angles = dense(ndarray.random_angles(dim, size, rng=7, backend=backend))
        assert angles.shape == (size,)
        expected = kernels.to_numpy(ndarray.random_angles(dim, size, rng=7, backend="python"))
        np.testing.assert_allclose(angles, expected, rtol=1e-9)
    generator = [np.random.default_rng(3) for _ in range(2)]
    first, second = (dense(ndarray.random_angles(4, 9, rng=each, backend=backend)) for each in generator)
    assert (first == second).all()
    assert (first != dense(ndarray.random_angles(4, 9, rng=generator[0], backend=backend))).all()
    assert (dense(ndarray.random_angles(4, 9, backend=backend)) != first).all()


# Kinds of arrays

SAMPLES = {
    "log_gram": lambda make: ((make(12, 6, low=0.1),), {}),
    "softmax": lambda make: ((make(6, 8), 0), {}),
    "logsumexp": lambda make: ((make(6, 8), 1), {}),
    "batch_norm": lambda make: ((make(6, 8), make(8), make(8)), {}),
    "causal_conv1d": lambda make: ((make(2, 8, 4), make(2, 4, 6), make(6)), {"dilation": 3}),
    "attention": lambda make: ((make(2, 6, 4), make(2, 8, 4), make(2, 8, 2)), {}),
    "hsic": lambda make: ((make(8, 2), make(8, 4)), {}),
    "capsule_routing": lambda make: ((make(6, 4, 2),), {}),
    "angle_pdf": lambda make: ((make(6, 4, low=0.1), 5), {}),
}
sampled = pytest.mark.parametrize("name", SAMPLES)


def uniform(*shape, low=-1.0, dtype="float64"):
    return rng.uniform(low, 2.0, shape).astype(dtype)


def views(arguments, enlarge, view):
    """Arguments whose arrays are views of something larger."""
    return [view(enlarge(value)) if isinstance(value, np.ndarray) else value for value in arguments]


@sampled
@pytest.mark.parametrize(
    ("enlarge", "view"),
    [
        (lambda x: np.repeat(x, 2, axis=-1), lambda x: x[..., ::2]),
        (lambda x: np.concatenate([x, x]), lambda x: x[: len(x) // 2]),
        (lambda x: np.ascontiguousarray(x.T), lambda x: x.T),
        (lambda x: np.ascontiguousarray(x[::-1]), lambda x: x[::-1]),
    ],
    ids=["strided", "part", "transposed", "reversed"],
)
def test_views(backend, name, enlarge, view):
    arguments, options = SAMPLES[name](uniform)
    seen = views(arguments, enlarge, view)
    mine = [
        view(own(backend, enlarge(a))) if isinstance(a, np.ndarray) and backend != "python" else a for a in arguments
    ]
    check(backend, name, *seen, given=mine, **options)


@sampled
def test_broadcast_and_read_only(backend, name):
    arguments, options = SAMPLES[name](uniform)
    seen = [np.broadcast_to(a[:1], a.shape) if isinstance(a, np.ndarray) else a for a in arguments]
    check(backend, name, *seen, given=seen, **options)


@sampled
@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32", ">f8", ">f4"])
def test_integers_and_foreign_byte_orders(backend, name, dtype):
    arguments, options = SAMPLES[name](
        lambda *shape, low=-1.0: rng.integers(1 if low > 0 else 0, 4, shape).astype(dtype)
    )
    check(backend, name, *arguments, given=arguments, **options)


@sampled
def test_mixed_dtypes_are_promoted(backend, name):
    arguments, options = SAMPLES[name](uniform)
    first = next(place for place, value in enumerate(arguments) if isinstance(value, np.ndarray))
    mixed = [value.astype("float32") if place == first else value for place, value in enumerate(arguments)]
    check(backend, name, *mixed, given=mixed, **options)


@sampled
def test_lists(backend, name):
    """A nested list is taken by every backend, and comes back as NumPy's but from a python backend that was named."""
    arguments, options = SAMPLES[name](uniform)
    lists = [value.tolist() if isinstance(value, np.ndarray) else value for value in arguments]
    expected, _ = expect(name, *arguments, **options)
    results = getattr(ndarray, name)(*lists, **options, backend=backend)
    for result, wanted in zip(results if isinstance(results, tuple) else (results,), expected, strict=True):
        assert isinstance(result, list if backend == "python" else object) or name == "hsic"
        np.testing.assert_allclose(dense(result), wanted, rtol=1e-11, atol=1e-11)


@sampled
def test_arguments_are_left_as_they_were(backend, name):
    arguments, options = SAMPLES[name](uniform)
    before = [value.copy() if isinstance(value, np.ndarray) else value for value in arguments]
    getattr(ndarray, name)(*arguments, **options, backend=backend)
    for value, was in zip(arguments, before, strict=True):
        assert np.array_equal(value, was)


# Values that are not finite


@pytest.mark.parametrize("special", [np.nan, np.inf, -1.0, 0.0, 5e-324, 1e308])
def test_special_values_of_log_gram(backend, special):
    x = positive(40, 5) + 0.1
    x[7, 2] = special
    x[9, 3] = 0.0
    x[7, 4] = 0.0
    check(backend, "log_gram", x)


@pytest.mark.parametrize("name", ["softmax", "logsumexp"])
@pytest.mark.parametrize("dtype", REAL)
def test_special_rows(backend, name, dtype):
    inf, nan = np.inf, np.nan
    big = np.finfo(dtype).max
    rows = [
        [1, nan, 2], [inf, 1, 2], [inf, inf, 0], [-inf, -inf, -inf], [-inf, 1, 2], [inf, -inf, nan], [inf, -inf, 0],
        [big, big, big], [-big, -big, -big], [1e4, 1e4, -1e4], [-1e4, -1e4 - 1, -1e4 + 1], [0, -100, -1000],
    ]  # fmt: skip
    x = np.array(rows, dtype)
    check(backend, name, x, 1)
    check(backend, name, np.ascontiguousarray(x.T), 0)
    check(backend, name, np.repeat(x, 50, axis=1), 1)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_special_values_stay_in_their_channel(backend, special):
    x = normal(6, 4)
    x[2, 1] = special
    gamma, beta = normal(4), normal(4)
    results = ndarray.batch_norm(x, gamma, beta, backend=backend)
    expected, _ = expect("batch_norm", x, gamma, beta)
    for result, wanted in zip(results, expected, strict=True):
        assert np.isnan(result[..., 1]).all() or np.isinf(result[..., 1]).all()
        np.testing.assert_allclose(np.delete(result, 1, -1), np.delete(wanted, 1, -1), rtol=1e-12)

    x = normal(2, 9, 3)
    x[1, 4, 0] = special
    check(backend, "causal_conv1d", x, normal(2, 3, 4), dilation=2)


@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_special_values_in_attention(backend, special, place):
    arrays = [np.abs(normal(2, 5, 3)) for _ in range(3)]
    arrays[place][1, 2, 0] = special
    check(backend, "attention", *arrays)
    mask = np.ones((5, 5), bool)
    mask[0] = [True, False, False, True, True]
    if place < 2:
        check(backend, "attention", *arrays, mask)


def test_special_values_elsewhere(backend):
    for special in (np.nan, np.inf, -np.inf):
        x = normal(9, 2)
        x[4, 1] = special
        assert np.isnan(ndarray.hsic(x, normal(9, 3), backend=backend))
        assert np.isnan(ndarray.hsic(normal(9, 3), x, sigma_x=1.0, sigma_y=2.0, backend=backend))
    theta = np.array([np.nan, np.inf, -np.inf, -0.1, 3.2, 0.0, np.pi])
    for dim in (2, 3, 5):
        check(backend, "angle_pdf", theta, dim)
    votes = normal(2, 3, 2, 4)
    votes[1, 0, 0, 0] = np.nan
    routed = ndarray.capsule_routing(votes, backend=backend)
    assert np.isfinite(routed[0]).all()
    assert np.isnan(routed[1]).all()


# Shapes at random


def finite(dtype, shape, low=-8, high=8):
    width = 32 if dtype == "float32" else 64
    return hnp.arrays(dtype, shape, elements=st.floats(low, high, width=width, allow_subnormal=False))


@given(data=st.data(), dtype=st.sampled_from(REAL), n=st.integers(0, 40), d=st.integers(0, 12))
@settings(max_examples=20, deadline=None)
def test_log_gram_at_random(backend, data, dtype, n, d):
    check(backend, "log_gram", data.draw(finite(dtype, (n, d), low=0)))


@given(data=st.data(), dtype=st.sampled_from(REAL), shape=hnp.array_shapes(max_dims=4, max_side=7))
@settings(max_examples=20, deadline=None)
def test_rows_at_random(backend, data, dtype, shape):
    x = data.draw(finite(dtype, shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    check(backend, "softmax", x, axis)
    check(backend, "logsumexp", x, axis)


@given(
    data=st.data(),
    shape=st.tuples(st.integers(1, 3), st.integers(0, 12), st.integers(1, 4)),
    width=st.integers(1, 4),
    out=st.integers(1, 4),
    dilation=st.integers(1, 6),
)
@settings(max_examples=20, deadline=None)
def test_causal_conv1d_at_random(backend, data, shape, width, out, dilation):
    x, w = data.draw(finite("float64", shape)), data.draw(finite("float64", (width, shape[-1], out)))
    check(backend, "causal_conv1d", x, w, dilation=dilation)


@given(data=st.data(), n=st.integers(1, 9), m=st.integers(1, 20), d=st.integers(1, 5), e=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_attention_at_random(backend, data, n, m, d, e):
    q, k, v = (data.draw(finite("float64", shape)) for shape in ((n, d), (m, d), (m, e)))
    check(backend, "attention", q, k, v, data.draw(hnp.arrays(bool, (n, m))))


@given(data=st.data(), n=st.integers(2, 20), p=st.integers(1, 3), q=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_hsic_at_random(backend, data, n, p, q):
    grid = st.integers(-4, 4).map(float)  # so that many distances are equal
    x, y = (
        data.draw(hnp.arrays("float64", (n, p), elements=grid)),
        data.draw(hnp.arrays("float64", (n, q), elements=grid)),
    )
    check(backend, "hsic", x, y)


# Bad input, the same on every backend

ONES = [[1.0, 2.0], [3.0, 4.0]]
CUBE = [ONES, ONES]
BAD = [
    ("log_gram", ([1.0],), {}, ValueError, "x must have 2 axes, not 1"),
    ("log_gram", ([[1.0], [1.0, 2.0]],), {}, ValueError, "x has rows of different lengths: 1, 2"),
    ("log_gram", ("abc",), {}, TypeError, "x must be an array or a nested list, not 'abc' of type str"),
    ("log_gram", ([["a"]],), {}, TypeError, "x must be of float32, float64 or integers, not of str"),
    ("log_gram", ([[True]],), {}, TypeError, "not of bool"),
    ("log_gram", ([[1j]],), {}, TypeError, "not of complex"),
    ("log_gram", (np.ones((2, 2), "float16"),), {}, TypeError, "not float16"),
    ("log_gram", (np.ones((2, 2), "complex64"),), {}, TypeError, "not complex64"),
    ("log_gram", (np.ones((2, 2), bool),), {}, TypeError, "not bool"),
    ("log_gram", (None,), {}, TypeError, "x must be an array"),
    ("softmax", (ONES, 2), {}, ValueError, "axis must be at most 1, not 2"),
    ("softmax", (ONES, -3), {}, ValueError, "axis must be at least -2, not -3"),
    ("softmax", (ONES, 1.0), {}, TypeError, "axis must be an integer"),
    ("softmax", (ONES, None), {}, TypeError, "axis must be an integer"),
    ("softmax", (1.0,), {}, ValueError, "x must have 1 or more axes, not 0"),
    ("logsumexp", (ONES, 5), {}, ValueError, "axis must be at most 1"),
    ("batch_norm", (ONES, [1.0], [1.0, 1.0]), {}, ValueError, r"gamma must have the shape \(2,\)"),
    ("batch_norm", (ONES, [1.0, 1.0], [1.0]), {}, ValueError, r"beta must have the shape \(2,\)"),
    ("batch_norm", (ONES, [1.0, 1.0], [1.0, 1.0]), {"axis": (0, 0)}, ValueError, "several different ones"),
    ("batch_norm", (ONES, [1.0, 1.0], [1.0, 1.0]), {"axis": (0, 1)}, ValueError, "must leave one"),
    ("batch_norm", (ONES, [1.0, 1.0], [1.0, 1.0]), {"eps": -1.0}, ValueError, "eps must be finite and not negative"),
    ("batch_norm", (ONES, [1.0, 1.0], [1.0, 1.0]), {"eps": float("nan")}, ValueError, "eps must be finite"),
    ("causal_conv1d", (ONES, ONES), {}, ValueError, "w must have 3 axes"),
    ("causal_conv1d", (ONES, [[[1.0]]]), {}, ValueError, r"w must have the shape \(1, 2, 1\)"),
    ("causal_conv1d", (ONES, CUBE), {"dilation": 0}, ValueError, "dilation must be at least 1"),
    ("causal_conv1d", (ONES, CUBE), {"dilation": 1.5}, TypeError, "dilation must be an integer"),
    ("causal_conv1d", (ONES, CUBE, [1.0]), {}, ValueError, r"bias must have the shape \(2,\)"),
    ("causal_conv1d", (ONES, CUBE), {"state": ONES}, ValueError, r"state must have the shape \(1, 2\)"),
    ("causal_conv1d", (ONES, np.zeros((0, 2, 2))), {}, ValueError, "w must have one tap or more"),
    ("attention", (ONES, [[1.0]], ONES), {}, ValueError, r"k must have the shape \(2, 2\)"),
    ("attention", (CUBE, CUBE, ONES), {}, ValueError, r"k must have the shape|v must have the shape"),
    ("attention", (ONES, ONES, ONES, ONES), {}, TypeError, "mask must be of bool"),
    ("attention", (ONES, ONES, ONES, [[True] * 3]), {}, ValueError, "broadcasts to it"),
    ("attention", (ONES, ONES, ONES), {"scale": float("inf")}, ValueError, "scale must be finite"),
    ("attention", (ONES, ONES, ONES), {"scale": "1"}, TypeError, "scale must be a real number"),
    ("seq2seq_mask", (-1, 2), {}, ValueError, "n_source must be at least 0"),
    ("seq2seq_mask", (1, 2.0), {}, TypeError, "n_target must be an integer"),
    ("hsic", ([1.0], [1.0]), {}, ValueError, "x must have two rows or more"),
    ("hsic", (ONES, [1.0, 2.0, 3.0]), {}, ValueError, "y must have as many rows as x, 2, not 3"),
    ("hsic", (ONES, ONES), {"sigma_x": 0.0}, ValueError, "sigma_x must be finite and positive"),
    ("hsic", (ONES, ONES), {"sigma_y": True}, TypeError, "sigma_y must be a real number"),
    ("capsule_routing", (ONES,), {}, ValueError, "votes must have 3 or more axes"),
    ("capsule_routing", (CUBE, 0), {}, ValueError, "iterations must be at least 1"),
    ("random_angles", (1, 5), {}, ValueError, "dim must be at least 2"),
    ("random_angles", (3, -1), {}, ValueError, "size must be at least 0"),
    ("random_angles", (3, 1), {"rng": 1.5}, TypeError, "rng must be an integer"),
    ("random_angles", (3, 1), {"rng": 2**64}, ValueError, "rng must be at most"),
    ("angle_pdf", ([1.0], 1), {}, ValueError, "dim must be at least 2"),
    ("angle_pdf", (["a"], 3), {}, TypeError, "theta must be of"),
]


@pytest.mark.parametrize(("name", "arguments", "options", "error", "text"), BAD)
def test_bad_input(backend, name, arguments, options, error, text):
    if name not in find(backend, "the test").functions("kernels.ndarray"):
        pytest.skip(f"{backend} has no ndarray.{name}")
    with pytest.raises(error, match=text):
        getattr(ndarray, name)(*arguments, **options, backend=backend)
