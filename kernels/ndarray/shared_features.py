"""Gaussian kernels of sparse rows: rank one, but where two rows share a feature.

Rows x and y without a feature in common have the distance |x|² + |y|², so that the kernel is the product of exp(-c|x|²)
and exp(-c|y|²). The others are found feature by feature, as in the product of sparse matrices (F. G. Gustavson, "Two
fast algorithms for sparse matrices", ACM TOMS 4 (1978), 250-269): all features of a row are gone through, and all later
rows that store the feature. Sums over pairs are sums of products plus a correction for each pair that was found; none
is stored, so that the memory is O(stored entries + rows).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import sparse

from kernels.jit import jit, thread_map
from kernels.ndarray.stored_rows import stable_order

__all__ = ["hsic"]

INFINITY_BITS = 0x7FF << 52
LITTLE = 1 / 64


class Rows(NamedTuple):
    """A sparse matrix row by row, in which each entry knows the later rows that store its column."""

    squares: np.ndarray  # the squared length of each row
    starts: np.ndarray  # of each row's entries
    columns: np.ndarray
    values: np.ndarray
    first: np.ndarray  # for each entry, where the later ones of its column begin among `lower`, and where they end
    last: np.ndarray
    lower: np.ndarray  # rows, column by column
    lower_values: np.ndarray


def hsic(x: sparse.SparseArray, y: sparse.SparseArray, sigma_x: float | None, sigma_y: float | None) -> float:
    """With K = uuᵀ + A and L = wwᵀ + B the four traces of H(uuᵀ + A)H(wwᵀ + B) are taken apart."""
    x, y, n = x.asformat("coo"), y.asformat("coo"), x.shape[0]
    if not (_is_finite(x) and _is_finite(y)):
        return math.nan
    x_rows, y_rows = _rows(x), _rows(y)
    x_factor, y_factor = thread_map(_factor, [(x_rows, sigma_x), (y_rows, sigma_y)])
    u, w = gaussians(x_rows.squares, x_factor), gaussians(y_rows.squares, y_factor)
    u_centred, w_centred = u - u.mean(), w - w.mean()
    a, b, common = corrections(x_rows, y_rows, x_factor, y_factor, u, w, u_centred, w_centred)
    common += (u_centred @ w_centred) ** 2 - 2 / n * (a @ b) + a.sum() * b.sum() / n**2
    return float(common / (n - 1) ** 2)


def _is_finite(x: sparse.COO) -> bool:
    return bool(np.isfinite(x.data).all() and (np.isfinite(x.fill_value) or x.nnz == x.size))


def _rows(x: sparse.COO) -> Rows:
    """Distances stay the same when the fill value is taken from all items."""
    n, values = len(x), x.data.astype(np.float64)
    if x.nnz < x.size:
        values -= float(x.fill_value)
    kept = values != 0
    values, rows = values[kept], x.coords[0, kept].astype(np.int64)
    columns = x.coords[1, kept].astype(np.int64) if x.ndim == 2 else np.zeros(len(rows), np.int64)
    order = stable_order(columns)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    last = np.empty(len(order), np.int64)
    last[order] = np.searchsorted(columns[order], columns[order], side="right")
    squares = np.bincount(rows, values * values, n)
    starts = np.searchsorted(rows, np.arange(n + 1))
    return Rows(squares, starts, columns, values, places + 1, last, rows[order], values[order])


def _factor(rows_and_sigma: tuple[Rows, float | None]) -> float:
    """What squared distances are multiplied by; -inf for the limit of a narrow kernel."""
    rows, sigma = rows_and_sigma
    sigma = _median_distance(rows) if sigma is None else sigma
    return -0.5 / sigma / sigma if sigma > 0 else -math.inf


def _median_distance(rows: Rows) -> float:
    """The mean of the two middle distances, each of which is found by bisection, in several ways at once.

    What is bisected are the numbers that float64 can hold, which are in the order of their bits; each count also moves
    the bounds to numbers that occur.
    """
    n = len(rows.squares)
    pairs = n * (n - 1) // 2
    ascending = np.sort(rows.squares)
    found = int((rows.last - rows.first).sum())
    ways = min(max(found // n, 2), 64)  # the thresholds take about as much time as the pairs that share a feature
    ranks = (pairs + 1) // 2, pairs // 2 + 1
    bounds = [[0, INFINITY_BITS], [0, INFINITY_BITS]]
    for low_and_high in bounds:
        while (low := low_and_high[0]) < (high := low_and_high[1]):
            bits = np.array([low + (high - low) * i // ways for i in range(1, ways)], np.int64)
            counts, below, above = count_at_most(rows, ascending, bits.view(np.float64))
            for rank, each in zip(ranks, bounds, strict=True):
                reached = int(np.searchsorted(counts, rank))
                if reached < len(bits):
                    each[1] = min(each[1], int(below[reached].view(np.int64)))
                if reached > 0:
                    each[0] = max(each[0], int(above[reached - 1].view(np.int64)))
    return sum(math.sqrt(np.int64(low).view(np.float64)) for low, _ in bounds) / 2


@jit
def count_at_most(rows, ascending, thresholds):
    """For each of ascending thresholds the number of squared distances that do not exceed it, and bounds of those next
    to it: all distances below are at most the first, and all above at least the second.
    """
    n, last = len(ascending), len(thresholds)
    counts, below, above = np.zeros(last + 1, np.int64), np.zeros(last + 1), np.full(last, np.inf)
    shared, seen, sums = np.empty(n, np.int64), np.full(n, -1), np.empty((n, 3))
    for i in range(n):
        for j in shared[: meet(rows, i, shared, seen, sums)]:
            square = sums[j, 0]
            place = first_not_below(thresholds, square)
            counts[place] += 1
            below[place] = max(below[place], square)
            if place > 0:
                above[place - 1] = min(above[place - 1], square)
            counts[first_not_below(thresholds, rows.squares[i] + rows.squares[j])] -= 1
    for t in range(1, last):
        counts[t] += counts[t - 1]
        below[t] = max(below[t], below[t - 1])
        above[last - 1 - t] = min(above[last - 1 - t], above[last - t])
    for t in range(last):
        i, j = 0, n - 1
        while i < j:
            square = ascending[i] + ascending[j]
            if square <= thresholds[t]:
                counts[t] += j - i
                i += 1
                below[t] = max(below[t], square)
            else:
                j -= 1
                above[t] = min(above[t], square)
    return counts[:last], below[:last], above


@jit
def first_not_below(thresholds, value):
    """Where `value` would be inserted: in the late counts nearly always at one of the ends."""
    low, high = 0, len(thresholds)
    if value <= thresholds[0]:
        return low
    if value > thresholds[high - 1]:
        return high
    while low < high:
        middle = (low + high) // 2
        if thresholds[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def corrections(x, y, x_factor, y_factor, u, w, u_centred, w_centred):
    """The row sums of A and B, and sum(A * B) + wAw + uBu for the centred vectors."""
    n = len(u)
    x_shared, x_seen, x_sums = np.empty(n, np.int64), np.full(n, -1), np.empty((n, 3))
    y_shared, y_seen, y_sums = np.empty(n, np.int64), np.full(n, -1), np.empty((n, 3))
    a, b = 1 - u * u, 1 - w * w  # the diagonals, where the kernels are 1
    total = (a * b + a * w_centred * w_centred + b * u_centred * u_centred).sum()
    for i in range(n):
        n_x, n_y = meet(x, i, x_shared, x_seen, x_sums), meet(y, i, y_shared, y_seen, y_sums)
        for j in y_shared[:n_y]:
            extra = gaussian(y_sums[j, 0], y_factor) - w[i] * w[j]
            y_sums[j, 0] = extra
            b[i] += extra
            b[j] += extra
            total += 2 * extra * u_centred[i] * u_centred[j]
        for j in x_shared[:n_x]:
            extra = gaussian(x_sums[j, 0], x_factor) - u[i] * u[j]
            a[i] += extra
            a[j] += extra
            total += 2 * extra * (w_centred[i] * w_centred[j] + (y_sums[j, 0] if y_seen[j] == i else 0.0))
    return a, b, total


@jit
def meet(rows, i, shared, seen, sums):
    """List in `shared` the later rows that share a feature with row i, and return their number; ``sums[j, 0]`` becomes
    the squared distance of row j. Of features that only one of both has, the squares are what is left of all of its
    squares, or are summed up where too few digits would be left.
    """
    found = 0
    for entry in range(rows.starts[i], rows.starts[i + 1]):
        value = rows.values[entry]
        for place in range(rows.first[entry], rows.last[entry]):
            j, other = rows.lower[place], rows.lower_values[place]
            if seen[j] != i:
                seen[j] = i
                shared[found] = j
                found += 1
                sums[j, 0] = sums[j, 1] = sums[j, 2] = 0.0
            sums[j, 0] += (value - other) * (value - other)
            sums[j, 1] += value * value + other * other
            sums[j, 2] += 1
    for j in shared[:found]:
        squares = rows.squares[i] + rows.squares[j]
        rest = squares - sums[j, 1]
        alike = rows.starts[i + 1] - rows.starts[i] == sums[j, 2] == rows.starts[j + 1] - rows.starts[j]
        if not alike:
            sums[j, 0] += rest if rest > LITTLE * squares else unshared(rows, i, j)
    return found


@jit
def unshared(rows, i, j):
    """The sum of the squares of what only one of two rows stores."""
    total, entry, other = 0.0, rows.starts[i], rows.starts[j]
    while entry < rows.starts[i + 1] or other < rows.starts[j + 1]:
        ahead = other == rows.starts[j + 1] or (
            entry < rows.starts[i + 1] and rows.columns[entry] < rows.columns[other]
        )
        if ahead:
            total += rows.values[entry] ** 2
            entry += 1
        else:
            if entry < rows.starts[i + 1] and rows.columns[entry] == rows.columns[other]:
                entry += 1
            else:
                total += rows.values[other] ** 2
            other += 1
    return total


@jit
def gaussian(square, factor):
    return 1.0 if square == 0 else math.exp(factor * square)


@jit
def gaussians(squares, factor):
    result = np.empty(len(squares))
    for i in range(len(squares)):
        result[i] = gaussian(squares[i], factor)
    return result
