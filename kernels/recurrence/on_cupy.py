"""Recurrences on a GPU: one pass over memory, whatever the shape, by a kernel with a decoupled look-back.

Blocks take tiles of steps and strips of columns, a column being a feature of a sequence, so that a single long series
fills the GPU, too (``scan.cu``). Factors are read by strides, 0 where they are broadcast. The gradient is one scan that
also makes what `da` is summed from, and a quasi-recurrent layer one scan that also makes its outputs; a simple
recurrent unit is such a layer, unless it has peepholes: then it goes step by step (``gates.cu``). float16 is converted
before and after. Nothing waits for the device; `lengths` are the one thing that is copied there.
"""

from __future__ import annotations

import functools
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import cupy
import numpy as np

from kernels.recurrence import GatedSeries, ScanGradients

__all__ = ["event_scan", "linear_scan", "linear_scan_vjp", "lru", "qrnn", "sru"]

THREADS = 256  # in a block of scan.cu
STEPPING = 64  # threads in a block of gates.cu: few, since there are not many
WARP = 32
RUN = 64  # bytes of the steps that a thread of scan.cu keeps
SECTOR = 32  # bytes that memory is read by

PLAIN, CONVEX, ADJOINT = map(np.uint32, range(3))  # kinds of recurrence, as in scan.cu

_u32 = np.uint32


class _Scanned(NamedTuple):
    series: cupy.ndarray
    second: cupy.ndarray | None  # what the kind of recurrence makes beside it
    final: cupy.ndarray


class _Tiling(NamedTuple):
    """Of a block the columns and the groups of threads, how many tiles of steps and strips of columns there are.

    `staged` says that a column's neighbours do not fill a sector, so that steps are brought there by shared memory.
    """

    width: int
    groups: int
    tiles: int
    strips: int
    staged: bool


def linear_scan(
    a: Any, b: cupy.ndarray, h0: cupy.ndarray | None, reverse: bool, lengths: tuple[int, ...] | None,
    return_final: bool, out: cupy.ndarray | None,
) -> Any:  # fmt: skip
    if out is not None and out.dtype != b.dtype:
        raise TypeError(f"out must be of {b.dtype}, the dtype of the result, not of {out.dtype}")
    place = out if out is not None and _may_be_written(out, a, b, h0) else None
    scanned = _scan(*_widened(a, b, h0), reverse=reverse, lengths=lengths, out=place)
    h, final = _as_dtype(b.dtype, scanned.series, scanned.final)
    if out is not None and place is None:
        out[...] = h
    h = h if out is None else out
    return (h, final) if return_final else h


def _may_be_written(out: cupy.ndarray, *read: Any) -> bool:
    """Whether the kernel may write to it: in its order and dtype, and no item over one that another block reads."""
    others = (array for array in read if hasattr(array, "dtype") and array is not out)
    return (
        out.flags.c_contiguous
        and out.dtype != np.float16
        and not any(cupy.may_share_memory(out, other) for other in others)
    )


def linear_scan_vjp(
    a: Any, h: cupy.ndarray, g: cupy.ndarray, h0: cupy.ndarray | None, g_final: cupy.ndarray | None, reverse: bool,
    lengths: tuple[int, ...] | None,
) -> ScanGradients:  # fmt: skip
    factor, series, inputs, before, initial = _widened(a, h, g, h0, g_final)
    scanned = _scan(
        factor, inputs, initial, reverse=not reverse, lengths=lengths, kind=ADJOINT, other=series, after=before
    )
    da = _summed_to(scanned.second, getattr(a, "shape", ()))
    return ScanGradients(*_as_dtype(h.dtype, da, scanned.series, scanned.final))


def event_scan(a: Any, b: cupy.ndarray) -> cupy.ndarray:
    return cupy.where(b != 0, _scan(a, b).series, b.dtype.type(0))


def qrnn(z: cupy.ndarray, f: cupy.ndarray, o: cupy.ndarray | None, c0: cupy.ndarray | None) -> GatedSeries:
    c, h, final = _scan(f, z, c0, kind=CONVEX, other=o)
    return GatedSeries(c, c if h is None else h, final)


def sru(
    x: cupy.ndarray, w: cupy.ndarray, b: cupy.ndarray, v: cupy.ndarray | None, c0: cupy.ndarray | None
) -> GatedSeries:
    products = cupy.matmul(x, w)
    if v is not None:
        return _with_peepholes(x, products, b, v, c0)
    candidates, forget, reset = (products[..., i * x.shape[-1] : (i + 1) * x.shape[-1]] for i in range(3))
    c, _, final = _scan(_share_of_the_new(forget, b[0]), candidates, c0, kind=CONVEX)
    return GatedSeries(c, _highway(reset, b[1], c, x), final)


def lru(lam: Any, u: cupy.ndarray, h0: cupy.ndarray | None) -> cupy.ndarray:
    return _scan(lam, u, h0).series


@cupy.fuse()
def _share_of_the_new(forget: Any, bias: Any) -> Any:
    return 1 / (1 + cupy.exp(forget + bias))


@cupy.fuse()
def _highway(reset: Any, bias: Any, c: Any, x: Any) -> Any:
    r = 1 / (1 + cupy.exp(-(reset + bias)))
    return r * c + (1 - r) * x


