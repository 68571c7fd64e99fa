"""Array operations on Dask: lazy arrays of known chunk sizes, right for any chunks along any axis, and out of core.

A task holds a few chunks, or blocks of their size, and calls a dense backend on them through the public interface where
that has the function; where an axis is cut, partial results that are small against the chunks are merged in a tree. An
array is rechunked only along axes that are short by their nature, which is said where it is done. `hsic` alone, which
is not lazy and needs all pairs of rows, keeps its two arrays in the workers' memory while it runs.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import accumulate
from typing import Any

import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks
from dask.base import tokenize

from kernels import ndarray
from kernels.chunk_tasks import on_one_thread, single_threaded
from kernels.dask_arrays import blocks, chunk_bytes, meta, on_chunks, resized, tree, whole
from kernels.dispatch import default_backend
from kernels.ndarray import BatchNorm, chunked_attention, chunked_statistics, formulas
from kernels.ndarray.chunked_convolution import convolved
from kernels.ndarray.chunked_pairs import independence
from kernels.ndarray.chunked_routing import routed


def log_gram(x: da.Array) -> da.Array:
    """The sum over the blocks of rows, since to subtract the means is linear.

    A block has all the columns, which the result of their number squared must fit into memory with, and enough rows not
    to be smaller than its result.
    """
    d = x.shape[1]
    rows = resized(x.chunks[0], least=d, most=chunk_bytes() // max(d * x.itemsize, 1))
    parts = da.map_blocks(
        _gram,
        x.rechunk((rows, (d,))),
        backend=default_backend(ndarray.log_gram, x),
        new_axis=2,
        chunks=((1,) * len(rows), (d,), (d,)),
        meta=meta(x, 3),
    )
    return tree(parts, _sum, 0, keepdims=False)


def _gram(x: np.ndarray, backend: str) -> np.ndarray:
    return on_one_thread(backend, ndarray.log_gram, x)[None]


def _sum(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    with np.errstate(all="ignore"):
        return parts.sum(axis=axis, keepdims=keepdims)


def softmax(x: da.Array, axis: int) -> da.Array:
    """That of each chunk, whose greatest item also tells the sum of its exponentials, times the chunk's own share."""
    if x.numblocks[axis] == 1:
        return on_chunks(ndarray.softmax, x, axis)
    shares = on_chunks(ndarray.softmax, x, axis)
    parts = da.map_blocks(
        chunked_statistics.exponentials,
        x,
        shares,
        axis,
        new_axis=0,
        chunks=((2,), *_ones(x, (axis,))),
        meta=np.empty((0,) * (x.ndim + 1)),
    )
    total = tree(parts, chunked_statistics.merged_exponentials, axis + 1)
    return da.map_blocks(chunked_statistics.scaled, shares, parts, total, drop_axis=0, meta=meta(x))


def logsumexp(x: da.Array, axis: int) -> da.Array:
    """That of each chunk, and of what several chunks have given."""
    function = partial(_logsumexp, backend=default_backend(ndarray.logsumexp, x, axis))
    return da.reduction(x, function, function, axis=axis, dtype=x.dtype, meta=meta(x, x.ndim - 1))


def _logsumexp(x: np.ndarray, axis: tuple[int, ...], keepdims: bool, backend: str) -> np.ndarray:
    result = np.asarray(on_one_thread(backend, ndarray.logsumexp, x, axis[0]))
    return np.expand_dims(result, axis) if keepdims else result


