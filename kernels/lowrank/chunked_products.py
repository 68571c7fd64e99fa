"""Products of matrices in chunks along both axes, and what they are tried with: normal vectors, and Frobenius norms.

A task multiplies two blocks on one thread; what the blocks along the contracted axis give is summed in a tree.
"""

from __future__ import annotations

from functools import reduce
from itertools import accumulate

import dask.array as da
import numpy as np
from dask.base import tokenize

from kernels.chunk_tasks import blas_on_one_thread
from kernels.dask_arrays import blocks, tree
from kernels.lowrank.normals import normal_matrix
from kernels.lowrank.numpy_terms import row_norms

__all__ = ["adjoint_times", "frobenius_norm", "merged_norms", "normals", "times"]


def times(a: da.Array, b: da.Array, backend: str) -> da.Array:
    """``a @ b``; b, which should be the smaller one, is cut as a is along the contracted axis."""
    b = b.rechunk({0: a.chunks[1]})
    return _summed(blocks(_product, "jik", a, "ij", b, "jk", backend=backend, adjust_chunks={"j": _to_one}))


def adjoint_times(a: da.Array, b: da.Array, backend: str) -> da.Array:
    """``a.conj().T @ b``, likewise."""
    b = b.rechunk({0: a.chunks[0]})
    return _summed(blocks(_adjoint_product, "ijk", a, "ij", b, "ik", backend=backend, adjust_chunks={"i": _to_one}))


def _summed(parts: da.Array) -> da.Array:
    return tree(parts, _sum, 0, keepdims=False, concatenate=False)


def _to_one(size: int) -> int:
    return 1


@np.errstate(all="ignore")
def _product(a: np.ndarray, b: np.ndarray, backend: str) -> np.ndarray:
    with blas_on_one_thread(backend):
        return (a @ b)[None]


def _adjoint_product(a: np.ndarray, b: np.ndarray, backend: str) -> np.ndarray:
    return _product(a.conj().T, b, backend)


@np.errstate(all="ignore")
def _sum(parts: list[np.ndarray], axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    total = reduce(np.add, parts)
    return total if keepdims else total[0]


def normals(rows: tuple[int, ...], columns: int, key: int, use: int, dtype: np.dtype) -> da.Array:
    """`normal_matrix` in blocks of so many rows."""
    name = f"normals-{tokenize(rows, columns, key, use, dtype)}"
    starts = accumulate(rows, initial=0)
    graph = {
        (name, i, 0): (_normals, size, columns, key, use, start, dtype)
        for i, (size, start) in enumerate(zip(rows, starts, strict=False))
    }
    return da.Array(graph, name, (rows, (columns,)), meta=np.empty((0, 0), dtype))


def _normals(size: int, columns: int, key: int, use: int, start: int, dtype: np.dtype) -> np.ndarray:
    return normal_matrix(size, columns, key, use, start).astype(dtype)


def frobenius_norm(a: da.Array) -> da.Array:
    """In float64, of one item."""
    parts = da.map_blocks(_norm, a, chunks=tuple((1,) * n for n in a.numblocks), meta=np.empty((0, 0)))
    return tree(parts, merged_norms, (0, 1), keepdims=False)


def _norm(a: np.ndarray) -> np.ndarray:
    return merged_norms(row_norms(a)[:, None], (0, 1), True)


@np.errstate(all="ignore")
def merged_norms(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The norm of what has these norms of its parts, the largest of which squares are taken relative to."""
    most = parts.max(axis=axis, keepdims=True, initial=0)
    unit = np.where((most > 0) & (most < np.inf), most, 1)
    norms = np.sqrt(((parts / unit) ** 2).sum(axis=axis, keepdims=True)) * unit
    return norms if keepdims else norms.squeeze(axis)
