"""Every function on every backend against its formula in double precision, for every kind of array."""

from __future__ import annotations

import warnings

import pytest

np = pytest.importorskip("numpy", reason="NumPy is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

import kernels  # noqa: E402
from kernels import recurrence  # noqa: E402
from kernels.dispatch import CONTRACTS  # noqa: E402
from kernels.errors import UnsupportedError  # noqa: E402
from kernels.recurrence import GatedSeries, ScanGradients  # noqa: E402
from kernels.registry import BUILT_IN, find  # noqa: E402
from recurrence import scan_formulas  # noqa: E402
from recurrence.scan_formulas import Bounded  # noqa: E402

FUNCTIONS = {name.removeprefix("recurrence.") for name in CONTRACTS if name.startswith("recurrence.")}
DTYPES = ["float32", "float64", "complex64", "complex128"]
WITH_HALF = ["float16", *DTYPES]
WITH_OUT = ("numpy", "numba", "cupy")
TIMES = [0, 1, 2, 31, 32, 33]
FEATURES = [1, 3, 31, 64]

rng = np.random.default_rng(20261120)
START = rng.bit_generator.state
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@pytest.fixture(autouse=True)
def _the_same_numbers_in_whatever_order_tests_run():
    rng.bit_generator.state = START


def normal(*shape, dtype="float64"):
    values = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.normal(size=shape)
    return values.astype(dtype)


def decays(*shape, dtype="float64"):
    """Factors of modulus below 1, of every sign or phase."""
    values = rng.uniform(-1, 1, shape)
    if np.dtype(dtype).kind == "c":
        values = values * np.exp(1j * rng.uniform(-np.pi, np.pi, shape))
    return np.asarray(values, dtype)


def gates(*shape, dtype="float64"):
    return rng.uniform(size=shape).astype(dtype)


def events(*shape, density=0.1, dtype="float64"):
    return np.where(rng.random(shape) < density, normal(*shape, dtype=dtype), 0).astype(dtype)


def state_shape(shape):
    return shape[:-2] + shape[-1:] if len(shape) > 1 else ()


def own(backend, value):
    """`value` as the backend's own array."""
    return find(backend, "the test").from_numpy(value) if isinstance(value, np.ndarray) else value


def dense(value):
    return kernels.to_numpy(value)


def call(name, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return getattr(recurrence, name)(*arguments, **options)


def promoted(*values):
    dtypes = [value.dtype for value in values if hasattr(value, "dtype")]
    return np.result_type(*(dtype if dtype.kind in "fc" else "float64" for dtype in dtypes))


def assert_near(found, expected):
    """Whether nothing is off by more than it may be; NaN and infinities must be where they are expected."""
    value = expected.value
    assert found.shape == np.shape(value)
    with np.errstate(all="ignore"):
        tolerance = expected.tolerance(found.dtype)
        rounded = np.asarray(value).astype(found.dtype)  # which may overflow
        exact = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
        error = np.where(exact, 0, np.abs(found - value))
        near = exact | (error <= tolerance)
    assert near.all(), f"off by {np.nanmax(error / tolerance)} times what is allowed"


def both_kinds(backend, name, *arguments, **options):
    """The results for NumPy arrays and for the backend's own, whose kinds and dtypes are looked at, in NumPy's."""
    arrays = [value for value in (*arguments, *options.values()) if hasattr(value, "dtype")]
    results = []
    for place, convert in enumerate([lambda value: value, lambda value: own(backend, value)]):
        converted = {option: convert(value) for option, value in options.items()}
        result = call(name, *map(convert, arguments), **converted, backend=backend)
        parts = result if isinstance(result, tuple) else (result,)
        for part in parts:
            if place == 0:
                assert isinstance(part, (np.ndarray, np.generic, int, float, complex))
            if hasattr(part, "dtype"):
                assert part.dtype == promoted(*arrays)
        with np.errstate(over="ignore"):
            found = [np.asarray(dense(part), promoted(*arrays)) for part in parts]
        results.append(type(result)(*found) if hasattr(result, "_fields") else tuple(found))
    return results


def check_scan(backend, a, b, h0=None, **options):
    """With and without the final state; returns the states of NumPy arrays."""
    expected = scan_formulas.linear_scan(a, b, h0, **options)
    found = both_kinds(backend, "linear_scan", a, b, h0, return_final=True, **options)
    for result in found:
        for part, wanted in zip(result, expected, strict=True):
            assert_near(part, wanted)
    alone = call("linear_scan", a, b, h0, **options, backend=backend)
    assert_near(dense(alone), expected[0])
    return found[0]


def check(backend, name, *arguments, **options):
    """Any other function."""
    expected = getattr(scan_formulas, name)(*arguments, **options)
    expected = (expected,) if isinstance(expected, Bounded) else expected
    found = both_kinds(backend, name, *arguments, **options)
    for result in found:
        for part, wanted in zip(result, expected, strict=True):
            assert_near(part, wanted)
    return found[0]


def test_every_function_is_there(backend):
    there = find(backend, "the test").functions("kernels.recurrence") & FUNCTIONS
    assert {*FUNCTIONS, "GatedSeries", "ScanGradients"} == {*recurrence.__all__}
    assert there == FUNCTIONS if backend in BUILT_IN else there


# Shapes


def shapes_of(time, features, emulated):
    several = [(time, features) for features in FEATURES[: 2 if emulated else None]] if features is None else []
    return [(time,), *several, (2, time, 3), (0, time, 2), (2, time, 0)]


@both_ways
@pytest.mark.parametrize("time", TIMES)
def test_shapes(backend, emulated, time, reverse):
    for shape in shapes_of(time, None, emulated):
        for dtype in ("float32", "complex128"):
            b, h0 = normal(*shape, dtype=dtype), np.asarray(normal(*state_shape(shape), dtype=dtype))
            check_scan(backend, decays(*shape, dtype=dtype), b, h0, reverse=reverse)
            check_scan(backend, decays(*shape[-1:] if len(shape) > 1 else (), dtype=dtype), b, reverse=reverse)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8000, 1), "float32"), ((8000, 3), "complex64"), ((2, 1000, 3), "float16"), ((600, 31), "float64"),
     ((600, 64), "complex128")],
)  # fmt: skip
def test_long_series(backend, emulated, shape, dtype):
    """Some of them longer than whatever a backend cuts series into."""
    if emulated:
        shape = (*shape[:-2], shape[-2] // 8, shape[-1])
    a, b, h0 = (
        maker(*of, dtype=dtype) for maker, of in [(decays, shape), (normal, shape), (normal, state_shape(shape))]
    )
    for reverse in (False, True):
        check_scan(backend, a, b, h0, reverse=reverse)
    near_one = np.asarray(1 - gates(shape[-1]) / 1000, dtype)
    check_scan(backend, near_one, b)


def test_one_long_series(backend, emulated):
    time = 1000 if emulated else 33_753
    a, b = decays(time, dtype="float32"), normal(time, dtype="float32")
    check_scan(backend, a, b)
    check_scan(backend, 0.999, b, np.float32(3), reverse=True)
    check_scan(backend, a.reshape(1, -1, 1), b.reshape(1, -1, 1), lengths=[time - 1])


def test_many_features(backend, emulated):
    shape = (2, 33, 65 if emulated else 1000)
    check_scan(backend, decays(*shape, dtype="float32"), normal(*shape, dtype="float32"), reverse=True)
    check_scan(backend, decays(*shape[-1:]), normal(*shape), normal(*state_shape(shape)), lengths=(33, 20))


# Factors

BROADCAST = [
    *(((2, 5, 3), shape) for shape in [(), (1,), (3,), (1, 1), (1, 3), (5, 1), (5, 3), (1, 1, 1), (1, 1, 3), (1, 5, 1),
                                       (1, 5, 3), (2, 1, 1), (2, 1, 3), (2, 5, 1), (2, 5, 3)]),
    *(((5, 3), shape) for shape in [(), (1,), (3,), (1, 1), (1, 3), (5, 1), (5, 3)]),
    *(((5,), shape) for shape in [(), (1,), (5,)]),
]  # fmt: skip
broadcast = pytest.mark.parametrize(("shape", "of_a"), BROADCAST, ids=str)


@broadcast
def test_broadcast_factors(backend, shape, of_a):
    for dtype, reverse in (("float16", False), ("float32", True), ("complex64", False), ("float64", False)):
        a, b, h0 = (
            decays(*of_a, dtype=dtype),
            *(np.asarray(normal(*s, dtype=dtype)) for s in (shape, state_shape(shape))),
        )
        check_scan(backend, a, b, reverse=reverse)
        check_scan(backend, a, b, h0, reverse=not reverse, lengths=(3, 5) if len(shape) == 3 else None)


@pytest.mark.parametrize("shape", [(2, 5, 3), (5, 3), (5,)], ids=str)
@pytest.mark.parametrize("a", [0, 1, -1, 2, 0.5, -0.75, np.float64(0.3), np.float32(0.3), True + 1])
def test_numbers_as_factors(backend, shape, a):
    for dtype in WITH_HALF:
        b = np.round(normal(*shape, dtype="float32") * 8).astype(dtype)
        check_scan(backend, a, b, reverse=True)


def test_complex_numbers_as_factors(backend):
    b = normal(2, 9, 3, dtype="complex64")
    check_scan(backend, 0.3 - 0.4j, b, reverse=True)
    check(backend, "lru", -0.3 + 0.9j, b)
    check(backend, "event_scan", -0.3 + 0.9j, events(2, 9, 3, dtype="complex64"))


@both_ways
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("modulus", [0.0, 1.0, -1.0, -0.5, 1.1, -2.5])
def test_any_factor_is_safe(backend, modulus, dtype, reverse):
    """Also where it is the same at all times, and where it is mixed with others."""
    b = normal(2, 40, 3, dtype=dtype)
    phases = np.exp(1j * rng.uniform(-np.pi, np.pi, b.shape)) if np.dtype(dtype).kind == "c" else 1
    full = np.broadcast_to(modulus * phases, b.shape).astype(dtype)
    mixed = np.where(rng.random(b.shape) < 0.2, full, decays(*b.shape)).astype(dtype)
    for a in (full, mixed, full[0, 0]):
        check_scan(backend, a, b, reverse=reverse)
        check(backend, "linear_scan_vjp", a, b, b[::-1], reverse=reverse)


def test_a_factor_of_zero_forgets(backend):
    a, b = np.full(8, 2.0), np.ones(8)
    a[5] = 0
    for kind in (1e300, 1e-300):
        h, _ = check_scan(backend, a, b * kind)
        assert h[5] == kind


def test_overflow_is_infinite(backend):
    for dtype in ("float16", "float32"):
        h, final = check_scan(backend, np.full((200, 2), 10, dtype), np.ones((200, 2), dtype))
        assert np.isposinf(h[-1]).all()
        assert np.isposinf(final).all()


# States, lengths and directions


@both_ways
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("shape", [(50,), (50, 3), (2, 50, 3)], ids=str)
def test_pieces_make_the_whole(backend, shape, dtype, reverse):
    a, b = decays(*shape, dtype=dtype), normal(*shape, dtype=dtype)
    h0 = np.asarray(normal(*state_shape(shape), dtype=dtype))
    expected = scan_formulas.linear_scan(a, b, h0, reverse)
    axis = max(len(shape) - 2, 0)
    for cut in (0, 1, 17, 49, 50):
        pieces = [slice(0, cut), slice(cut, None)]
        state, found = own(backend, h0), {}
        for place in (1, 0) if reverse else (0, 1):
            part = (*[slice(None)] * axis, pieces[place])
            inputs = own(backend, a[part].copy()), own(backend, b[part].copy())
            h, state = call("linear_scan", *inputs, state, reverse=reverse, return_final=True, backend=backend)
            found[place] = dense(h)
            state = own(backend, np.asarray(dense(state)))
        assert_near(np.concatenate([found[0], found[1]], axis), expected[0])
        assert_near(np.asarray(dense(state)), expected[1])


@pytest.mark.parametrize("shape", [(33,), (33, 5), (2, 33, 5)], ids=str)
def test_reverse_is_a_scan_of_what_is_flipped(backend, shape):
    axis = max(len(shape) - 2, 0)
    a, b = decays(*shape), normal(*shape)
    h = call("linear_scan", a, b, reverse=True, backend=backend)
    flipped = call("linear_scan", np.flip(a, axis), np.flip(b, axis), backend=backend)
    np.testing.assert_allclose(h, np.flip(flipped, axis), rtol=1e-12, atol=1e-13)


@both_ways
@pytest.mark.parametrize("dtype", WITH_HALF)
def test_lengths(backend, dtype, reverse):
    """What lies beyond is not looked at: it may be NaN."""
    lengths = (0, 1, 7, 12, 11)
    b = normal(5, 12, 3, dtype=dtype)
    beyond = np.arange(12)[:, np.newaxis] >= np.reshape(lengths, (5, 1, 1))
    b[np.broadcast_to(beyond, b.shape)] = np.nan
    h0 = normal(5, 3, dtype=dtype)
    for shape in [(5, 12, 3), (12, 3), (3,), (5, 1, 1), (5, 12, 1)]:
        a = decays(*shape, dtype=dtype)
        if shape == b.shape:
            a[np.isnan(b)] = np.nan
        for of_any_kind in (lengths, list(lengths), np.array(lengths)):
            found = call("linear_scan", a, b, reverse=reverse, lengths=of_any_kind, backend=backend)
            assert not dense(found)[np.isnan(b)].any()
        check_scan(backend, a, b, reverse=reverse, lengths=lengths)
        h, final = check_scan(backend, a, b, h0, reverse=reverse, lengths=lengths)
        assert np.array_equal(final[0], h0[0])
        if not reverse:
            assert np.array_equal(final[2], h[2, 6])
        g = normal(5, 12, 3, dtype=dtype)
        g[np.isnan(b)] = np.nan
        for state in (None, h0):
            check(backend, "linear_scan_vjp", a, h, g, state, g_final=h0, reverse=reverse, lengths=lengths)


def test_no_steps_leave_the_state(backend):
    for shape in [(0,), (0, 3), (2, 0, 3)]:
        h0 = np.asarray(normal(*state_shape(shape)))
        for state in (None, h0):
            h, final = check_scan(backend, decays(*shape), np.zeros(shape), state)
            assert h.shape == shape
            assert np.array_equal(final, 0 * h0 if state is None else h0)
        gradients = check(backend, "linear_scan_vjp", decays(*shape), np.zeros(shape), np.zeros(shape), g_final=h0)
        assert np.array_equal(gradients.dh0, h0)


# Where results go


@both_ways
def test_out(backend, reverse):
    """It may be of any strides, and b itself."""
    if backend not in WITH_OUT:
        pytest.skip(f"{backend} cannot write to an array")
    for dtype in WITH_HALF:
        for shape in [(40,), (40, 3), (2, 40, 3)]:
            a, b = decays(*shape, dtype=dtype), normal(*shape, dtype=dtype)
            expected, final = scan_formulas.linear_scan(a, b, None, reverse)
            wide = np.zeros((*shape[:-1], 2 * shape[-1]), dtype)
            for out in (np.empty(shape, dtype), wide[..., ::2], np.empty(shape[::-1], dtype).T):
                out = own(backend, out)
                h = call("linear_scan", own(backend, a), own(backend, b), reverse=reverse, out=out, backend=backend)
                assert h is out
                assert_near(dense(out), expected)
            for view in (b, np.asfortranarray(b)):
                b_and_out = own(backend, view.copy(order="K"))
                h, last = call("linear_scan", own(backend, a), b_and_out, reverse=reverse, return_final=True,
                               out=b_and_out, backend=backend)  # fmt: skip
                assert h is b_and_out
                assert_near(dense(h), expected)
                assert_near(np.asarray(dense(last)), final)


def test_out_with_lengths_and_a_state(backend):
    if backend not in WITH_OUT:
        pytest.skip(f"{backend} cannot write to an array")
    a, b, h0 = decays(3), normal(4, 9, 3), normal(4, 3)
    expected, _ = scan_formulas.linear_scan(a, b, h0, False, (0, 9, 4, 1))
    out = own(backend, np.full(b.shape, np.nan))
    mine = (own(backend, each) for each in (a, b, h0))
    assert call("linear_scan", *mine, lengths=(0, 9, 4, 1), out=out, backend=backend) is out
    assert_near(dense(out), expected)


def test_out_of_another_dtype(backend):
    if backend not in WITH_OUT:
        pytest.skip(f"{backend} cannot write to an array")
    for dtype, other in [("float32", "float64"), ("complex64", "float32"), ("float64", "int64")]:
        b, out = own(backend, np.ones((4, 3), dtype)), own(backend, np.zeros((4, 3), other))
        with pytest.raises(TypeError, match=f"(?s)({dtype}.*{other}|{other}.*{dtype})"):
            recurrence.linear_scan(0.5, b, out=out, backend=backend)
        assert not dense(out).any()
    b = own(backend, np.ones((4, 3), "float32"))
    with pytest.raises(TypeError, match="out"):
        recurrence.linear_scan(0.5, b, own(backend, np.zeros(3)), out=b, backend=backend)


def test_out_where_nothing_can_be_written(backend):
    with pytest.raises(ValueError, match=r"out must have the shape \(4, 3\) of b, not \(3, 4\)"):
        recurrence.linear_scan(0.5, np.ones((4, 3)), out=np.ones((3, 4)), backend=backend)
    with pytest.raises(TypeError, match="out must be an array, not"):
        recurrence.linear_scan(0.5, np.ones((4, 3)), out=[[0.0] * 3] * 4, backend=backend)
    if backend not in ("numpy", "numba"):
        with pytest.raises(UnsupportedError, match=r"out|written"):
            recurrence.linear_scan(0.5, np.ones((4, 3)), out=np.ones((4, 3)), backend=backend)


# Values


def test_half_precision_is_carried_in_single(backend, emulated):
    """float16 has no 2049."""
    ones = np.ones((5000, 1 if emulated else 3), "float16")
    h, final = check_scan(backend, 1.0, ones)
    assert (final == 5000).all()
    assert (np.diff(h[:2048], axis=0) == 1).all()
    check_scan(backend, np.float16([1]), ones, reverse=True)
    gradients = check(backend, "linear_scan_vjp", np.float16([1]), np.zeros_like(ones), ones)
    assert (gradients.dh0 == 5000).all()


def test_factors_of_one_are_a_cumulative_sum(backend):
    b = normal(300, 3)
    np.testing.assert_allclose(call("linear_scan", 1, b, backend=backend), np.cumsum(b, axis=0), rtol=1e-12, atol=1e-12)


def test_constant_factors_are_a_filter(backend):
    signal = pytest.importorskip("scipy.signal", reason="SciPy is not installed")
    b, h0 = normal(2, 300, 3), normal(2, 3)
    expected, final = signal.lfilter([1.0], [1.0, 0.9], b, axis=1, zi=-0.9 * h0[:, np.newaxis])
    h, last = call("linear_scan", -0.9, b, h0, return_final=True, backend=backend)
    np.testing.assert_allclose(h, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(-0.9 * last, final[:, 0], rtol=1e-12, atol=1e-12)


@both_ways
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_where_it_is(backend, special, reverse):
    """In its own sequence and feature, and before it in time."""
    a, b, h0 = decays(2, 40, 5) + 0.1, normal(2, 40, 5), normal(2, 5)
    expected, _ = scan_formulas.linear_scan(a, b, h0, reverse)
    after = np.zeros(b.shape, bool)
    after[1, : 17 + 1 if reverse else None, 2] = True
    if not reverse:
        after[1, :17, 2] = False
    for place in range(2):
        arrays = [a.copy(), b.copy()]
        arrays[place][1, 17, 2] = special
        for kind in (arrays, [own(backend, each) for each in arrays]):
            h = dense(call("linear_scan", *kind, own(backend, h0) if kind is not arrays else h0, reverse=reverse,
                           backend=backend))  # fmt: skip
            assert not np.isfinite(h[after]).any()
            assert_near(np.where(after, 0, h), Bounded(*(np.where(after, 0, each) for each in expected)))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_states_that_are_not_finite(backend, special):
    a, b, h0 = np.abs(decays(9, 3)) + 0.1, normal(9, 3), normal(3)
    h0[1] = special
    h, final = call("linear_scan", a, b, h0, return_final=True, backend=backend)
    assert (np.isfinite(h) == [True, False, True]).all()
    assert (np.isfinite(final) == [True, False, True]).all()
    g = normal(9, 3)
    g[4, 1] = special
    gradients = call("linear_scan_vjp", a, normal(9, 3), g, backend=backend)
    assert np.isfinite(gradients.db[:, [0, 2]]).all()
    assert not np.isfinite(gradients.db[:5, 1]).any()
    assert np.isfinite(gradients.db[5:, 1]).all()


# Gradients


@broadcast
@both_ways
def test_gradients(backend, shape, of_a, reverse):
    for dtype in ("float16", "float32", "complex128"):
        a = decays(*of_a, dtype=dtype)
        h, g = (normal(*shape, dtype=dtype) for _ in range(2))
        h0, g_final = (np.asarray(normal(*state_shape(shape), dtype=dtype)) for _ in range(2))
        lengths = (4, 2) if len(shape) == 3 else None
        check(backend, "linear_scan_vjp", a, h, g, reverse=reverse)
        check(backend, "linear_scan_vjp", a, h, g, h0, g_final=g_final, reverse=reverse, lengths=lengths)


@pytest.mark.parametrize("a", [0.75, -1, 0, np.float32(0.5)])
def test_gradients_of_a_number(backend, a):
    h, g, h0 = normal(2, 9, 3), normal(2, 9, 3), normal(2, 3)
    for state in (None, h0):
        gradients = check(backend, "linear_scan_vjp", a, h, g, state, g_final=h0)
        assert np.ndim(gradients.da) == 0
    z = h + 1j * g
    check(backend, "linear_scan_vjp", 0.5 - 0.5j, z, z * 1j, h0 + 1j * h0[::-1])


def test_gradients_of_long_series(backend, emulated):
    shape = (1000 if emulated else 8000, 2)
    for dtype in ("float32", "complex64"):
        a, h, g = decays(*shape, dtype=dtype), normal(*shape, dtype=dtype), normal(*shape, dtype=dtype)
        check(backend, "linear_scan_vjp", a, h, g)
        check(backend, "linear_scan_vjp", a[0], h, g, h[0], reverse=True)


@both_ways
@broadcast
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_gradients_are_differences(backend, shape, of_a, dtype, reverse):
    """A small change d of an argument changes the scalar by ``real(vdot(gradient, d))``."""
    arguments = {"a": decays(*of_a, dtype=dtype), "b": normal(*shape, dtype=dtype),
                 "h0": np.asarray(normal(*state_shape(shape), dtype=dtype))}  # fmt: skip
    options = {"reverse": reverse, "lengths": (4, 2) if len(shape) == 3 else None}
    g, g_final = normal(*shape, dtype=dtype), np.asarray(normal(*state_shape(shape), dtype=dtype))

    def scalar(**changed):
        h, final = scan_formulas.linear_scan(**{**arguments, **changed}, **options)
        return np.vdot(g, h.value).real + np.vdot(g_final, final.value).real

    h = call("linear_scan", **arguments, **options, backend=backend)
    found = call("linear_scan_vjp", arguments["a"], h, g, arguments["h0"], g_final=g_final, **options, backend=backend)
    for (name, value), gradient in zip(arguments.items(), found, strict=True):
        for _ in range(2):
            change = np.asarray(normal(*value.shape, dtype=dtype)) * 1e-6
            difference = scalar(**{name: value + change}) - scalar(**{name: value - change})
            assert 2 * np.vdot(gradient, change).real == pytest.approx(difference, rel=1e-6, abs=1e-13)


def test_gradients_take_a_step_of_descent(backend):
    """The whole loop with the results that the backend returns, in its own arrays."""
    a, b = (own(backend, each) for each in (decays(3), normal(30, 3)))
    h = call("linear_scan", a, b, backend=backend)
    gradients = call("linear_scan_vjp", a, own(backend, dense(h)), own(backend, dense(h)), backend=backend)
    assert isinstance(gradients, ScanGradients)
    nearer = dense(b) - 0.1 * dense(gradients.db)
    assert np.linalg.norm(scan_formulas.linear_scan(dense(a), nearer)[0].value) < np.linalg.norm(dense(h))


# Events


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (200,), (0, 3), (200, 3), (2, 200, 31), (2, 0, 3), (0, 5, 3)], ids=str)
def test_events(backend, shape, dtype):
    features = shape[-1] if len(shape) > 1 else 1
    for density in (0.0, 0.03, 0.5, 1.0):
        b = events(*shape, density=density, dtype=dtype)
        for a in (decays(features, dtype=dtype), np.asarray(decays(1, dtype=dtype)), -0.875, 1, 0, 1.0625):
            check(backend, "event_scan", a, b)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_long_pauses(backend, emulated, dtype):
    b = np.zeros((1000 if emulated else 8000, 6), dtype)
    b[[3, -1]] = 1
    check(backend, "event_scan", np.asarray([1 - 2.0**-10, 0.5, 0, -1, 2, 1], dtype), b)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_events_that_are_not_finite(backend, special):
    b = events(40, 3, density=0.3)
    b[20, 1] = special
    a = np.array([0.5, 0.25, -0.5])
    for kind in ((a, b), (own(backend, a), own(backend, b))):
        h = dense(call("event_scan", *kind, backend=backend))
        assert ((h != 0) == (b != 0)).all()
        assert not np.isfinite(h[20:, 1][b[20:, 1] != 0]).any()
        assert np.isfinite(np.delete(h, 1, 1)).all()
        assert np.isfinite(h[:20]).all()


