"""The Hilbert-Schmidt independence criterion in pure Python, by sums over the rows of both kernels."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, isfinite, nan, sqrt
from random import Random
from typing import Any

from kernels.ndarray.median import middle, sample_size
from kernels.nested import shape

__all__ = ["hsic"]


def hsic(x: Any, y: Any, sigma_x: float | None, sigma_y: float | None) -> float:
    x_columns, y_columns = _columns(x), _columns(y)
    n = shape(x)[0]
    if not all(isfinite(value) for columns in (x_columns, y_columns) for column in columns for value in column):
        return nan
    x_factor = _exponent(_median(x_columns, n) if sigma_x is None else sigma_x)
    y_factor = _exponent(_median(y_columns, n) if sigma_y is None else sigma_y)
    k_sums, l_sums, common = [1.0] * n, [1.0] * n, 0.0
    for i in range(n - 1):
        ks = _kernel(_squares(x_columns, n, i), x_factor)
        ls = _kernel(_squares(y_columns, n, i), y_factor)
        k_sum = l_sum = row = 0.0
        for j in range(n - 1 - i):
            row += ks[j] * ls[j]
            k_sum += ks[j]
            l_sum += ls[j]
            k_sums[i + 1 + j] += ks[j]
            l_sums[i + 1 + j] += ls[j]
        common += row
        k_sums[i] += k_sum
        l_sums[i] += l_sum
    cross = sum([k_sums[i] * l_sums[i] for i in range(n)])
    return (n + 2 * common - 2 / n * cross + sum(k_sums) * sum(l_sums) / (n * n)) / ((n - 1) * (n - 1))


def _columns(x: Any) -> list[list[float]]:
    if len(shape(x)) == 1:
        return [[float(value) for value in x]]
    return [[float(value) for value in column] for column in zip(*x, strict=True)]


def _squares(columns: Sequence[list[float]], n: int, row: int) -> list[float]:
    """Squared distances of a row from each of those after it."""
    squares = [0.0] * (n - 1 - row)
    for column in columns:
        here = column[row]
        for i in range(n - 1 - row):
            difference = column[row + 1 + i] - here
            squares[i] += difference * difference
    return squares


def _kernel(squares: list[float], factor: float) -> list[float]:
    if factor == -inf:
        return [0.0 if square else 1.0 for square in squares]
    return [exp(factor * square) for square in squares]


def _exponent(sigma: float) -> float:
    return -0.5 / sigma / sigma if sigma else -inf


def _median(columns: Sequence[list[float]], n: int) -> float:
    """The median of the distances between two different rows."""

    def around(low: float, high: float) -> tuple[int, int, list[float], int]:
        below = at_low = at_high = 0
        between = []
        for row in range(n - 1):
            for square in _squares(columns, n, row):
                if square < low:
                    below += 1
                elif square < high:
                    if square == low:
                        at_low += 1
                    else:
                        between.append(square)
                elif square == high:
                    at_high += 1
        return below, at_low, sorted(between), at_high

    random = Random(0).random
    sample = []
    for _ in range(sample_size(n * (n - 1) // 2)):
        one, step = int(n * random()), 1 + int((n - 1) * random())
        differences = [column[one] - column[(one + step) % n] for column in columns]
        sample.append(sum([difference * difference for difference in differences], 0.0))
    low, high = middle(n * (n - 1) // 2, sorted(sample), around)
    return (sqrt(low) + sqrt(high)) / 2
