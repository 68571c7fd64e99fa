"""The stand-in for CuPy behaves like CuPy where host code could tell."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import emulator
import fake_cupy
import numpy as np
import pytest

REDUCTION = (Path(__file__).parent / "samples" / "reduction.cu").read_text()
needs_compiler = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))


@pytest.fixture
def cp():
    with fake_cupy.installed() as module:
        yield module


def test_is_imported_as_cupy_and_leaves_no_trace(cp):
    import cupy
    from cupy.cuda import runtime

    assert cupy is cp
    assert runtime.getDeviceCount() == 1
    assert importlib.util.find_spec("cupy") is not None
    before = dict(sys.modules)
    with fake_cupy.installed():
        sys.modules["kernels.sample.on_cupy"] = cp
    assert {name: module for name, module in sys.modules.items() if before.get(name) is not module} == {}


def test_arrays_are_of_their_own_class(cp):
    a = cp.arange(3)
    assert type(a).__module__ == "cupy"
    assert isinstance(a, cp.ndarray)
    assert not isinstance(a, np.ndarray)
    for result in (
        a + 1,
        2**a,
        -a,
        a[0],
        a[1:],
        a.sum(),
        cp.sum(a),
        np.sqrt(a),
        a.astype(cp.float64),
        a.T,
        a == a,
        cp.where(a > 1, a, 0),
    ):
        assert isinstance(result, cp.ndarray)
    assert a.sum().shape == ()
    assert (a.dtype, a.shape, a.size, a.nbytes) == (np.int64, (3,), 3, 24)


def test_arithmetic_is_numpys(cp):
    a, b = cp.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3)
    for function in (
        lambda x: x * x + 7 % (x + 1) - (x << 2) // 3,
        lambda x: (x @ x.T).cumsum(axis=0),
        lambda x: np.int64(3) * x[:, ::-1].ravel(),
        lambda x: x[x > 2],
        lambda x: x.view(np.uint64) >> np.uint64(1),
    ):
        np.testing.assert_array_equal(function(a).get(), function(b))
    a[0, 1:] = a[1, :2]
    a += 1
    assert cp.asnumpy(a).tolist() == [[1, 4, 5], [4, 5, 6]]
    assert [x.get().tolist() for x in cp.nonzero(a > 4)] == [[0, 1, 1], [2, 1, 2]]
    assert cp.maximum.accumulate(cp.array([1, 3, 2])).get().tolist() == [1, 3, 3]


@pytest.mark.parametrize(
    "mix",
    [
        lambda cp, a, b: np.asarray(a),
        lambda cp, a, b: a + b,
        lambda cp, a, b: b + a,
        lambda cp, a, b: cp.concatenate([a, b]),
        lambda cp, a, b: np.concatenate([a, b]),
        lambda cp, a, b: cp.sum(b),
        lambda cp, a, b: [1, 2, 3] * a,
        lambda cp, a, b: a.__setitem__(slice(None), b),
    ],
)
def test_host_arrays_do_not_mix(cp, mix):
    with pytest.raises(TypeError, match=r"Unsupported type|Implicit conversion"):
        mix(cp, cp.arange(3), np.arange(3))


def test_reductions_lack_what_cupys_lack(cp):
    for reduction in (cp.arange(3).max, lambda **options: cp.max(cp.arange(3), **options)):
        with pytest.raises(TypeError, match="initial"):
            reduction(initial=0)


def test_decompositions_are_tuples_of_arrays(cp):
    a = cp.eye(3)[:, :2]
    cp.counts.clear()
    for parts in (cp.linalg.qr(a), cp.linalg.svd(a, full_matrices=False), cp.linalg.eigh(a.T @ a)):
        assert type(parts) is tuple
        assert all(isinstance(part, cp.ndarray) for part in parts)
    assert not +cp.counts


def test_fresh_memory_is_no_zeros(cp):
    assert (cp.empty(100, cp.uint64).get() != 0).all()
    assert cp.empty((2, 3)).shape == (2, 3)


def test_contiguous_means_contiguous(cp):
    a = cp.arange(6).reshape(2, 3)
    assert cp.ascontiguousarray(a) is a
    for view in (a.T, a[:, ::2], cp.broadcast_to(a, (2, 2, 3))):
        copy = cp.ascontiguousarray(view)
        assert copy.flags.c_contiguous
        np.testing.assert_array_equal(copy.get(), view.get())


def test_a_gpu_does_not_warn(cp):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [float(x) for x in 1 / cp.zeros(2)] == [np.inf, np.inf]
        assert np.isnan(float((cp.log(cp.zeros(1)) - cp.log(cp.zeros(1)))[0]))


def test_transfers_and_waits_are_counted(cp):
    def counted(action):
        cp.counts.clear()
        action()
        return +cp.counts

    a = cp.asarray(np.arange(4))
    assert counted(lambda: (a * 2).cumsum()[1:].sum()) == {}
    for to_host in (
        a.get,
        a[0].item,
        a.tolist,
        lambda: int(a[1]),
        lambda: bool(a.any()),
        lambda: cp.asnumpy(a),
        lambda: float(a[1]),
    ):
        assert counted(to_host) == {"to_host": 1}
    for to_device in (lambda: cp.asarray(np.arange(3)), lambda: cp.array([1, 2])):
        assert counted(to_device) == {"to_device": 1}
    for waits in (
        lambda: cp.flatnonzero(a),
        lambda: a.nonzero(),
        lambda: a[a > 1],
        cp.cuda.Device().synchronize,
        cp.cuda.get_current_stream().synchronize,
    ):
        assert counted(waits) == {"waits": 1}


@needs_compiler
@pytest.mark.parametrize("seed", range(4))
def test_kernels_run(seed):
    with fake_cupy.installed(seed) as cp:
        numbers, sums = cp.arange(1000, dtype=cp.uint32), cp.empty(4, cp.uint32)
        kernel = cp.RawKernel(REDUCTION, "reduction", options=("-DUNUSED=1", "--use_fast_math"))
        for _ in range(2):
            kernel((4,), (256,), (numbers, sums, np.int32(1000)))
        assert int(sums.sum()) == 499500
        assert cp.counts == {"launches": 2, "to_host": 1}


@needs_compiler
def test_kernels_check_their_arguments(cp):
    numbers, sums = cp.arange(1000, dtype=cp.uint32), cp.empty(4, cp.uint32)
    module = cp.RawModule(code=REDUCTION)
    kernel = module.get_function("reduction")
    for arguments in (
        (numbers, sums, 1000),
        (numbers, sums),
        (numbers.view(cp.int32), sums, np.int32(1000)),
        (numbers.get(), sums, np.int32(1000)),
    ):
        with pytest.raises(TypeError):
            kernel((4,), (256,), arguments)
    with pytest.raises(emulator.EmulationError, match="at byte 16 of array 1, which has 16 bytes"):
        kernel((5,), (256,), (numbers, sums, np.int32(1000)))
    with pytest.raises(cp.cuda.driver.CUDADriverError):
        module.get_function("reductoin")


def test_names_are_cupys():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, so the stand-in's names cannot be compared")
    assert [name for name in fake_cupy.FUNCTIONS + fake_cupy.TYPES if not hasattr(cupy, name)] == []
    assert [name for name in fake_cupy.LINALG if not hasattr(cupy.linalg, name)] == []
    members = set(vars(fake_cupy.ndarray)) - {"_host", "__dict__", "__weakref__"}
    assert [name for name in members if not hasattr(cupy.ndarray, name)] == []
