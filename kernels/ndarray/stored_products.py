"""Products of which one factor is sparse: what is stored meets what it is multiplied by, and all else is left out.

The Gram matrix is a sum of outer products of sparse rows; in a convolution an entry is scattered to the few times that
see it. A fill value other than 0 is taken from what is stored, and what it contributes everywhere is added as one.
"""

from __future__ import annotations

from math import inf, nan

import numpy as np
import sparse

from kernels.jit import jit
from kernels.ndarray.made_dense import dense, filled
from kernels.ndarray.stored_rows import StoredRows

__all__ = ["causal_conv1d", "log_gram"]


@np.errstate(all="ignore")
def log_gram(x: sparse.SparseArray) -> np.ndarray:
    """With f for the fill value, x = f + s and log(x) + 1 = g + t: g times the sums of s and the product of s and t are
    all that is left of the product of both when the mean of each column is taken away.
    """
    x, fill = x.asformat("coo"), float(x.fill_value)
    if not 0 <= fill < inf:
        raise ValueError(f"x must have a fill value that is finite and not negative, not {fill}")
    d = x.shape[1]
    values, columns = x.data.astype(np.float64), x.coords[1].astype(np.int64)
    logs = np.where(values == 0, 0.0, np.log(values) + 1)
    log_of_fill = np.log(fill) + 1 if fill else 0.0
    starts = np.append(StoredRows.along(x, (1,)).starts, x.nnz)
    y = np.zeros((d, d))
    add_outer_products(starts, columns, values - fill, logs - log_of_fill, y)
    if fill:
        y += log_of_fill * np.bincount(columns, values - fill, d)[:, np.newaxis]
    elif not np.isfinite(values).all():
        y[:, _met_by_zeros(starts, columns, ~np.isfinite(values), d)] = nan
    y[:, columns[~np.isfinite(logs)]] = nan
    y -= y.sum(axis=0) / max(d, 1)
    return y.astype(x.dtype, copy=False)


def _met_by_zeros(starts: np.ndarray, columns: np.ndarray, infinite: np.ndarray, d: int) -> np.ndarray:
    """The columns that are not stored in a row with an infinity or NaN, whose product with zero is NaN."""
    met = np.zeros(d, bool)
    for row in np.unique(np.searchsorted(starts, np.flatnonzero(infinite), side="right") - 1):
        absent = np.ones(d, bool)
        absent[columns[starts[row] : starts[row + 1]]] = False
        met |= absent
    return met


@jit
def add_outer_products(starts, columns, left, right, result):
    """Add to `result` the outer product of the left and the right values of each row; `starts` ends with the last."""
    for row in range(len(starts) - 1):
        for a in range(starts[row], starts[row + 1]):
            for b in range(starts[row], starts[row + 1]):
                result[columns[a], columns[b]] += left[a] * right[b]


@np.errstate(all="ignore")
def causal_conv1d(
    x: sparse.SparseArray,
    w: sparse.SparseArray,
    bias: sparse.SparseArray | None,
    dilation: int,
    state: sparse.SparseArray | None,
) -> np.ndarray:
    taps = dense(w)
    width, _, n_out = taps.shape
    batch, time = x.shape[:2] if x.ndim == 3 else (1, x.shape[0])
    past = 0 if state is None else (width - 1) * dilation
    dilation = min(dilation, time + past + 1)
    y = np.zeros((batch, time, n_out), x.dtype) if bias is None else filled((batch, time, n_out), dense(bias))
    for sequence, start in ((state, -past), (x, 0)):
        if sequence is not None:
            _convolve(sequence, start, taps, dilation, y)
    return y.reshape((*x.shape[:-1], n_out) if x.ndim > 1 else x.shape)


def _convolve(sequence: sparse.SparseArray, start: int, w: np.ndarray, dilation: int, y: np.ndarray) -> None:
    """Add to `y` what a sequence that begins at the time `start` gives: the fill value everywhere, and what is stored
    besides. Where the weights or the fill value are not finite, all of it counts as stored, for the sake of 0 * inf.
    """
    sequence, fill = sequence.asformat("coo"), sequence.fill_value
    if np.isfinite(fill) and np.isfinite(w).all():
        coords, values = sequence.coords.astype(np.int64), sequence.data - fill
    else:
        coords, values = np.indices(sequence.shape).reshape(sequence.ndim, -1), sequence.todense().reshape(-1)
        fill = 0
    if sequence.ndim < 3:
        coords = np.insert(coords, 0, 0, axis=0)
    if sequence.ndim == 1:
        coords = np.insert(coords, 2, 0, axis=0)
    if fill:
        stop = start + sequence.shape[max(sequence.ndim - 2, 0)]
        for tap, sums in enumerate(w.sum(axis=1)):
            delay = (len(w) - 1 - tap) * dilation
            y[:, max(start + delay, 0) : max(stop + delay, 0)] += fill * sums
    scatter_taps(coords[0], coords[1] + start, coords[2], values, w, dilation, y)


@jit
def scatter_taps(batches, times, features, values, w, dilation, y):
    """Add to `y` what each entry of a sequence gives to the present and to the later times that see it."""
    width, _, n_out = w.shape
    for entry in range(len(values)):
        value, rows = values[entry], y[batches[entry]]
        for tap in range(width):
            time = times[entry] + (width - 1 - tap) * dilation
            if 0 <= time < len(rows):
                for out in range(n_out):
                    rows[time, out] += value * w[tap, features[entry], out]