def _with_peepholes(
    x: cupy.ndarray, products: cupy.ndarray, b: cupy.ndarray, v: cupy.ndarray, c0: cupy.ndarray | None
) -> GatedSeries:
    time, features = x.shape[-2:]
    c, h, final = cupy.empty(x.shape, x.dtype), cupy.empty(x.shape, x.dtype), cupy.empty(_state_shape(x), x.dtype)
    arrays = *map(cupy.ascontiguousarray, (x, products, b, v)), _contiguous(c0), c, h, final
    if final.size:
        grid = (-(-final.size // STEPPING),)
        _kernel("gates.cu", "with_peepholes", x)(grid, (STEPPING,), (*arrays, time, features, final.size))
    return GatedSeries(c, h, final)


def _scan(
    a: Any, b: cupy.ndarray, initial: cupy.ndarray | None = None, *, reverse: bool = False,
    lengths: tuple[int, ...] | None = None, kind: np.uint32 = PLAIN, other: cupy.ndarray | None = None,
    after: cupy.ndarray | None = None, out: cupy.ndarray | None = None,
) -> _Scanned:  # fmt: skip
    """Run ``scan.cu``, in which the parameters are described; `out`, where the series goes, is contiguous."""
    series = cupy.empty(b.shape, b.dtype) if out is None else out
    second = None if other is None else cupy.empty(b.shape, b.dtype)
    final = cupy.empty(_state_shape(b), b.dtype)
    if not final.size:
        return _Scanned(series, second, final)
    time, features = _batched(b.shape)[1:]
    tiling = _tiling(time + (kind == ADJOINT), features, final.size, b.itemsize)
    slots = tiling.tiles * tiling.strips
    board = (
        cupy.zeros(1 + slots, np.uint32),
        *(cupy.empty(slots * tiling.width * parts, b.dtype) for parts in (2, 1)),
    )
    arguments = (
        *_strided(a, b), cupy.ascontiguousarray(b), _contiguous(initial),
        None if lengths is None else cupy.asarray(lengths, np.int64), _contiguous(other), _contiguous(after),
        series, second, final, *board, time, features, final.size, *map(_u32, tiling[:-1]), kind, reverse,
        tiling.staged,
    )  # fmt: skip
    _kernel("scan.cu", "scan_complex" if b.dtype.kind == "c" else "scan_real", b)((slots,), (THREADS,), arguments)
    return _Scanned(series, second, final)


def _tiling(steps: int, features: int, columns: int, itemsize: int) -> _Tiling:
    run = RUN // itemsize
    runs = max(1, -(-steps // run))
    staged = features * itemsize < SECTOR and runs * features >= THREADS
    width = features if staged else min(columns, max(WARP, THREADS // runs))
    groups = min(THREADS // width, runs)
    return _Tiling(width, groups, -(-runs // groups), -(-columns // width), staged)


def _strided(a: Any, b: cupy.ndarray) -> tuple[Any, ...]:
    """The factors, each stored once, and by how many items batch, time and feature go on, 0 where they share one."""
    if not hasattr(a, "dtype"):
        a = cupy.full((), a, b.dtype)
    a = a.reshape(_batched((1,) * (b.ndim - a.ndim) + a.shape))
    a = cupy.ascontiguousarray(a[tuple(slice(None) if stride else slice(1) for stride in a.strides)])
    return a, *(prod(a.shape[axis + 1 :]) if length > 1 else 0 for axis, length in enumerate(a.shape))


def _batched(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a series as (batch, time, features)."""
    return (1, *shape, 1) if len(shape) == 1 else (1,) * (3 - len(shape)) + shape


def _state_shape(series: cupy.ndarray) -> tuple[int, ...]:
    return series.shape[:-2] + series.shape[-1:] if series.ndim > 1 else ()


def _summed_to(array: cupy.ndarray, shape: tuple[int, ...]) -> cupy.ndarray:
    """What became of an array of that shape by a broadcast, summed to it again."""
    aligned = (1,) * (array.ndim - len(shape)) + shape
    axes = tuple(axis for axis, (own, whole) in enumerate(zip(aligned, array.shape, strict=True)) if own != whole)
    return array.sum(axis=axes).reshape(shape) if axes else array.reshape(shape)


def _widened(*arrays: Any) -> tuple[Any, ...]:
    """float16 in the dtype that it is carried in; all else as it is."""
    return tuple(array.astype(np.float32) if getattr(array, "dtype", None) == np.float16 else array for array in arrays)


def _as_dtype(dtype: Any, *arrays: cupy.ndarray) -> tuple[cupy.ndarray, ...]:
    return tuple(array.astype(dtype, copy=False) for array in arrays)


def _contiguous(array: cupy.ndarray | None) -> cupy.ndarray | None:
    return None if array is None else cupy.ascontiguousarray(array)


def _kernel(file: str, name: str, array: cupy.ndarray) -> Any:
    """A kernel for the numbers of an array."""
    return _kernel_of(file, name, array.dtype.char)


@functools.cache
def _kernel_of(file: str, name: str, dtype: str) -> Any:
    """A kernel, which CuPy compiles for each device where it is launched."""
    code = Path(__file__).with_name(file).read_text()
    module = cupy.RawModule(code=code, options=("-std=c++17", f"-DREAL={'float' if dtype in 'fF' else 'double'}"))
    return module.get_function(name)