# Layers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(0,), (1,), (50,), (50, 3), (0, 3), (2, 33, 31), (2, 0, 3), (0, 5, 3)], ids=str)
def test_qrnn(backend, shape, dtype):
    z, f, o = normal(*shape, dtype=dtype), gates(*shape, dtype=dtype), gates(*shape, dtype=dtype)
    c0 = np.asarray(normal(*state_shape(shape), dtype=dtype))
    for arguments in [(z, f), (z, f, o), (z, f, None, c0), (z, f, o, c0), (z, f * 0, o, c0), (z, f * 0 + 1, o, c0)]:
        found = check(backend, "qrnn", *arguments)
        assert isinstance(found, GatedSeries)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (50, 4), (2, 33, 7), (2, 0, 3), (0, 5, 3), (2, 3, 0)], ids=str)
def test_sru(backend, shape, dtype):
    d = shape[-1]
    x, w, b = normal(*shape, dtype=dtype), normal(d, 3 * d, dtype=dtype), normal(2, d, dtype=dtype)
    v, c0 = normal(2, d, dtype=dtype), normal(*state_shape(shape), dtype=dtype)
    for arguments in [(x, w, b), (x, w, b, v), (x, w, b, None, c0), (x, w, b, v, c0), (100 * x, w, b, v)]:
        found = check(backend, "sru", *arguments)
        assert isinstance(found, GatedSeries)
    np.testing.assert_array_equal(check(backend, "sru", x, w, b, 0 * v).c.shape, check(backend, "sru", x, w, b).c.shape)


