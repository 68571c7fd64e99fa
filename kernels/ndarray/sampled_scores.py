"""Attention under a sparse mask: scores are computed where it stores True, and nowhere else.

This is the sampled dense-dense product of sparse linear algebra, followed by a softmax over the samples of each row and
the product of that sparse matrix with the values; all three for one query at a time, so that no score is kept.
"""

from __future__ import annotations

import math
from itertools import pairwise
from math import prod

import numpy as np
import sparse

from kernels import ndarray
from kernels.dispatch import default_backend
from kernels.jit import jit, n_threads, thread_map
from kernels.ndarray.made_dense import dense
from kernels.ndarray.stored_rows import positions

__all__ = ["attention"]

MASK_BLOCK = 1 << 22  # bytes


def attention(
    q: sparse.SparseArray,
    k: sparse.SparseArray,
    v: sparse.SparseArray,
    mask: sparse.SparseArray | None,
    scale: float,
) -> np.ndarray:
    q, k, v = map(dense, (q, k, v))
    if mask is None:
        return _dense_attention(q, k, v, None, scale)
    mask = mask.asformat("coo")
    if mask.ndim == 1:
        mask = mask.reshape((1, *mask.shape))
    return (_attend_but_to_stored if mask.fill_value else _attend_to_stored)(q, k, v, mask, scale)


def _attend_to_stored(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: sparse.COO, scale: float) -> np.ndarray:
    *batch, n, d = q.shape
    m, e = v.shape[-2:]
    coords = mask.coords[:, mask.data]
    rows, keys = positions(coords[:-1], mask.shape[:-1]), coords[-1].astype(np.int64)
    if mask.shape[-1] != m:
        rows, keys = np.repeat(rows, m), np.tile(np.arange(m), len(rows))
    n_rows = prod(mask.shape[:-1])
    starts = np.searchsorted(rows, np.arange(n_rows + 1))
    longest = int(np.diff(starts).max(initial=0))
    row_of = np.broadcast_to(np.arange(n_rows).reshape(mask.shape[:-1]), (*batch, n)).reshape(-1)
    y = np.zeros((len(row_of), e), q.dtype)
    q, k, v = q.reshape(len(row_of), d), k.reshape(prod(batch), m, d), v.reshape(prod(batch), m, e)
    bounds = np.linspace(0, len(row_of), 4 * n_threads() + 1).astype(int).tolist()
    thread_map(
        lambda part: attend(q, k, v, row_of, starts, keys, longest, q.dtype.type(scale), y, *part),
        pairwise(bounds),
    )
    return y.reshape((*batch, n, e))


def _attend_but_to_stored(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: sparse.COO, scale: float) -> np.ndarray:
    """A mask filled with True leaves nearly all scores to compute: it is made dense for some queries at a time."""
    *leading, rows, keys = mask.shape
    n = q.shape[-2]
    step = n if rows == 1 else max(1, MASK_BLOCK // max(prod(leading) * keys, 1))
    order = np.argsort(mask.coords[-2], kind="stable")
    coords, data = mask.coords[:, order].astype(np.int64), mask.data[order]
    y = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    for first in range(0, n, step):
        here = slice(*np.searchsorted(coords[-2], (first, first + step)))
        block = np.ones((*leading, min(step, rows - first), keys), bool)
        block[(*coords[:-2, here], coords[-2, here] - first, coords[-1, here])] = data[here]
        queries = (..., slice(first, first + step), slice(None))
        y[queries] = _dense_attention(q[queries], k, v, block, scale)
    return y


def _dense_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, scale: float) -> np.ndarray:
    backend = default_backend(ndarray.attention, q, k, v, mask, scale)
    return ndarray.attention(q, k, v, mask, scale=scale, backend=backend)


@jit(fastmath={"reassoc", "contract"})  # so that the dot products are vectorised
def attend(q, k, v, rows, starts, keys, longest, scale, y, first, last):
    """Attention of the queries from `first` to `last`, of which number i may see ``keys[starts[r]:starts[r + 1]]``
    for ``r = rows[i]``; q and y are two-dimensional, while k and v hold one matrix for each of their batches.
    """
    weights = np.empty(longest, q.dtype)
    n = max(len(q) // max(len(k), 1), 1)
    for query in range(first, last):
        k_batch, v_batch = k[query // n], v[query // n]
        start, stop = starts[rows[query]], starts[rows[query] + 1]
        peak = q.dtype.type(-np.inf)
        for i in range(start, stop):
            score = q.dtype.type(0)
            for feature in range(q.shape[1]):
                score += q[query, feature] * k_batch[keys[i], feature]
            score *= scale
            weights[i - start] = score
            peak = max(peak, score)
        total = q.dtype.type(0)
        for i in range(stop - start):
            weights[i] = math.exp(weights[i] - peak)
            total += weights[i]
        for i in range(start, stop):
            weight = weights[i - start] / total
            for feature in range(v.shape[2]):
                y[query, feature] += weight * v_batch[keys[i], feature]
