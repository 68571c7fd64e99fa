"""Array pipelines on pydata/sparse arrays, each of which exploits that what is not stored is one value.

- log_gram: the sum, over the rows, of the outer products of their stored entries;
- softmax, logsumexp, batch_norm: exponentials and deviations of stored values, and of the fill value once a row;
- causal_conv1d: each stored entry is scattered to the few times that see it;
- attention: scores are computed where the mask stores True (queries, keys and values are dense by nature);
- seq2seq_mask: its coordinates are written down in order;
- hsic: kernels of rank one but where two rows share a feature, see `shared_features`;
- capsule_routing: routing logits of capsules with stored votes alone, since all others stay 0;
- angle_pdf: the density of the stored values, and of the fill value;
- random_angles: a container alone, which a dense backend fills.

softmax with another fill value than -inf, batch_norm and causal_conv1d have dense results, whose writing bounds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, nan, prod
from typing import Any

import numpy as np
import sparse

from kernels import ndarray
from kernels.dispatch import default_backend
from kernels.ndarray import BatchNorm
from kernels.ndarray.made_dense import dense, filled
from kernels.ndarray.sampled_scores import attention
from kernels.ndarray.shared_features import hsic
from kernels.ndarray.stored_products import causal_conv1d, log_gram
from kernels.ndarray.stored_rows import StoredRows, positions

__all__ = [
    "angle_pdf",
    "attention",
    "batch_norm",
    "capsule_routing",
    "causal_conv1d",
    "hsic",
    "log_gram",
    "logsumexp",
    "random_angles",
    "seq2seq_mask",
    "softmax",
]


@np.errstate(all="ignore")
def softmax(x: sparse.SparseArray, axis: int) -> sparse.SparseArray | np.ndarray:
    entries, fill = x.asformat("coo"), float(x.fill_value)
    rows = StoredRows.along(entries, (axis,))
    values = entries.data[rows.order].astype(np.float64)
    shares, of_fill = rows.softmax(values, fill)
    if fill == -inf:
        return _in_format_of(x, _sparse_softmax(entries, axis, rows, values, shares))
    others = 1 / max(x.shape[axis], 1) if isfinite(fill) else nan
    kept = [length for place, length in enumerate(x.shape) if place != axis]
    background = rows.among_all(of_fill, others, kept)
    return _overwritten(np.expand_dims(background, axis), entries, rows, shares)


def _sparse_softmax(x: sparse.COO, axis: int, rows: StoredRows, values: np.ndarray, shares: np.ndarray) -> sparse.COO:
    """Zero where nothing is stored, or -inf: rows of nothing else stay empty. Rows with NaN or +inf become NaN."""
    shares[values == -inf] = 0
    data = np.empty(x.nnz, x.dtype)
    data[rows.order] = shares
    coords = x.coords
    lost = np.isnan(np.add.reduceat(shares, rows.starts))
    if lost.any():
        kept = np.empty(x.nnz, bool)
        kept[rows.order] = ~rows.spread(lost)
        whole = np.repeat(coords[:, rows.order][:, rows.starts[lost]], x.shape[axis], axis=1)
        whole[axis] = np.tile(np.arange(x.shape[axis]), int(lost.sum()))
        coords = np.hstack((coords[:, kept], whole))
        data = np.append(data[kept], np.full(whole.shape[1], nan, x.dtype))
    return sparse.COO(coords, data, x.shape, has_duplicates=False, sorted=not lost.any(), fill_value=x.dtype.type(0))


@np.errstate(all="ignore")
def logsumexp(x: sparse.SparseArray, axis: int) -> np.ndarray:
    x, fill, n = x.asformat("coo"), float(x.fill_value), x.shape[axis]
    rows = StoredRows.along(x, (axis,))
    kept = [length for place, length in enumerate(x.shape) if place != axis]
    sums = rows.logsumexp(x.data[rows.order].astype(np.float64), fill)
    return rows.among_all(sums, fill + np.log(n) if n else -inf, kept).astype(x.dtype)[()]


@np.errstate(all="ignore")
def batch_norm(
    x: sparse.SparseArray, gamma: sparse.SparseArray, beta: sparse.SparseArray, axes: tuple[int, ...], eps: float
) -> BatchNorm:
    x, fill = x.asformat("coo"), float(x.fill_value)
    gamma, beta = dense(gamma).astype(np.float64), dense(beta).astype(np.float64)
    n = prod(x.shape[axis] for axis in axes)
    rows = StoredRows.along(x, axes)
    values = x.data[rows.order].astype(np.float64)
    near = fill if isfinite(fill) else 0.0
    means = near + rows.total(values - near, fill - near) / n
    deviations = values - rows.spread(means)
    mean = rows.among_all(means, fill if n else nan, gamma.shape)
    var = rows.among_all(rows.total(deviations**2, (fill - means) ** 2) / n, fill - fill if n else nan, gamma.shape)
    scale = gamma / np.sqrt(var + eps)
    background = np.expand_dims((fill - mean) * scale + beta, axes)
    stored = deviations * rows.spread(scale.reshape(-1)[rows.numbers]) + rows.spread(beta.reshape(-1)[rows.numbers])
    return BatchNorm(_overwritten(background, x, rows, stored), mean.astype(x.dtype), var.astype(x.dtype))


def _overwritten(background: np.ndarray, x: sparse.COO, rows: StoredRows, values: np.ndarray) -> np.ndarray:
    """A dense array of the shape and dtype of `x`: what belongs to a row everywhere, but `values` where `x` stores."""
    y = filled(x.shape, background.astype(x.dtype))
    y.reshape(-1)[positions(x.coords, x.shape)[rows.order]] = values
    return y


def seq2seq_mask(n_source: int, n_target: int) -> sparse.COO:
    n = n_source + n_target
    lengths = np.maximum(np.arange(1, n + 1), n_source)
    rows = np.repeat(np.arange(n), lengths)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return _sorted_coo(np.stack((rows, columns)), np.ones(len(rows), bool), (n, n))


@np.errstate(all="ignore")
def capsule_routing(votes: sparse.SparseArray, iterations: int) -> np.ndarray:
    if votes.fill_value != 0:
        raise ValueError(f"votes must have the fill value 0, for no vote, not {votes.fill_value}")
    votes = votes.asformat("coo")
    *batch, n_in, n_out, d = votes.shape
    values = votes.data.astype(np.float64)
    capsules = StoredRows.along(votes, (votes.ndim - 1,))
    inputs = StoredRows(capsules.numbers // max(n_out, 1), n_out)
    outputs = capsules.numbers // max(n_in * n_out, 1) * n_out + capsules.numbers % max(n_out, 1)
    targets = capsules.spread(outputs) * d + votes.coords[-1].astype(np.int64)
    logits = np.zeros(len(capsules.numbers))
    lost = np.zeros(prod(batch), bool)
    for left in reversed(range(iterations)):
        shares, _ = inputs.softmax(logits, 0.0)
        sums = np.bincount(targets, capsules.spread(shares) * values, prod(batch) * n_out * d)
        v = _squash(sums.reshape(prod(batch), n_out, d))
        if left:
            logits += np.add.reduceat(values * v.reshape(-1)[targets], capsules.starts)
            lost |= np.isnan(v).any(axis=(1, 2))  # 0 * NaN is NaN, so that the votes that are not stored agree, too
    v[lost] = nan
    return v.reshape((*batch, n_out, d)).astype(votes.dtype, copy=False)


def _squash(s: np.ndarray) -> np.ndarray:
    squares = np.sum(s * s, axis=-1, keepdims=True)
    return s * (np.sqrt(squares) / (1 + squares))


def random_angles(dim: int, size: int, key: int) -> sparse.COO:
    backend = default_backend(ndarray.random_angles, dim, size, key)
    angles = ndarray.random_angles(dim, size, rng=key, backend=backend)
    return _sorted_coo(np.arange(size)[np.newaxis], angles, (size,))


def angle_pdf(theta: sparse.SparseArray, dim: int) -> sparse.SparseArray:
    entries = theta.asformat("coo")
    angles = np.append(entries.data, entries.fill_value).astype(theta.dtype)
    densities = ndarray.angle_pdf(angles, dim, backend=default_backend(ndarray.angle_pdf, angles, dim))
    return _in_format_of(theta, _sorted_coo(entries.coords, densities[:-1], theta.shape, densities[-1]))


def _sorted_coo(coords: np.ndarray, data: np.ndarray, shape: Sequence[int], fill: Any = None) -> sparse.COO:
    """Said to be sorted and without duplicates, so that nothing is checked or copied."""
    return sparse.COO(coords, data, tuple(shape), has_duplicates=False, sorted=True, fill_value=fill)


def _in_format_of(x: sparse.SparseArray, result: sparse.COO) -> sparse.SparseArray:
    if isinstance(x, sparse.GCXS):
        return result.asformat("gcxs", compressed_axes=x.compressed_axes)
    return result.asformat(x.format)