def _ones(x: da.Array, axes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Chunks of what has one item for each chunk along `axes`."""
    return tuple((1,) * len(sizes) if axis in axes else sizes for axis, sizes in enumerate(x.chunks))


def batch_norm(x: da.Array, gamma: da.Array, beta: da.Array, axes: tuple[int, ...], eps: float) -> BatchNorm:
    # The public function gives mean and variance in the type of x, too coarse in single precision to be merged where
    # the mean is large against the deviation.
    parts = da.map_blocks(
        chunked_statistics.moments,
        x,
        axes,
        new_axis=0,
        chunks=((3,), *_ones(x, axes)),
        meta=np.empty((0,) * (x.ndim + 1)),
    )
    along = tuple(axis + 1 for axis in axes)
    total = tree(parts, chunked_statistics.merged_moments, along, keepdims=False)
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    mean, var = (
        da.map_blocks(function, total, x.dtype, drop_axis=0, meta=meta(gamma))
        for function in (chunked_statistics.mean_of, chunked_statistics.variance_of)
    )
    by_channel = [item for array in (mean, var, gamma, beta) for item in (array, kept)]
    places = range(x.ndim)
    y = blocks(chunked_statistics.normalised, places, x, places, *by_channel, axes=axes, eps=eps)
    return BatchNorm(y, mean, var)


def causal_conv1d(x: da.Array, w: da.Array, bias: da.Array | None, dilation: int, state: da.Array | None) -> da.Array:
    return convolved(x, w, bias, dilation, state)


def attention(q: da.Array, k: da.Array, v: da.Array, mask: da.Array | None, scale: float) -> da.Array:
    """Tasks for pairs of a chunk of queries and one of keys, each with all features, and at least a tile of keys."""
    q, k, v = (whole(array, array.ndim - 1) for array in (q, k, v))
    n, m, d, e = range(q.ndim - 2, q.ndim + 2)
    batch = tuple(range(n))
    pair = (*k.shape[-1:], *v.shape[-1:])
    size = math.prod(max(sizes) for sizes in k.chunks[:-2]) * sum(pair) * k.itemsize
    keys = resized(k.chunks[-2], least=min(chunked_attention.KEYS, k.shape[-2]), most=chunk_bytes() // max(size, 1))
    k, v = k.rechunk({n: keys}), v.rechunk({n: keys})
    operands = [q, (*batch, n, d), k, (*batch, m, d), v, (*batch, m, e)]
    if mask is not None:
        mask = whole(mask, *(axis for axis, length in enumerate(mask.shape) if length == 1))
        if mask.shape[-1] == k.shape[-2]:
            mask = mask.rechunk({mask.ndim - 1: keys})
        operands += [mask, (*batch, n, m)[-mask.ndim :]]
    if len(keys) == 1:
        backend = default_backend(ndarray.attention, q, k, v, mask)
        return blocks(_attention, (*batch, n, e), *operands, scale=scale, backend=backend)
    parts = blocks(
        chunked_attention.partial, (*batch, m, n, e + 1), *operands,
        scale=scale, new_axes={e + 1: v.shape[-1] + 2}, adjust_chunks={m: lambda size: 1},
    )  # fmt: skip
    total = tree(parts, chunked_attention.merged, len(batch), keepdims=False)
    chunks = (*total.chunks[:-1], v.chunks[-1])
    return da.map_blocks(chunked_attention.averages, total, chunks=chunks, meta=meta(q))


def _attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None, *, scale: float, backend: str
) -> np.ndarray:
    return on_one_thread(backend, ndarray.attention, q, k, v, mask, scale=scale)


def seq2seq_mask(n_source: int, n_target: int) -> da.Array:
    n = n_source + n_target
    rows, columns = normalize_chunks("auto", (n, n), dtype=bool)
    return formulas.seq2seq_mask(da.arange(n, chunks=(rows,))[:, None], da.arange(n, chunks=(columns,)), n_source)


def hsic(x: da.Array, y: da.Array, sigma_x: float | None, sigma_y: float | None) -> float:
    return independence(x, y, sigma_x, sigma_y)


def capsule_routing(votes: da.Array, iterations: int) -> da.Array:
    """Whole samples in a task, where such a one is no larger than a chunk may be."""
    *_, n_in, n_out, d = votes.shape
    if n_in * n_out * d * votes.itemsize > chunk_bytes():
        return routed(votes, iterations)
    votes = whole(votes, *range(votes.ndim - 3, votes.ndim))
    layout = {"drop_axis": votes.ndim - 3, "meta": meta(votes, votes.ndim - 1)}
    return on_chunks(ndarray.capsule_routing, votes, iterations, **layout)


def random_angles(dim: int, size: int, key: int) -> da.Array:
    (chunks,) = normalize_chunks("auto", (size,), dtype=float)
    name = f"random_angles-{tokenize(dim, size, key, chunks)}"
    ends = accumulate(chunks)
    backend = default_backend(ndarray.random_angles, dim, max(chunks), key)
    graph = {
        (name, i): (_angles, end - n, dim, n, key, backend) for i, (n, end) in enumerate(zip(chunks, ends, strict=True))
    }
    return da.Array(graph, name, (chunks,), meta=np.empty(0))


def _angles(first: int, dim: int, size: int, key: int, backend: str) -> np.ndarray:
    if backend == "numba":
        from kernels.ndarray.fused_angles import angles_from
    else:
        from kernels.ndarray.numpy_angles import angles_from
    with single_threaded(backend):
        return angles_from(first, dim, size, key)


def angle_pdf(theta: da.Array, dim: int) -> Any:
    if not isinstance(theta, da.Array):
        return ndarray.angle_pdf(theta, dim, backend=default_backend(ndarray.angle_pdf, theta, dim))
    return on_chunks(ndarray.angle_pdf, theta, dim)
