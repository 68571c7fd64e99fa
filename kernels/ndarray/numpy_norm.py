"""Batch normalisation in NumPy: three passes over the array, block by block.

Where the features are the last axes, several samples are taken for one, so that the inner loops are long even if there
are few features.
"""

from __future__ import annotations

from math import prod

import numpy as np

from kernels.ndarray import BatchNorm, formulas
from kernels.ndarray.numpy_blocks import BLOCK, Part, blocks, cuts

__all__ = ["batch_norm"]

LONG = 512  # items of an inner loop
SMALL = 1 << 12  # items for which one call of each function is best


@np.errstate(all="ignore")
def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, axes: tuple[int, ...], eps: float) -> BatchNorm:
    if x.size <= SMALL:
        return formulas.batch_norm(x, gamma, beta, axes, eps)
    y = np.empty_like(x)
    if axes == tuple(range(len(axes))) and x.flags.c_contiguous:
        mean, var = _by_rows(x.reshape(-1, gamma.size), gamma.ravel(), beta.ravel(), eps, y.reshape(-1, gamma.size))
    else:
        mean, var = _by_parts(x, gamma, beta, axes, eps, y)
    return BatchNorm(y, mean.reshape(gamma.shape), var.reshape(gamma.shape))


def _by_rows(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, y: np.ndarray) -> tuple[np.ndarray, ...]:
    n, features = x.shape
    several = max(LONG // features, 1)
    even = n - n % several
    parts = [
        (rows[part], result[part])
        for rows, result in (
            (x[:even].reshape(-1, several * features), y[:even].reshape(-1, several * features)),
            (x[even:].reshape(1, -1), y[even:].reshape(1, -1)),
        )
        if rows.size
        for part in cuts(rows.shape, (0,), BLOCK // x.itemsize)
    ]

    def spread(values: np.ndarray) -> np.ndarray:
        return np.tile(values, several)

    def total(rows: np.ndarray) -> np.ndarray:
        return rows.sum(axis=0).reshape(-1, features).sum(axis=0, dtype=float)

    mean = (sum(total(rows) for rows, _ in parts) / n).astype(x.dtype)
    wide = spread(mean)
    var = (sum(total(np.square(rows - wide[: rows.shape[1]])) for rows, _ in parts) / n).astype(x.dtype)
    factor, offset = spread(gamma / np.sqrt(var + eps)), spread(beta)
    for rows, result in parts:
        width = rows.shape[1]
        np.subtract(rows, wide[:width], out=result)
        result *= factor[:width]
        result += offset[:width]
    return mean, var


def _by_parts(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, axes: tuple[int, ...], eps: float, y: np.ndarray
) -> tuple[np.ndarray, ...]:
    shape = tuple(1 if axis in axes else length for axis, length in enumerate(x.shape))
    n = prod(x.shape[axis] for axis in axes) or np.nan
    parts = [(part, _kept(part, axes)) for part in blocks(x)]
    sums = np.zeros(shape)
    for part, kept in parts:
        sums[kept] += x[part].sum(axis=axes, keepdims=True)
    mean = (sums / n).astype(x.dtype)
    sums = np.zeros(shape)
    for part, kept in parts:
        sums[kept] += np.square(x[part] - mean[kept]).sum(axis=axes, keepdims=True)
    var = (sums / n).astype(x.dtype)
    factor, offset = gamma.reshape(shape) / np.sqrt(var + eps), beta.reshape(shape)
    for part, kept in parts:
        result = np.subtract(x[part], mean[kept], out=y[part])
        result *= factor[kept]
        result += offset[kept]
    return mean, var


def _kept(part: Part, axes: tuple[int, ...]) -> Part:
    """The same part of an array that has one item along the axes."""
    return tuple(slice(None) if axis in axes else cut for axis, cut in enumerate(part))
