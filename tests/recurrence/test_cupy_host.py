"""What the conformance suite leaves out on CuPy: waits and copies, tiles and strips, look-backs, both seeds."""

from __future__ import annotations

import importlib

import pytest

np = pytest.importorskip("numpy")
import emulator  # noqa: E402
import fake_cupy  # noqa: E402

import kernels.recurrence  # noqa: E402
from recurrence import scan_formulas  # noqa: E402

pytestmark = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))

DTYPES = ["float32", "float64", "complex64", "complex128"]
SHAPES = [(1,), (9000,), (3, 1100, 1), (2, 700, 3), (300, 33), (40, 7, 2), (3, 70, 31), (2, 5, 300), (1, 1100, 32)]
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
rng = np.random.default_rng(20261122)
START = rng.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_numbers_in_whatever_order_tests_run():
    rng.bit_generator.state = START


@pytest.fixture(params=[0, 1])
def on_cupy(request):
    with fake_cupy.installed(seed=request.param):
        yield importlib.import_module("kernels.recurrence.on_cupy")


def normal(*shape, dtype="float64"):
    values = rng.normal(size=shape) + (1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else 0)
    return np.asarray(values, dtype)


def decays(*shape, dtype="float64"):
    """Factors of modulus below 1, most of them near to it, so that what is far away counts."""
    values = 1 - 0.02 * rng.random(shape)
    return np.asarray(values * (np.exp(1j * values) if np.dtype(dtype).kind == "c" else 1), dtype)


def state_shape(shape):
    return shape[:-2] + shape[-1:] if len(shape) > 1 else ()


def on_device(array):
    """In the same layout, as if computed there; what is no array remains what it is."""
    return fake_cupy._on_device(array) if isinstance(array, np.ndarray) else array


def near(found, expected, dtype):
    value = np.asarray(expected.value)
    assert (found.shape, found.dtype) == (value.shape, dtype)
    found = found.get()
    with np.errstate(all="ignore"):
        tolerance = expected.tolerance(dtype)
        same = (found == value.astype(dtype)) | (np.isnan(found) & np.isnan(value))
        assert (same | (np.abs(found - value) <= tolerance)).all()


def check(on_cupy, a, b, h0=None, reverse=False, lengths=None):
    expected = scan_formulas.linear_scan(a, b, h0, reverse, lengths)
    found = on_cupy.linear_scan(*map(on_device, (a, b, h0)), reverse, lengths, True, None)
    for part, wanted in zip(found, expected, strict=True):
        near(part, wanted, b.dtype)
    return [part.get() for part in found]


def check_vjp(on_cupy, a, h, g, h0=None, g_final=None, reverse=False, lengths=None):
    expected = scan_formulas.linear_scan_vjp(a, h, g, h0, g_final=g_final, reverse=reverse, lengths=lengths)
    found = on_cupy.linear_scan_vjp(*map(on_device, (a, h, g, h0, g_final)), reverse, lengths)
    for part, wanted in zip(found, expected, strict=True):
        near(part, wanted, h.dtype)


def waited():
    return +fake_cupy.counts - fake_cupy.Counter(launches=fake_cupy.counts["launches"])


# Tiles and strips


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(on_cupy, dtype, shape):
    for reverse in (False, True):
        a, b, h0 = decays(*shape, dtype=dtype), normal(*shape, dtype=dtype), normal(*state_shape(shape), dtype=dtype)
        check(on_cupy, a, b, h0, reverse)


@both_ways
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("shape", [(4000,), (2, 300, 3), (3, 70, 31)], ids=str)
def test_gradients(on_cupy, dtype, shape, reverse):
    """The last tile of the scan against time may have no step but the one for the state."""
    for steps in (0, *range(-1, 2)):
        shape = tuple(length + steps * (axis == max(0, len(shape) - 2)) for axis, length in enumerate(shape))
        a, h, g = decays(*shape, dtype=dtype), normal(*shape, dtype=dtype), normal(*shape, dtype=dtype)
        h0, g_final = (normal(*state_shape(shape), dtype=dtype) for _ in range(2))
        check_vjp(on_cupy, a, h, g, h0, g_final, reverse)
    check_vjp(on_cupy, a, h, g, reverse=reverse)


@pytest.mark.parametrize("steps", [63, 64, 65, 127, 128, 129])
def test_gradients_at_the_border_of_a_tile(on_cupy, steps):
    a, h, g = (decays(steps, 32), normal(steps, 32), normal(steps, 32))
    check_vjp(on_cupy, a, h, g, normal(32), normal(32))
    lengths = (steps, steps - 1, 0, 1, 64 if steps > 63 else 63)
    a, h, g = decays(5, steps, 7), normal(5, steps, 7), normal(5, steps, 7)
    check_vjp(on_cupy, a, h, g, normal(5, 7), normal(5, 7), lengths=lengths, reverse=True)


