"""Randomized SVD of a matrix in chunks, which is read anew in each pass, as it is cut, and never held as a whole.

The algorithm is that of `subspace`. The few vectors that it goes on with are cut along their length; they are made
orthonormal by a QR decomposition of each block, and one of what these leave, all triangles together (J. Demmel,
L. Grigori, M. Hoemmen and J. Langou, SIAM Journal on Scientific Computing 34, 2012, A206-A239).
"""

from __future__ import annotations

from operator import getitem
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from kernels.chunk_tasks import blas_on_one_thread
from kernels.dask_arrays import chunk_bytes, layers_on, meta, on_layer, resized, tree
from kernels.lowrank import SVD
from kernels.lowrank.chunked_passes import after
from kernels.lowrank.chunked_products import adjoint_times, normals, times
from kernels.lowrank.sampling import TEST_MATRIX

__all__ = ["largest_singular"]

Factors = tuple[np.ndarray, np.ndarray]

WORTH_A_TASK = 1 << 22  # bytes of vectors
TALL = 8  # rows of a block over its columns, at least


def largest_singular(a: da.Array, rank: int, columns: int, iterations: int, key: int, backend: str) -> SVD:
    """`rank` singular values, no more than `columns`, from so many random vectors, no more than `a` has of either."""
    sample = times(a, normals(a.chunks[1], columns, key, TEST_MATRIX, a.dtype), backend)
    basis, _ = _qr(sample, backend)
    for _ in range(iterations):
        basis, _ = _qr(adjoint_times(after(basis, a), basis, backend), backend)
        basis, _ = _qr(times(after(basis, a), basis, backend), backend)
    vectors, triangle = _qr(adjoint_times(after(basis, a), basis, backend), backend)
    v, s, u = _svd(triangle, rank, backend)
    u, v = times(basis, u, backend), times(vectors, v, backend)
    sign = da.map_blocks(_sign, tree(u, _greatest, 0, keepdims=False), meta=meta(a, 1))
    unknown = da.where(da.isfinite(sample).all(), 0, np.nan).astype(s.dtype)
    return SVD(u * sign.conj() + unknown, s + unknown, v.conj().T * sign[:, None] + unknown)


def _qr(vectors: da.Array, backend: str) -> tuple[da.Array, da.Array]:
    """Of zeros where an item is not finite; what the result is then, is said by the first product."""
    size = vectors.shape[1] * vectors.itemsize
    least = max(TALL * vectors.shape[1], WORTH_A_TASK // size)
    vectors = vectors.rechunk({0: resized(vectors.chunks[0], least=least, most=max(least, chunk_bytes() // size))})
    name = f"qr-{tokenize(vectors.name)}"
    own: dict[Any, Any] = {}
    basis: dict[Any, Any] = {}
    end = 0
    for i, rows in enumerate(vectors.chunks[0]):
        start, end = end, end + min(rows, vectors.shape[1])
        own[name, i] = (_factors, (vectors.name, i, 0), backend)
        own[name, i, "triangle"] = (getitem, (name, i), 1)
        basis[f"{name}-q", i, 0] = (_basis, (name, i), (name, "top"), start, end, backend)
    own[name, "top"] = (_common_factors, [key for key in own if key[-1] == "triangle"], backend)
    layers = layers_on(name, own, vectors)
    return (
        on_layer(layers, name, f"{name}-q", basis, vectors.chunks, meta(vectors)),
        on_layer(layers, name, f"{name}-r", {(f"{name}-r", 0, 0): (getitem, (name, "top"), 1)},
                 (vectors.chunks[1],) * 2, meta(vectors)),
    )  # fmt: skip


@np.errstate(all="ignore")
def _factors(vectors: np.ndarray, backend: str) -> Factors:
    with blas_on_one_thread(backend):
        q, r = np.linalg.qr(np.where(np.isfinite(vectors), vectors, vectors.dtype.type(0)))
        return q, r


def _common_factors(triangles: list[np.ndarray], backend: str) -> Factors:
    return _factors(np.concatenate(triangles), backend)


def _basis(own: Factors, common: Factors, start: int, stop: int, backend: str) -> np.ndarray:
    with blas_on_one_thread(backend):
        return own[0] @ common[0][start:stop]


def _svd(matrix: da.Array, rank: int, backend: str) -> list[da.Array]:
    """The first left singular vectors, values, and right singular vectors of a matrix in one block."""
    name = f"svd-{tokenize(matrix.name, rank)}"
    graph = {(name, 0): (_singular, (matrix.name, 0, 0), rank, backend)}
    layers = layers_on(name, graph, matrix)
    vectors, values = (matrix.chunks[0], (rank,)), ((rank,),)
    metas = meta(matrix), meta(matrix, 1).real, meta(matrix)
    arrays = []
    for i, (chunks, kind) in enumerate(zip((vectors, values, vectors), metas, strict=True)):
        block = {(f"{name}-{i}", *(0 for _ in chunks)): (getitem, (name, 0), i)}
        arrays.append(on_layer(layers, name, f"{name}-{i}", block, chunks, kind))
    return arrays


def _singular(matrix: np.ndarray, rank: int, backend: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with blas_on_one_thread(backend):
        left, values, right = np.linalg.svd(matrix)
    return left[:, :rank], values[:rank], right[:rank].conj().T


def _greatest(vectors: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The item of largest modulus in each column, the first where several are."""
    if len(vectors):
        vectors = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0, keepdims=True), axis=0)
    return vectors if keepdims else vectors[0]


def _sign(values: np.ndarray) -> np.ndarray:
    modulus = np.abs(values)
    return np.divide(values, modulus, out=np.ones_like(values), where=modulus > 0)
