"""`kernels.lowrank.sampling` compiled: the same terms for the same key, in few passes over the weights.

What is sorted there to be searched is walked through here: points and weights in one order meet each other. NumPy
sorts, since its sort is vectorised. Terms that are taken for certain are among the `rank` largest, and seldom any.
"""

from __future__ import annotations

import numpy as np

from kernels.compiled_philox import philox4x32
from kernels.jit import jit
from kernels.lowrank import sampling
from kernels.lowrank.sampling import DRAWS, ORDER, PILOT, PILOT_DRAWS, START, grid_bits
from kernels.philox import MASK
from kernels.vector_math import maximum

__all__ = ["draw", "on_grid", "pilot"]

_below = jit(sampling.below)


def on_grid(x_norms: np.ndarray, y_norms: np.ndarray) -> tuple[np.ndarray, bool]:
    """The weights of the terms as integers, and whether all of them are finite."""
    grid = np.empty(len(x_norms), np.int64)
    return grid, _fill_grid(x_norms, y_norms, 2.0 ** grid_bits(len(grid)), grid)


def draw(grid: np.ndarray, rank: int, method: str, key: int) -> tuple[np.ndarray, np.ndarray]:
    """The terms drawn, ascending, and what each of them is multiplied by; `rank` is less than the number of terms."""
    if method == "systematic":
        return _systematic(grid, rank, key)
    if method == "importance":
        return _importance(grid, rank, key)
    if method == "uniform":
        return _uniform(grid, rank, key)
    return _largest(grid, rank)


def pilot(grid: np.ndarray, key: int) -> np.ndarray:
    """The terms that tell how much all of them overlap, in the order in which they are drawn."""
    ends = np.cumsum(grid)
    drawn = np.searchsorted(ends, _points(PILOT_DRAWS, int(ends[-1]), PILOT, key), side="right")
    return np.minimum(drawn, len(grid) - 1)


def _systematic(grid: np.ndarray, rank: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    certain, total = _certain(grid, rank)
    left = rank - certain
    order = np.empty(len(grid), np.int64)
    _fill_order_keys(key & MASK, key >> 32, order)
    order.sort()
    taken = np.zeros(len(grid), np.bool_)
    _walk_in_order(order, grid, left, total, int(_points(1, total, START, key)[0]), taken)
    indices = np.flatnonzero(taken)
    weights = grid[indices]
    return indices, np.where(weights * left >= total, 1.0, total / (max(left, 1) * weights))


def _certain(grid: np.ndarray, rank: int) -> tuple[int, int]:
    """How many terms are taken for certain, and the sum of the other weights."""
    total = int(grid.sum())
    if rank * int(grid.max()) < total:
        return 0, total
    largest = np.partition(grid, len(grid) - rank)[-rank:]
    largest.sort()
    return _count_certain(largest, total)


def _importance(grid: np.ndarray, rank: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    total = int(grid.sum())
    points = _points(rank, total, DRAWS, key)
    points.sort()
    counts = np.zeros(len(grid), np.int64)
    _walk_along(grid, points, counts)
    indices = np.flatnonzero(counts) if total else np.empty(0, np.int64)
    return indices, counts[indices] * (total / (rank * grid[indices]))


def _uniform(grid: np.ndarray, rank: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(_points(rank, len(grid), DRAWS, key), minlength=len(grid))
    indices = np.flatnonzero((counts > 0) & (grid > 0))
    return indices, counts[indices] * (len(grid) / rank)


def _largest(grid: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    places = len(grid).bit_length()
    keys = np.empty(len(grid), np.int64)
    _fill_rank_keys(grid, 1 << grid_bits(len(grid)), places, keys)
    keys.partition(rank - 1)
    drawn = np.sort(keys[:rank] & ((1 << places) - 1))
    indices = drawn[grid[drawn] > 0]
    return indices, np.ones(len(indices))


def _points(count: int, bound: int, use: int, key: int) -> np.ndarray:
    """Random integers below a bound."""
    points = np.empty(count, np.int64)
    _fill_points(bound, use, key & MASK, key >> 32, points)
    return points


@jit
def _fill_grid(x_norms: np.ndarray, y_norms: np.ndarray, steps: float, grid: np.ndarray) -> bool:
    x_most, y_most = _greatest(x_norms), _greatest(y_norms)
    finite = x_most < np.inf and y_most < np.inf
    x_unit, y_unit = _divisor(x_most), _divisor(y_most)
    products = np.empty(len(grid))
    for i in range(len(grid)):
        products[i] = (x_norms[i] / x_unit) * (y_norms[i] / y_unit)
    unit = _divisor(_greatest(products))
    for i in range(len(grid)):
        step = max(np.int64(np.rint(products[i] / unit * steps)), 1) if finite else 1
        grid[i] = step if x_norms[i] > 0 and y_norms[i] > 0 else 0
    return finite


@jit
def _greatest(numbers: np.ndarray) -> float:
    """NaN if one of them is; 0 without any."""
    result = 0.0
    for i in range(len(numbers)):
        result = maximum(result, numbers[i])
    return result


@jit
def _divisor(most: float) -> float:
    return most if 0 < most < np.inf else 1.0


@jit
def _fill_points(bound: int, use: int, k0: int, k1: int, points: np.ndarray) -> None:
    for i in range(len(points)):
        first, second, _, _ = philox4x32(i, 0, use, 0, k0, k1)
        points[i] = _below(bound, first, second)


@jit
def _fill_order_keys(k0: int, k1: int, keys: np.ndarray) -> None:
    """Random numbers of 63 bits, the last of which are replaced by the term's own."""
    low = _low_bits(len(keys))
    for i in range(len(keys)):
        first, second, _, _ = philox4x32(i, 0, ORDER, 0, k0, k1)
        keys[i] = (first << 31 | second >> 1) & ~low | i


@jit
def _low_bits(length: int) -> int:
    """Ones for the bits that a length takes."""
    low = 0
    while low < length:
        low = 2 * low + 1
    return low


@jit
def _count_certain(ascending: np.ndarray, total: int) -> tuple[int, int]:
    count = len(ascending)
    while count and ascending[count - 1] and count * ascending[count - 1] >= total:
        total -= ascending[count - 1]
        count -= 1
    return len(ascending) - count, total


@jit
def _walk_in_order(order: np.ndarray, grid: np.ndarray, left: int, total: int, start: int, taken: np.ndarray) -> None:
    """Take the terms that are certain, and of the others, as they come, those that the equidistant points meet."""
    low = _low_bits(len(grid))
    quotient, remainder = total // max(left, 1), total % max(left, 1)
    end, drawn, point = 0, 0, start // max(left, 1)
    for place in range(len(order)):
        term = order[place] & low
        weight = grid[term]
        if weight > 0 and weight * left >= total:
            taken[term] = True
            continue
        end += weight
        if point < end and drawn < left:
            taken[term] = True
            drawn += 1
            point = drawn * quotient + (start + drawn * remainder) // left


@jit
def _walk_along(grid: np.ndarray, points: np.ndarray, counts: np.ndarray) -> None:
    term, end = 0, grid[0]
    for i in range(len(points)):
        while points[i] >= end and term + 1 < len(grid):
            term += 1
            end += grid[term]
        counts[term] += 1


@jit
def _fill_rank_keys(grid: np.ndarray, most: int, places: int, keys: np.ndarray) -> None:
    """Ascending from the largest weight on, and for equal ones from the first on."""
    for i in range(len(keys)):
        keys[i] = (most - grid[i]) << places | i