@both_ways
def test_lengths_beyond_and_within_tiles(on_cupy, reverse):
    for shape in [(6, 300, 2), (6, 200, 7), (6, 2100, 1)]:
        lengths = (0, 1, shape[1], shape[1] // 2, 128, 129)
        b = normal(*shape)
        for step, length in zip(b, lengths, strict=True):
            step[length:] = np.nan
        h0 = normal(*state_shape(shape))
        h, final = check(on_cupy, decays(*shape), b, h0, reverse, lengths)
        for sequence, state, length, before in zip(h, final, lengths, h0, strict=True):
            last = 0 if reverse else length - 1
            assert (state == (sequence[last] if length else before)).all()


@pytest.mark.parametrize("features", [1, 3, 32])
def test_many_tiles(on_cupy, features):
    """More than a warp looks back at once."""
    dtype = "complex128"
    steps = 1100 if features == 32 else 35_000 // features
    tiling = on_cupy._tiling(steps, features, features, 16)
    assert tiling.staged == (features == 1)
    assert tiling.tiles > on_cupy.WARP
    check(on_cupy, decays(features, dtype=dtype), normal(steps, features, dtype=dtype))


def test_tilings(on_cupy):
    """Every column and step is of one block, and few features leave few threads idle."""
    for itemsize in (4, 8, 16):
        for steps in (0, 1, 15, 16, 17, 100, 5000, 10**6):
            for features in (1, 3, 7, 31, 33, 1000):
                for batch in (1, 8, 1000):
                    columns = batch * features
                    tiling = on_cupy._tiling(steps, features, columns, itemsize)
                    run = on_cupy.RUN // itemsize
                    assert tiling.width * tiling.groups <= on_cupy.THREADS
                    assert 0 <= tiling.strips * tiling.width - columns < tiling.width
                    assert tiling.tiles * tiling.groups * run >= steps
                    assert (tiling.tiles - 1) * tiling.groups * run < max(steps, 1)
                    if steps > 4096 and columns > 8:
                        assert tiling.width * tiling.groups > 0.8 * on_cupy.THREADS
                    if tiling.staged:
                        assert tiling.width == features


# Factors


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_factors_are_read_where_they_are(on_cupy, dtype):
    b = normal(3, 150, 4, dtype=dtype)
    whole = decays(3, 150, 4, dtype=dtype)
    for a in (
        whole,
        np.asfortranarray(whole),
        whole[::-1, ::-1, ::-1],
        decays(150, 4, dtype=dtype),
        decays(4, dtype=dtype),
        decays(1, dtype=dtype),
        decays(dtype=dtype),
        decays(150, 1, dtype=dtype),
        decays(3, 1, 1, dtype=dtype),
        decays(3, 1, 4, dtype=dtype),
        decays(1, 150, 1, dtype=dtype),
        np.broadcast_to(decays(150, 1, dtype=dtype), b.shape),
        0.75,
        -1,
    ):
        check(on_cupy, a, b)
        check_vjp(on_cupy, a, b, normal(3, 150, 4, dtype=dtype))


def test_factors_of_a_single_series(on_cupy):
    for shape in [(), (1,), (600,)]:
        check(on_cupy, decays(*shape), normal(600))
        check_vjp(on_cupy, decays(*shape), normal(600), normal(600))


# What is not finite


@pytest.mark.parametrize("features", [1, 3, 33])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_special_inputs_stay_in_their_column(on_cupy, features, special):
    a, b = decays(3000 // features, features), normal(3000 // features, features)
    b[len(b) // 3, 0] = special
    h, _ = check(on_cupy, a, b)
    assert np.isfinite(h[:, 1:]).all()
    assert np.isfinite(h[: len(b) // 3]).all()


@pytest.mark.parametrize("features", [1, 33])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_products_that_overflow_where_states_do_not(on_cupy, features, dtype):
    """Of single threads, of tiles, and of several tiles."""
    steps = 9000 // features
    large = np.finfo(dtype).max ** 0.75
    b = np.zeros((steps, features), dtype)
    b[-1] = 1
    for a in (np.full(steps, 2.0), np.full(steps, large), np.where(np.arange(steps) % 7, large, 0.0)):
        h, _ = check(on_cupy, np.asarray(a, dtype)[:, np.newaxis], b)
        assert np.isfinite(h).all()


@pytest.mark.parametrize("features", [1, 33])
def test_states_that_overflow(on_cupy, features):
    """An infinite state remains one where products of its factors vanish, and where other inputs are infinite, too."""
    steps = 9000 // features
    b = np.full((steps, features), -1.0)
    b[0] = 1e3
    check(on_cupy, 2.0, b)
    b[3] = np.inf
    h, _ = check(on_cupy, 0.5, b)
    assert (h[3:] == np.inf).all()
    check(on_cupy, 0.5, -np.ones((steps, features)), np.full(features, np.inf))


# The host


def test_nothing_is_waited_for_or_copied(on_cupy):
    a, b, z = decays(2, 40, 3), normal(2, 40, 3), rng.random((2, 40, 3))
    h0, w, gates = normal(2, 3), normal(3, 9), normal(2, 3)
    a, b, z, h0, w, gates = map(on_device, (a, b, z, h0, w, gates))
    fake_cupy.counts.clear()
    for factor in (a, a[0, 0], 0.5, fake_cupy.broadcast_to(a[:, :1], (2, 40, 3))):
        for reverse in (False, True):
            for out in (None, fake_cupy.empty((2, 40, 3)), b.copy()):
                on_cupy.linear_scan(factor, b, h0, reverse, None, True, out)
            on_cupy.linear_scan_vjp(factor, b, z, h0, None, reverse, None)
    on_cupy.event_scan(0.5, b)
    on_cupy.qrnn(z, z, z, h0)
    for peepholes in (None, gates):
        on_cupy.sru(b, w, gates, peepholes, h0)
    on_cupy.lru(a[0, 0], b, None)
    assert not waited()


def test_lengths_are_copied_once(on_cupy):
    a, b = on_device(decays(3)), on_device(normal(2, 40, 3))
    fake_cupy.counts.clear()
    on_cupy.linear_scan(a, b, None, False, (3, 40), True, None)
    assert waited() == {"to_device": 1}
    on_cupy.linear_scan_vjp(a, b, b, None, None, False, (3, 40))
    assert waited() == {"to_device": 2}


def test_one_launch_a_scan(on_cupy):
    a, b = on_device(decays(5000, 3)), on_device(normal(5000, 3))
    for call in (
        lambda: on_cupy.linear_scan(a, b, None, False, None, True, None),
        lambda: on_cupy.linear_scan_vjp(a, b, b, None, None, False, None),
        lambda: on_cupy.qrnn(a, b, a, None),
    ):
        fake_cupy.counts.clear()
        call()
        assert fake_cupy.counts["launches"] == 1


def test_writes_to_what_shares_memory_with_others(on_cupy):
    """The state before the first step may lie where the last will, and inputs elsewhere in the same memory."""
    a, b = decays(300, 3), normal(301, 3)
    expected, _ = scan_formulas.linear_scan(a, b[:-1], b[-1])
    memory = on_device(b.copy())
    found = on_cupy.linear_scan(on_device(a), memory[:-1], memory[-1], False, None, False, memory[1:])
    near(found, expected, found.dtype)
    near(memory[1:], expected, found.dtype)


def test_half_precision_is_carried_in_single(on_cupy):
    ones = on_device(np.ones(5000, np.float16))
    h, final = on_cupy.linear_scan(1.0, ones, None, False, None, True, None)
    assert h.dtype == final.dtype == np.float16
    assert final.get() == 5000


# Layers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3000,), (2, 300, 3), (70, 65)], ids=str)
def test_gated_series_over_tiles(on_cupy, dtype, shape):
    z, o, f = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype), rng.random(shape).astype(dtype) / 50
    for arrays in ((z, f, o, normal(*state_shape(shape), dtype=dtype)), (z, f, None, None)):
        found = on_cupy.qrnn(*map(on_device, arrays))
        for part, wanted in zip(found, scan_formulas.qrnn(*arrays), strict=True):
            near(part, wanted, np.dtype(dtype))


def test_grids_are_within_what_cuda_takes(on_cupy, monkeypatch):
    """Whatever grows with the arrays is the first size of a grid."""
    grids = []
    monkeypatch.setattr(on_cupy, "_kernel", lambda *_: lambda grid, block, arguments: grids.append(grid))
    for shape in ((1 << 22,), (1 << 21, 1, 1), (1, 1 << 21)):
        on_cupy.linear_scan(0.5, fake_cupy.empty(shape, np.float32), None, False, None, False, None)
    assert {len(grid) for grid in grids} == {1}


def test_all_functions_are_called():
    assert {*kernels.recurrence.__all__} - {"GatedSeries", "ScanGradients"} == {
        "event_scan",
        "linear_scan",
        "linear_scan_vjp",
        "lru",
        "qrnn",
        "sru",
    }