def test_sru_without_peepholes_is_a_qrnn_with_a_highway(backend):
    """Their gates have opposite signs, and a quasi-recurrent layer of window 1 multiplies each input by a matrix."""
    x, w, b, c0 = normal(2, 20, 5), normal(5, 15), normal(2, 5), normal(2, 5)
    u, p, q = np.split(x @ w, 3, axis=-1)
    f, r = (1 / (1 + np.exp(-each)) for each in (p + b[0], q + b[1]))
    pooled = call("qrnn", u, 1 - f, r, c0, backend=backend)
    unit = call("sru", x, w, b, None, c0, backend=backend)
    np.testing.assert_allclose(unit.c, pooled.c, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(unit.h, pooled.h + (1 - r) * x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(unit.final, pooled.final, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_layers_of_what_is_not_finite(backend, special):
    z, f = normal(2, 9, 3), gates(2, 9, 3)
    z[1, 4, 2] = special
    found = call("qrnn", z, f, backend=backend)
    expected = np.ones(z.shape, bool)
    expected[1, 4:, 2] = False
    assert (np.isfinite(found.c) == expected).all()
    for v in (None, normal(2, 3)):
        found = call("sru", z, normal(3, 9), normal(2, 3), v, backend=backend)
        assert np.isfinite(found.c[0]).all()
        assert np.isfinite(found.c[1, :4]).all()
        assert np.isfinite(found.h[1, :4]).all()


@pytest.mark.parametrize("shape", [(0,), (50,), (50, 3), (2, 33, 31), (2, 0, 3)], ids=str)
def test_lru(backend, shape):
    features = shape[-1] if len(shape) > 1 else 1
    for dtype in DTYPES:
        u, h0 = normal(*shape, dtype=dtype), np.asarray(normal(*state_shape(shape), dtype=dtype))
        for lam in (decays(features, dtype=dtype), decays(features, dtype="complex64"), decays(1, dtype=dtype), 0.5):
            check(backend, "lru", lam, u)
            check(backend, "lru", lam, u, h0)


def test_eigenvalues_on_the_unit_circle(backend):
    lam = np.exp(1j * rng.uniform(-np.pi, np.pi, 3)).astype("complex64")
    check(backend, "lru", lam, normal(1000, 3, dtype="complex64"))


# Kinds of arrays


@pytest.mark.parametrize(
    ("enlarge", "view"),
    [
        (lambda x: np.repeat(x, 2, axis=-1), lambda x: x[..., ::2]),
        (lambda x: np.repeat(x, 2, axis=-2), lambda x: x[..., ::2, :]),
        (lambda x: np.concatenate([x, x]), lambda x: x[: len(x) // 2]),
        (lambda x: np.ascontiguousarray(x.swapaxes(-1, -2)), lambda x: x.swapaxes(-1, -2)),
        (lambda x: np.ascontiguousarray(x.swapaxes(0, -2)), lambda x: x.swapaxes(0, -2)),
        (lambda x: np.ascontiguousarray(x[..., ::-1, ::-1]), lambda x: x[..., ::-1, ::-1]),
        (lambda x: x, np.asfortranarray),
        (lambda x: x, lambda x: np.broadcast_to(x[..., :1, :], x.shape)),
        (lambda x: x, lambda x: np.broadcast_to(x[..., :1], x.shape)),
    ],
    ids=["features strided", "times strided", "part", "features first", "time first", "reversed", "Fortran's order",
         "equal times", "equal features"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_views(backend, enlarge, view, dtype):
    for shape in [(2, 33, 6), (33, 6)]:
        a, b = (view(enlarge(each)) for each in (decays(*shape, dtype=dtype), normal(*shape, dtype=dtype)))
        for reverse in (False, True):
            check_scan(backend, a, b, reverse=reverse)
            check(backend, "linear_scan_vjp", a, b, b, reverse=reverse)
        check_scan(backend, a[..., :1], b)
        check(backend, "event_scan", a[(0,) * (len(shape) - 1)], b)
        check(backend, "lru", a[(0,) * (len(shape) - 1)], b)
        if dtype == "float32":
            check(backend, "qrnn", a, np.abs(a), b)
            check(backend, "sru", b, normal(6, 18, dtype=dtype), normal(2, 6, dtype=dtype))


@pytest.mark.parametrize(
    "dtypes",
    [("int8", "int8"), ("uint8", "int64"), (">f8", ">f4"), ("int32", "float32"), (">f2", "float16"),
     ("float16", "float32"), ("float16", "complex64"), ("float32", "float64"), ("float64", "float16"),
     ("complex64", "float64"), ("float32", "complex64"), (">c8", "int16")],
    ids=" and ".join,
)  # fmt: skip
def test_dtypes_are_promoted(backend, dtypes):
    a, b = (rng.integers(0, 2, (20, 3)).astype(dtype) for dtype in dtypes)
    b = (b * 100).astype(dtypes[1])  # sums that small integers would not hold
    check_scan(backend, a, b)
    check_scan(backend, a, b, b[0].copy())
    check(backend, "linear_scan_vjp", a, b, a)
    if not any(dtype.endswith(("f2", "16")) for dtype in dtypes):
        check(backend, "lru", a[0].copy(), b)
        check(backend, "event_scan", a[0].copy(), b)
        if not any("c" in dtype for dtype in dtypes):
            check(backend, "qrnn", a, b)


def test_lists(backend):
    """They are taken by every backend, and come back as NumPy's but from a python backend that was named."""
    kind = list if backend == "python" else object
    for shape in [(7,), (7, 3), (2, 7, 3)]:
        a, b, h0 = decays(*shape), normal(*shape), np.asarray(normal(*state_shape(shape)))
        expected = call("linear_scan", a, b, h0, return_final=True, backend=backend)
        found = call("linear_scan", a.tolist(), b.tolist(), h0.tolist(), return_final=True, backend=backend)
        assert isinstance(found[0], kind)
        for part, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(dense(part), wanted, rtol=1e-12)
        found = call("linear_scan_vjp", a.tolist(), b.tolist(), b.tolist(), backend=backend)
        assert isinstance(found.da, kind)
        for part, wanted in zip(found, call("linear_scan_vjp", a, b, b, backend=backend), strict=True):
            np.testing.assert_allclose(dense(part), wanted, rtol=1e-12)
    found = call("event_scan", [0.5, 2], [[0, 1], [0, 0], [3, 1]], backend=backend)
    assert isinstance(found, kind)
    assert dense(found).tolist() == [[0, 1], [0, 0], [3, 5]]
    found = call("qrnn", [1, 1], [0.5, 0.5], backend=backend)
    assert isinstance(found.c, kind)
    assert dense(found.c).tolist() == [0.5, 0.75]
    found = call("lru", 0.5j, [1 + 0j, 0j], backend=backend)
    assert isinstance(found, kind)
    assert dense(found).tolist() == [1, 0.5j]


def test_lists_of_no_time(backend):
    for series, shape in [([], (0,)), ([[]], (1, 0)), ([[], []], (2, 0)), ([[[]], [[]]], (2, 1, 0))]:
        h, final = call("linear_scan", 0.5, series, return_final=True, backend=backend)
        assert dense(h).shape == shape
        assert np.shape(dense(final)) == state_shape(shape)


def test_arguments_are_left_as_they_were(backend):
    a, b, h0, f = decays(2, 20, 3), events(2, 20, 3, density=0.5), normal(2, 3), gates(2, 20, 3)
    w, biases = normal(3, 9), normal(2, 3)
    before = [each.copy() for each in (a, b, h0, f, w, biases)]
    for each in (a, b, h0, f, w, biases):
        each.setflags(write=False)
    for reverse in (False, True):
        call("linear_scan", a, b, h0, reverse=reverse, lengths=(9, 20), return_final=True, backend=backend)
        call("linear_scan_vjp", a, b, b, h0, g_final=h0, reverse=reverse, lengths=(9, 20), backend=backend)
    call("event_scan", biases[0], b, backend=backend)
    call("lru", biases[0], b, h0, backend=backend)
    call("qrnn", b, f, f, h0, backend=backend)
    call("sru", b, w, biases, None, h0, backend=backend)
    call("sru", b, w, biases, biases, h0, backend=backend)
    assert all(np.array_equal(each, was) for each, was in zip((a, b, h0, f, w, biases), before, strict=True))


# Shapes and values at random


def finite(dtype, shape):
    """Small integers and halves, so that sums are exact in float16, too, and many factors are 0 or 1."""
    elements = st.integers(-2, 2).map(lambda value: np.dtype(dtype).type(value / 2))
    return hnp.arrays(dtype, shape, elements=elements)


@st.composite
def scans(draw, times=12):
    """Factors, inputs, a state and options of a scan."""
    shape = draw(st.sampled_from([(), (1,), (2,), (3,)]))
    shape = (*shape, draw(st.integers(0, times)))
    shape = (*shape, draw(st.integers(0, 4))) if len(shape) == 2 or draw(st.booleans()) else shape
    of_a = tuple(draw(st.sampled_from([1, length])) for length in shape)[draw(st.integers(0, len(shape))) :]
    a, b = draw(finite(draw(st.sampled_from(WITH_HALF)), of_a)), draw(finite(draw(st.sampled_from(WITH_HALF)), shape))
    h0 = draw(st.none() | finite("float16", state_shape(shape)))
    options = {"reverse": draw(st.booleans())}
    if len(shape) == 3:
        length = st.integers(0, shape[1])
        options["lengths"] = draw(st.none() | st.lists(length, min_size=shape[0], max_size=shape[0]))
    return a, b, h0, options


@given(scans())
@settings(max_examples=30, deadline=None)
def test_scans_at_random(backend, scan):
    *arguments, options = scan
    check_scan(backend, *arguments, **options)


@given(scans(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_gradients_at_random(backend, scan, with_final):
    a, b, h0, options = scan
    g_final = np.ones(state_shape(b.shape), b.dtype) if with_final else None
    check(backend, "linear_scan_vjp", a, b, b[::-1].copy(), h0, g_final=g_final, **options)


# Bad input, the same on every backend

A, B = [0.5, 0.5], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
BATCH = [B, B]
SRU = (B, [[1.0] * 6] * 2, [[0.0, 0.0]] * 2)
NO_SERIES = [
    (1.0, ValueError, "must have 1 or 2 or 3 axes, not 0"),
    ([[[[1.0]]]], ValueError, "must have 1 or 2 or 3 axes, not 4"),
    ("abc", TypeError, "must be an array or a nested list"),
    (None, TypeError, "must be an array or a nested list"),
    ([["a"]], TypeError, "must be of"),
    ([[1.0], [1.0, 2.0]], ValueError, "has rows of different lengths"),
    (np.ones((3, 2), bool), TypeError, "must be of .*, not bool"),
    (np.ones((3, 2), object), TypeError, "must be of .*, not object"),
]
BAD_CALLS = [
    *(("linear_scan", (A, series), {}, error, f"b {text}") for series, error, text in NO_SERIES),
    *(("linear_scan_vjp", (A, series, B), {}, error, f"h {text}") for series, error, text in NO_SERIES),
    *(("event_scan", (A, series), {}, error, f"b {text}") for series, error, text in NO_SERIES),
    *(("qrnn", (series, B), {}, error, f"z {text}") for series, error, text in NO_SERIES),
    *(("lru", (A, series), {}, error, f"u {text}") for series, error, text in NO_SERIES),
    ("linear_scan", ([0.5] * 3, B), {}, ValueError, r"a must be broadcastable to the shape \(3, 2\) of b"),
    ("linear_scan", ([[0.5] * 2] * 2, B), {}, ValueError, "a must be broadcastable"),
    ("linear_scan", (BATCH, B), {}, ValueError, "a must have"),
    ("linear_scan", ("a", B), {}, TypeError, "a must be an array"),
    ("linear_scan", (None, B), {}, TypeError, "a must be an array"),
    ("linear_scan", (True, B), {}, TypeError, "a must be of"),
    ("linear_scan", (0.5j, np.ones((3, 2))), {}, TypeError, "a is a complex number where the series is real"),
    ("linear_scan", (A, B, [0.0]), {}, ValueError, r"h0 must have the shape \(2,\) of b without time, not \(1,\)"),
    ("linear_scan", (A, B, 0.0), {}, ValueError, "h0 must have 1 axes, not 0"),
    ("linear_scan", (0.5, [1.0], [0.0]), {}, ValueError, "h0 must have 0 axes, not 1"),
    ("linear_scan", (A, BATCH, A), {}, ValueError, "h0 must have 2 axes, not 1"),
    ("linear_scan", (A, B), {"reverse": 1}, TypeError, "reverse must be a bool, not 1 of type int"),
    ("linear_scan", (A, B), {"reverse": None}, TypeError, "reverse must be a bool"),
    ("linear_scan", (A, B), {"return_final": "yes"}, TypeError, "return_final must be a bool"),
    ("linear_scan", (A, B), {"lengths": [3]}, ValueError, "lengths are for series with a batch axis, of 3 axes"),
    ("linear_scan", (A, BATCH), {"lengths": [3]}, ValueError, "lengths must be 2, one a sequence, not 1"),
    ("linear_scan", (A, BATCH), {"lengths": 3}, TypeError, "lengths must be integers, one a sequence, not 3"),
    ("linear_scan", (A, BATCH), {"lengths": "33"}, TypeError, "lengths must be integers"),
    ("linear_scan", (A, BATCH), {"lengths": [3, 1.0]}, TypeError, "each of lengths must be an integer, not 1.0"),
    ("linear_scan", (A, BATCH), {"lengths": [3, True]}, TypeError, "each of lengths must be an integer, not True"),
    ("linear_scan", (A, BATCH), {"lengths": [3, -1]}, ValueError, "each of lengths must be at least 0, not -1"),
    ("linear_scan", (A, BATCH), {"lengths": [4, 1]}, ValueError, "each of lengths must be at most 3, not 4"),
    ("linear_scan_vjp", ([0.5] * 3, B, B), {}, ValueError, r"a must be broadcastable to the shape \(3, 2\) of h"),
    ("linear_scan_vjp", (A, B, A), {}, ValueError, "g must have 2 axes, not 1"),
    ("linear_scan_vjp", (A, B, B[:2]), {}, ValueError, r"g must have the shape \(3, 2\) of h, not \(2, 2\)"),
    ("linear_scan_vjp", (A, B, B, [1.0]), {}, ValueError, r"h0 must have the shape \(2,\) of h without time"),
    ("linear_scan_vjp", (A, B, B), {"g_final": [1.0]}, ValueError, "g_final must have the shape"),
    ("linear_scan_vjp", (A, B, B), {"reverse": 0}, TypeError, "reverse must be a bool"),
    ("linear_scan_vjp", (A, B, B), {"lengths": [3]}, ValueError, "lengths are for series with a batch axis"),
    ("linear_scan_vjp", (0.5j, np.ones(3), np.ones(3)), {}, TypeError, "a is a complex number where"),
    ("event_scan", ([0.5] * 3, B), {}, ValueError, r"a must be a number or have the shape \(2,\), one a feature"),
    ("event_scan", ([A], B), {}, ValueError, "a must have 0 or 1 axes, not 2"),
    ("event_scan", (0.5j, np.ones(3)), {}, TypeError, "a is a complex number where"),
    ("event_scan", (A, np.ones((3, 2), "float16")), {}, TypeError, "b must be of .*, not float16"),
    ("qrnn", (B, A), {}, ValueError, "f must have 2 axes, not 1"),
    ("qrnn", (B, B[:2]), {}, ValueError, r"f must have the shape \(3, 2\) of z, not \(2, 2\)"),
    ("qrnn", (B, B, A), {}, ValueError, "o must have 2 axes, not 1"),
    ("qrnn", (B, B, B, [1.0]), {}, ValueError, r"c0 must have the shape \(2,\) of z without time"),
    ("qrnn", ([1j], [1.0]), {}, TypeError, "z must be of float32, float64 or integers"),
    ("qrnn", (np.ones(3, "complex64"), np.ones(3)), {}, TypeError, "z must be of .*, not complex64"),
    ("qrnn", (np.ones(3, "float16"), np.ones(3)), {}, TypeError, "z must be of .*, not float16"),
    ("sru", (A, *SRU[1:]), {}, ValueError, "x must have 2 or 3 axes, not 1"),
    ("sru", (B, B, SRU[2]), {}, ValueError, r"w must have the shape \(2, 6\) for the features of x, not \(3, 2\)"),
    ("sru", (*SRU[:2], [0.0, 0.0]), {}, ValueError, "b must have 2 axes, not 1"),
    ("sru", (*SRU[:2], [[0.0, 0.0]]), {}, ValueError, r"b must have the shape \(2, 2\)"),
    ("sru", (*SRU, [[0.0, 0.0]]), {}, ValueError, r"v must have the shape \(2, 2\)"),
    ("sru", (*SRU, None, [0.0]), {}, ValueError, r"c0 must have the shape \(2,\) of x without time"),
    ("sru", (np.ones((3, 2), "complex64"), *SRU[1:]), {}, TypeError, "x must be of .*, not complex64"),
    ("lru", ([0.5] * 3, B), {}, ValueError, "lam must be a number or have the shape"),
    ("lru", (A, B, [1.0]), {}, ValueError, r"h0 must have the shape \(2,\) of u without time"),
    ("lru", (0.5j, np.ones(3)), {}, TypeError, "lam is a complex number where"),
    ("lru", (A, np.ones((3, 2), "float16")), {}, TypeError, "u must be of .*, not float16"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "options", "error", "text"), BAD_CALLS)
def test_bad_input(backend, name, arguments, options, error, text):
    if name not in find(backend, "the test").functions("kernels.recurrence"):
        pytest.skip(f"{backend} has no recurrence.{name}")
    with pytest.raises(error, match=text):
        getattr(recurrence, name)(*arguments, **options, backend=backend)
