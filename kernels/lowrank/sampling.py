"""Which terms are drawn, and what they are multiplied by: one text for NumPy and CuPy.

Weights become integers on a common grid, and all that follows is exact, so that every backend draws the same terms from
weights that differ in the last digits. Nothing here waits for a device: no size depends on values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = [
    "DRAWS",
    "ORDER",
    "PILOT",
    "PILOT_DRAWS",
    "PROBES",
    "START",
    "TEST_MATRIX",
    "Random",
    "below",
    "draw",
    "grid_bits",
    "mean_square",
    "on_grid",
    "pilot",
]

# What random words are for: the third word of the counter, so that no two uses share any.
ORDER, START, DRAWS, PILOT, PROBES, TEST_MATRIX = range(6)
PILOT_DRAWS = 128
GRID_BITS = 36  # rounding errors of norms, about 1e-15, seldom show on it, and what it adds to a sum is nothing


class Random(NamedTuple):
    """What an array library has to bring: Philox, and a count of how often each of the integers below a bound occurs.

    `words(count, use)` gives arrays of four random words for the counters (0 … count - 1, 0, use, 0).
    """

    words: Callable[[int, int], tuple[Any, Any, Any, Any]]
    counts: Callable[[Any, int], Any]


def grid_bits(length: int) -> int:
    """Bits of the largest weight: the sum of so many weights stays below 2**61."""
    return min(GRID_BITS, 61 - length.bit_length())


def on_grid(xp: Any, x_norms: Any, y_norms: Any) -> tuple[Any, Any]:
    """The weights of the terms as integers, 0 only for what is zero, and whether all of them are finite.

    The norms are in float64. Scaled by the largest, their products neither overflow nor vanish.
    """
    if not len(x_norms):
        return xp.zeros(0, xp.int64), xp.ones((), bool)
    x_most, y_most = x_norms.max(), y_norms.max()
    finite = xp.isfinite(x_most) & xp.isfinite(y_most)
    x_norms, y_norms = x_norms / _divisor(xp, x_most), y_norms / _divisor(xp, y_most)
    products = x_norms * y_norms
    steps = xp.rint(products / _divisor(xp, products.max()) * 2.0 ** grid_bits(len(x_norms)))
    steps = xp.where(finite, steps, 1.0).astype(xp.int64)
    return xp.where((x_norms > 0) & (y_norms > 0), xp.maximum(steps, 1), 0), finite


def _divisor(xp: Any, most: Any) -> Any:
    return xp.where(xp.isfinite(most) & (most > 0), most, 1.0)


def draw(xp: Any, grid: Any, rank: int, sampling: str, random: Random) -> Any:
    """What each term is multiplied by, 0 where it is not drawn; `rank` is less than the number of terms."""
    return {
        "systematic": _systematic,
        "importance": _importance,
        "uniform": _uniform,
        "topk": _largest,
        "topk_reweighted": _largest,
    }[sampling](xp, grid, rank, random)


def mean_square(xp: Any, norms: Any, grid: Any, sampling: str) -> Any:
    """What the squared norm of one draw with replacement is on average: the sum of ``w**2 / p`` over weights w."""
    if sampling == "uniform":
        return len(norms) * (norms**2).sum()
    return xp.where(grid > 0, norms**2 / xp.maximum(grid, 1), 0.0).sum() * grid.sum()


def _systematic(xp: Any, grid: Any, rank: int, random: Random) -> Any:
    """One starting point, and then steps of one length along the weights, which lie in random order one by one."""
    length = len(grid)
    descending = xp.sort(grid)[::-1]
    totals = xp.cumsum(descending[::-1])[::-1]  # of each term and all smaller ones
    left = rank - xp.arange(length)
    certain = ((left * descending >= totals) & (descending > 0) & (left > 0)).sum()
    total = xp.where(certain < length, totals[xp.minimum(certain, length - 1)], 0)
    left = rank - certain
    sure = (grid * left >= total) & (grid > 0)
    order = _random_order(xp, length, random)
    ends = xp.cumsum(xp.where(sure, 0, grid)[order])
    start = below(total, *(word[0] for word in random.words(1, START)[:2]))
    steps, step = xp.arange(rank), xp.maximum(left, 1)
    points = steps * (total // step) + (start + steps * (total % step)) // step
    drawn = order[xp.minimum(xp.searchsorted(ends, points, side="right"), length - 1)]
    drawn = xp.where((steps < left) & (total > 0), drawn, length)
    picked = random.counts(drawn, length + 1)[:length] > 0
    return xp.where(sure, 1.0, xp.where(picked, total / (step * xp.maximum(grid, 1)), 0.0))


def _random_order(xp: Any, length: int, random: Random) -> Any:
    """The terms by random numbers of 63 bits, the last of which are replaced by the term's own."""
    first, second, *_ = random.words(length, ORDER)
    low = (1 << length.bit_length()) - 1
    return xp.sort((first << 31 | second >> 1) & ~low | xp.arange(length)) & low


def _importance(xp: Any, grid: Any, rank: int, random: Random) -> Any:
    counts = random.counts(_with_replacement(xp, grid, rank, DRAWS, random), len(grid))
    return xp.where(grid > 0, counts * (grid.sum() / (rank * xp.maximum(grid, 1))), 0.0)


def pilot(xp: Any, grid: Any, random: Random) -> Any:
    """The terms that tell how much all of them overlap, drawn in proportion to their weights, with replacement."""
    return _with_replacement(xp, grid, PILOT_DRAWS, PILOT, random)


def _with_replacement(xp: Any, grid: Any, count: int, use: int, random: Random) -> Any:
    ends = xp.cumsum(grid)
    drawn = xp.searchsorted(ends, below(ends[-1], *random.words(count, use)[:2]), side="right")
    return xp.minimum(drawn, len(grid) - 1)  # beyond the last one only where all weights are zero


def _uniform(xp: Any, grid: Any, rank: int, random: Random) -> Any:
    length = len(grid)
    counts = random.counts(below(length, *random.words(rank, DRAWS)[:2]), length)
    return xp.where(grid > 0, counts * (length / rank), 0.0)


def _largest(xp: Any, grid: Any, rank: int, random: Random) -> Any:
    """Of equal weights the first ones: what is sorted is the distance from the largest one, and then the place."""
    length = len(grid)
    places = length.bit_length()
    keys = ((1 << grid_bits(length)) - grid) << places | xp.arange(length)
    drawn = xp.sort(keys)[:rank] & ((1 << places) - 1)
    return xp.where((random.counts(drawn, length) > 0) & (grid > 0), 1.0, 0.0)


def below(bound: Any, first: Any, second: Any) -> Any:
    """A random integer from 0 to `bound` - 1, which is below 2**61: the upper part of a product with 62 random bits."""
    first, second = first >> 1, second >> 1
    high, low = bound >> 31, bound & 0x7FFFFFFF
    return first * high + ((first * low + second * high + (second * low >> 31)) >> 31)
