"""`softmax` and `logsumexp` on Numba: row by row, or column beside column, without a temporary array.

The first pass takes the maximum, the second the exponentials and their sum (P. Blanchard, D. J. Higham and N. J.
Higham, "Accurately computing the log-sum-exp and softmax functions", IMA Journal of Numerical Analysis 41 (2021),
2311-2330).
"""

from __future__ import annotations

import math

import numpy as np

from kernels.jit import jit
from kernels.ndarray.layout import run_along
from kernels.vector_math import exp, log, maximum, select

__all__ = ["logsumexp", "softmax"]

PIECE = 1024  # items of a row that are summed up in its own type; the sums of pieces are added in float64
COLUMNS = 2048  # of a group; far fewer would be fetched from far apart


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return run_along(x, axis, x.shape[axis], _softmax_rows, _softmax_columns)


def logsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    return run_along(x, axis, 1, _logsumexp_rows, _logsumexp_columns).squeeze(axis)[()]


@jit
def _softmax_rows(x: np.ndarray, result: np.ndarray) -> None:
    for row in range(len(x)):
        top = _largest(x[row])
        total = 0.0
        for start in range(0, x.shape[1], PIECE):
            total += _exponentials(x[row, start : start + PIECE], top, result[row, start : start + PIECE])
        factor = x.dtype.type(1 / total)
        for i in range(x.shape[1]):
            result[row, i] *= factor


@jit
def _logsumexp_rows(x: np.ndarray, result: np.ndarray) -> None:
    zero = x.dtype.type(0)
    for row in range(len(x)):
        top = _largest(x[row])
        top = select(abs(top) < np.inf, top, zero)  # since inf - inf is NaN
        total = 0.0
        for start in range(0, x.shape[1], PIECE):
            total += _sum_of_exponentials(x[row, start : start + PIECE], top)
        result[row, 0] = top + math.log(total)


@jit
def _softmax_columns(x: np.ndarray, result: np.ndarray, first: int, last: int) -> None:
    n = x.shape[1]
    width = min(COLUMNS, last - first)
    tops, totals = np.empty(width, x.dtype), np.empty(width)
    for plane in range(len(x)):
        for start in range(first, last, width):
            stop = min(start + width, last)
            _largest_of_columns(x, plane, start, stop, tops)
            totals[:] = 0
            for k in range(n):
                row, powers = x[plane, k, start:stop], result[plane, k, start:stop]
                for i in range(len(row)):
                    power = exp(row[i] - tops[i])
                    powers[i] = power
                    totals[i] += power
            for i in range(width):
                tops[i] = 1 / totals[i]
            for k in range(n):
                powers = result[plane, k, start:stop]
                for i in range(len(powers)):
                    powers[i] *= tops[i]


@jit
def _logsumexp_columns(x: np.ndarray, result: np.ndarray, first: int, last: int) -> None:
    n, zero = x.shape[1], x.dtype.type(0)
    width = min(COLUMNS, last - first)
    tops, totals = np.empty(width, x.dtype), np.empty(width)
    for plane in range(len(x)):
        for start in range(first, last, width):
            stop = min(start + width, last)
            _largest_of_columns(x, plane, start, stop, tops)
            for i in range(width):
                tops[i] = select(abs(tops[i]) < np.inf, tops[i], zero)
            totals[:] = 0
            for k in range(n):
                row = x[plane, k, start:stop]
                for i in range(len(row)):
                    totals[i] += exp(row[i] - tops[i])
            target = result[plane, 0, start:stop]
            for i in range(len(target)):
                target[i] = tops[i] + log(totals[i])


@jit
def _largest(x: np.ndarray) -> float:
    result = x.dtype.type(-np.inf)
    for i in range(len(x)):
        result = maximum(result, x[i])
    return result


@jit
def _largest_of_columns(x: np.ndarray, plane: int, start: int, stop: int, result: np.ndarray) -> None:
    result[:] = -np.inf
    for k in range(x.shape[1]):
        row = x[plane, k, start:stop]
        for i in range(len(row)):
            result[i] = maximum(result[i], row[i])


@jit(fastmath={"reassoc"})
def _exponentials(x: np.ndarray, top: float, result: np.ndarray) -> float:
    total = x.dtype.type(0)
    for i in range(len(x)):
        result[i] = exp(x[i] - top)
        total += result[i]
    return total


@jit(fastmath={"reassoc"})
def _sum_of_exponentials(x: np.ndarray, top: float) -> float:
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += exp(x[i] - top)
    return total
