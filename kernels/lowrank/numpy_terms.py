"""The terms of a product in NumPy: their norms, and the columns and rows that make up some of them.

Norms are in float64 and go in blocks that stay in the second-level cache; only where squares over- or underflow are
they taken again, from items divided by a power of two.
"""

from __future__ import annotations

import numpy as np

__all__ = ["column_norms", "columns", "row_norms", "rows"]

BLOCK = 1 << 15  # items: what is computed from a block stays in the second-level cache
SQUARES = 2.0**-960, 2.0**960  # sums of squares that have lost nothing to underflow, nor overflowed


def column_norms(x: np.ndarray) -> np.ndarray:
    """float64, shape (l,), of an array of shape (m, l)."""
    return row_norms(x.T)


@np.errstate(all="ignore")
def row_norms(y: np.ndarray) -> np.ndarray:
    """float64, shape (l,), of an array of shape (l, n)."""
    squares = _squares(y)
    norms = np.sqrt(squares)
    least, most = SQUARES
    doubtful = np.flatnonzero(~((squares > least) & (squares < most)))
    if y.dtype.itemsize > (4 if y.dtype.kind == "f" else 8):  # the squares of single precision are safe in double
        for i in doubtful:
            norms[i] = _scaled_norm(y[i])
    return norms


def _squares(y: np.ndarray) -> np.ndarray:
    if y.dtype.kind == "c":
        return _squares(y.real) + _squares(y.imag)
    squares = np.zeros(len(y))
    if abs(y.strides[0]) < abs(y.strides[1]):
        step = max(BLOCK // max(len(y), 1), 1)
        for start in range(0, y.shape[1], step):
            block = y[:, start : start + step].T.astype(np.float64, copy=False)
            squares += np.einsum("ij,ij->j", block, block)
        return squares
    step = max(BLOCK // max(y.shape[1], 1), 1)
    for start in range(0, len(y), step):
        block = y[start : start + step].astype(np.float64, copy=False)
        np.einsum("ij,ij->i", block, block, out=squares[start : start + step])
    return squares


def _scaled_norm(vector: np.ndarray) -> np.float64:
    greatest = np.abs(vector).max(initial=0)
    if not 0 < greatest < np.inf:
        return np.float64(greatest)
    exponent = np.frexp(greatest)[1]
    parts = np.ldexp(np.stack((vector.real, vector.imag)), -exponent)
    return np.ldexp(np.sqrt((parts**2).sum()), exponent)


def columns(x: np.ndarray, indices: np.ndarray, factors: np.ndarray | None = None) -> np.ndarray:
    """``x[:, indices] * factors``, in memory as x is."""
    chosen = np.take(x.T, indices, axis=0).T if x.flags.f_contiguous else np.take(x, indices, axis=1)
    if factors is not None:
        chosen *= factors.astype(chosen.dtype)
    return chosen


def rows(y: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """``y[indices]``, in memory as y is."""
    return columns(y.T, indices).T
