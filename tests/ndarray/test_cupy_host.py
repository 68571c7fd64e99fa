"""What the conformance suite leaves out on CuPy: borders of tiles and slices, memory in pieces, waits, both seeds."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
import emulator  # noqa: E402
import fake_cupy  # noqa: E402
import oracle  # noqa: E402

import kernels.ndarray  # noqa: E402
from kernels.philox import philox4x32, uniforms  # noqa: E402

pytestmark = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))

FOLDER = Path(kernels.ndarray.__file__).parent

rng = np.random.default_rng(20261120)


@pytest.fixture(params=[0, 1])
def on_cupy(request):
    with fake_cupy.installed(seed=request.param):
        yield importlib.import_module("kernels.ndarray.on_cupy")


def normal(*shape):
    return rng.normal(size=shape)


def on_device(*arrays):
    return [fake_cupy.asarray(array) for array in arrays]


def agree(found, expected, scale):
    """As in the conformance suite: a result is off by the rounding errors that its formula may have, at the most."""
    found = found.get()
    assert found.shape == expected.shape
    exact = (found == expected) | np.isnan(found) & np.isnan(expected)
    with np.errstate(invalid="ignore"):
        assert (exact | (np.abs(found - expected) <= 8 * np.finfo(found.dtype).eps * scale)).all()


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 1025), 1), ((9, 32), 1), ((257, 31), 0), ((2, 9, 33), 1), ((1500, 2), 0)]
)
@pytest.mark.parametrize("sliced", [False, True])
def test_slices_of_rows(on_cupy, monkeypatch, shape, axis, sliced):
    if sliced:
        monkeypatch.setattr(on_cupy, "WORTH_A_SLICE", 1)
        monkeypatch.setattr(on_cupy, "LONG", 8)
    x = 3 * normal(*shape)
    (on,) = on_device(x)
    agree(on_cupy.softmax(on, axis), *oracle.softmax(x, axis))
    agree(on_cupy.logsumexp(on, axis), *oracle.logsumexp(x, axis))
    gamma, beta = normal(2, x.size // shape[axis]).reshape(2, *np.delete(shape, axis))
    expected, scales = oracle.batch_norm(x, gamma, beta, axis=axis)
    for triple in zip(on_cupy.batch_norm(on, *on_device(gamma, beta), (axis,), 1e-5), expected, scales, strict=True):
        agree(*triple)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_slices_that_are_not_finite(on_cupy, monkeypatch, value):
    monkeypatch.setattr(on_cupy, "WORTH_A_SLICE", 1)
    monkeypatch.setattr(on_cupy, "LONG", 8)
    x = normal(2, 800)
    x[0] = value
    x[1, 700] = value
    with np.errstate(all="ignore"):
        expected = [getattr(oracle, name)(x, 1) for name in ("softmax", "logsumexp")]
    for name, each in zip(("softmax", "logsumexp"), expected, strict=True):
        agree(getattr(on_cupy, name)(*on_device(x), 1), *each)
    _, mean, _ = on_cupy.batch_norm(*on_device(x, np.ones(2), np.ones(2)), (1,), 1e-5)
    np.testing.assert_array_equal(mean.get(), [value, value])


def test_more_blocks_than_a_grid_has_in_y(on_cupy, monkeypatch):
    """Whatever grows with the arrays is the first size of a grid."""
    grids = []
    monkeypatch.setattr(on_cupy._SOURCES, "kernel", lambda *_: lambda grid, block, arguments: grids.append(grid))
    size = 1 << 18
    for shape in ((size, 1), (1, size)):
        many = fake_cupy.empty(shape, np.float32)
        on_cupy.softmax(many, 0)
        on_cupy.softmax(many, 1)
        on_cupy.attention(many[:, None], many[:, None], many[:, None], None, 1.0)
        on_cupy.capsule_routing(many[..., None, None], 1)
        on_cupy.causal_conv1d(many, fake_cupy.empty((1, shape[1], 1), np.float32), None, 1, None)
    assert max(grid[0] for grid in grids) >= size
    assert max(max(grid[1:], default=1) for grid in grids) < 1 << 16


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 2, 3), (0, 3), (1, 4), (0, 2, 4), (3, 4)])
def test_batch_norm_over_any_axes(on_cupy, axes):
    x = normal(7, 4, 1, 5, 9)
    gamma, beta = (normal(*(length for axis, length in enumerate(x.shape) if axis not in axes)) for _ in range(2))
    expected, scales = oracle.batch_norm(x, gamma, beta, axis=axes)
    for triple in zip(on_cupy.batch_norm(*on_device(x, gamma, beta), axes, 1e-5), expected, scales, strict=True):
        agree(*triple)


@pytest.mark.parametrize("d", [1, 3, 16, 17])
def test_blocks_of_log_gram(on_cupy, monkeypatch, d):
    monkeypatch.setattr(on_cupy, "SCRATCH", 1000)
    tile = on_cupy.GRAM_TILE // (d + d % 2)
    for n in (1, tile - 1, tile, tile + 1):
        x = np.abs(normal(n, d))
        x[0, 0] = 0
        agree(on_cupy.log_gram(*on_device(x)), *oracle.log_gram(x))


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("products", [False, True])
def test_causal_conv1d(on_cupy, monkeypatch, dilation, products, dtype):
    monkeypatch.setattr(on_cupy, "SCRATCH", 2000)
    monkeypatch.setattr(on_cupy, "FEW_FEATURES", 0 if products else 10)
    x, w, bias, state = (normal(*shape).astype(dtype) for shape in ((3, 70, 2), (3, 2, 5), (5,), (3, 2 * dilation, 2)))
    if np.dtype(dtype).kind == "c":
        x, w = x * (1 + 2j), w * (2 - 1j)
    for past in (None, state):
        moved = None if past is None else on_device(past)[0]
        found = on_cupy.causal_conv1d(*on_device(x, w, bias), dilation, moved)
        agree(found, *oracle.causal_conv1d(x, w, bias, dilation=dilation, state=past))
    far = on_cupy.causal_conv1d(*on_device(x, w), None, 10**30, None)
    agree(far, *oracle.causal_conv1d(x, w, dilation=70))


MASKS = {
    "none": lambda n, m: None,
    "causal": lambda n, m: np.tri(n, m, dtype=bool),
    "keys": lambda n, m: rng.random(m) < 0.5,
    "queries": lambda n, m: rng.random((n, 1)) < 0.5,
    "batch": lambda n, m: rng.random((2, 1, n, m)) < 0.3,
    "heads": lambda n, m: rng.random((2, 1, m)) < 0.3,
    "nothing": lambda n, m: np.zeros((n, m), bool),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("products", [False, True], ids=["flash", "products"])
def test_masks_of_attention(on_cupy, monkeypatch, mask, products):
    n, m = 65 if mask == "causal" else 5, 66
    if products:
        n = 5
        monkeypatch.setattr(on_cupy, "FLASH_VALUES", 0)
        monkeypatch.setattr(on_cupy, "SCRATCH", 5000)
    mask = MASKS[mask](n, m)
    arrays = [normal(2, 2, length, width) for length, width in ((n, 3), (m, 3), (m, 5))]
    expected = oracle.attention(*arrays, mask, scale=0.7)
    moved = None if mask is None else fake_cupy.asarray(mask)
    agree(on_cupy.attention(*on_device(*arrays), moved, 0.7), *expected)
    if mask is not None and mask.ndim > 2:
        moved = fake_cupy.broadcast_to(moved, (2, 2, n, m))
        agree(on_cupy.attention(*on_device(*arrays), moved, 0.7), *expected)
        assert on_cupy._mask_layout(moved, (2, 2))[1].size == mask.size


@pytest.mark.parametrize(
    ("n", "m", "d", "e"),
    [(1, 64, 8, 64), (64, 1, 9, 65), (63, 65, 16, 128), (3, 300, 2, 1), (5, 7, 1, 129), (2, 0, 3, 130), (2, 200, 0, 4)],
)
def test_edges_of_attention(on_cupy, monkeypatch, n, m, d, e):
    monkeypatch.setattr(on_cupy, "FEW_QUERIES", 300)
    arrays = [normal(2, length, width) for length, width in ((n, d), (m, d), (m, e))]
    agree(on_cupy.attention(*on_device(*arrays), None, 0.5), *oracle.attention(*arrays, scale=0.5))


@pytest.mark.parametrize("n", [2, 64, 130])
def test_median_of_distances(on_cupy, n):
    for x in (1e-3 * normal(n, 9), rng.integers(0, 3, (n, 2)).astype(float)):
        distances = np.sqrt(((x[:, None] - x) ** 2).sum(axis=-1))[np.triu_indices(n, 1)]
        assert float(on_cupy._median_distance(*on_device(x))) == pytest.approx(np.median(distances), rel=1e-14)


@pytest.mark.parametrize("shape", [(1, 130, 2, 3), (2, 7, 40, 9), (3, 5, 1, 300)])
def test_tiles_of_capsule_routing(on_cupy, monkeypatch, shape):
    monkeypatch.setattr(on_cupy, "VOTES", 50)
    votes = normal(*shape) / 8
    agree(on_cupy.capsule_routing(*on_device(votes), 3), *oracle.capsule_routing(votes, 3))


def test_long_capsules_do_not_overflow(on_cupy):
    votes = np.full((1, 1, 2), 2e19, np.float32)
    np.testing.assert_allclose(on_cupy.capsule_routing(*on_device(votes), 1).get(), 0.5**0.5, rtol=1e-6)


@pytest.mark.parametrize("key", [12345, 2**63 + 987654321, 2**64 - 1])
def test_random_angles_are_of_philox(on_cupy, key):
    found = on_cupy.random_angles(7, 2500, key).get()
    words = philox4x32(np.arange(2500), 0, 0, 0, key & 0xFFFFFFFF, key >> 32)
    u, turn = uniforms(*words)
    cotangent = np.sqrt(np.expm1(-2 / 6 * np.log(u))) * np.cos(2 * np.pi * turn)
    np.testing.assert_allclose(found, np.arctan2(1, cotangent), rtol=1e-14)


CALLS = {
    "log_gram": lambda x, y, mask: (x,),
    "softmax": lambda x, y, mask: (x, 0),
    "logsumexp": lambda x, y, mask: (x, 1),
    "batch_norm": lambda x, y, mask: (x, y[0], y[0], (0,), 1e-5),
    "causal_conv1d": lambda x, y, mask: (x, y[None], y[0], 1, None),
    "attention": lambda x, y, mask: (x, y, y, mask, 1.0),
    "seq2seq_mask": lambda x, y, mask: (3, 4),
    "hsic": lambda x, y, mask: (x, y, None, 2.0),
    "capsule_routing": lambda x, y, mask: (x[None], 2),
    "random_angles": lambda x, y, mask: (3, 5, 0),
    "angle_pdf": lambda x, y, mask: (x, 3),
}


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize("width", [4, 20])
def test_does_not_wait(on_cupy, monkeypatch, name, width):
    """But for the one number that HSIC is; the arrays are views, which no kernel may take for contiguous."""
    monkeypatch.setattr(on_cupy, "FEW_QUERIES", width)
    shape = width, width
    x, y, mask = on_device(normal(*shape), normal(*shape), rng.random(shape) < 0.5)
    arguments = CALLS[name](x.T, y[::-1], mask[:, ::-1])
    fake_cupy.counts.clear()
    result = getattr(on_cupy, name)(*arguments)
    copies = fake_cupy.counts["to_host"]
    assert (copies, fake_cupy.counts["to_device"], fake_cupy.counts["waits"]) == (int(name == "hsic"), 0, 0)
    assert isinstance(result, float) == (name == "hsic")


def test_all_functions_are_called():
    assert {*CALLS} == {*kernels.ndarray.__all__} - {"BatchNorm"}


@pytest.mark.parametrize("file", ["flash.cu", "gram.cu"])
def test_shared_memory_holds_double_precision(file):
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed", exc_type=ImportError)
    from test_nvrtc import compile

    compiled, log = compile("#define REAL double\n" + (FOLDER / file).read_text(), "sm_80")
    assert compiled, log
