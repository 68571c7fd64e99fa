"""`log_gram` on Numba: logarithms of a block of rows that stays in cache, multiplied at once by BLAS."""

from __future__ import annotations

import numpy as np

from kernels.blas import one_thread
from kernels.jit import jit, n_threads
from kernels.ndarray.layout import map_parts, read_only
from kernels.vector_math import log, select

__all__ = ["log_gram"]

BLOCK = 60_000  # items whose logarithms stay in the second-level cache
WIDE = 8  # In fewer rows than WIDE * d, adding up the products would be felt beside computing them.
WORTH_A_THREAD = 1 << 19  # logarithms, each of which costs as much as LOGARITHM columns of the product
LOGARITHM = 20
NARROW = 64  # Below, calls from Python would be felt; from it on, NumPy has often a newer BLAS than SciPy.


def log_gram(x: np.ndarray) -> np.ndarray:
    n, d = x.shape
    if not x.size:
        return np.zeros((d, d), x.dtype)
    if d >= NARROW or not x.flags.c_contiguous:
        return _centred(_wide_product(x))
    threads = min(n_threads(), x.size * (LOGARITHM + d) // (LOGARITHM * WORTH_A_THREAD))
    x = read_only(x, x.shape)
    if threads <= 1:
        return _centred(_narrow_product(x, _rows(n, d)))
    with one_thread():
        return _centred(sum(map_parts(lambda part: _narrow_product(x[part], _rows(n, d)), n, threads)))


def _rows(n: int, d: int) -> int:
    """Rows of a block, all but the last of one length."""
    blocks = -(-n // max(BLOCK // d, WIDE * d))
    return -(-n // blocks)


@jit
def _narrow_product(x: np.ndarray, rows: int) -> np.ndarray:
    n, d = x.shape
    total, product, factor = np.zeros((d, d), x.dtype), np.empty((d, d), x.dtype), np.empty((rows, d), x.dtype)
    for start in range(0, n, rows):
        block = x[start : start + rows]
        logs = factor[: len(block)]
        _factor(block.reshape(-1), logs.reshape(-1))
        np.dot(block.T, logs, product)
        total += product
    return total


def _wide_product(x: np.ndarray) -> np.ndarray:
    """Leave the threads to BLAS, whose own are awake anyway, and would be in the way of others."""
    n, d = x.shape
    rows = _rows(n, d)
    total, product, factor = np.zeros((d, d), x.dtype), np.empty((d, d), x.dtype), np.empty((rows, d), x.dtype)
    with np.errstate(all="ignore"):
        for start in range(0, n, rows):
            block = np.ascontiguousarray(x[start : start + rows])
            _factor(read_only(block, (block.size,)), factor.reshape(-1))
            total += np.dot(block.T, factor[: len(block)], out=product)
    return total


@jit
def _factor(x: np.ndarray, result: np.ndarray) -> None:
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for i in range(len(x)):
        result[i] = select(x[i] == zero, zero, log(x[i]) + one)


@jit
def _centred(y: np.ndarray) -> np.ndarray:
    """Take from each column its mean, in place."""
    mean = np.zeros(len(y))
    for i in range(len(y)):
        mean += y[i]
    mean /= len(y)
    for i in range(len(y)):
        y[i] -= mean
    return y
