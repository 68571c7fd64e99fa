"""The Hilbert-Schmidt independence criterion in NumPy, in tiles of the kernels on and above the diagonal.

Squared distances are products of matrices, unless the rows lie so far apart that too many digits of them would cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations_with_replacement, product

import numpy as np

from kernels.ndarray.median import middle, sample_size

__all__ = ["hsic", "pair_sums", "pairs_around"]

Distances = Callable[[slice, slice], np.ndarray]

TILE = 160  # rows and columns: both kernels and what they are computed from fit the second-level cache
FAR = 1e4  # with rows so many squared widths from the mean, products lose 12 of the digits of an exponent, and no more
FEW = 256  # rows whose distances are all kept
SAME = 1e-11  # relative difference of squared distances that may be of rounding alone


@np.errstate(all="ignore")
def hsic(x: np.ndarray, y: np.ndarray, sigma_x: float | None, sigma_y: float | None) -> float:
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    n = len(x)
    total, x_sums, y_sums = pair_sums(x, y, 0, sigma_x, sigma_y)
    total += x_sums.sum() * y_sums.sum() / n**2 - 2 / n * (x_sums @ y_sums)
    return float(total) / (n - 1) ** 2


@np.errstate(all="ignore")
def pair_sums(
    x: np.ndarray, y: np.ndarray, split: int, sigma_x: float | None, sigma_y: float | None
) -> tuple[float, np.ndarray, np.ndarray]:
    """The sum of K * L, and the row sums of K and of L: all of them, or from before a split to after it, and back."""
    n = len(x)
    of_x, of_y = _kernel(x, sigma_x), _kernel(y, sigma_y)
    x_sums, y_sums, total = np.zeros(n), np.zeros(n), 0.0
    for rows, columns in _tiles(n, split):
        in_x, in_y = of_x(rows, columns), of_y(rows, columns)
        total += np.einsum("ij,ij", in_x, in_y) * (1 if rows is columns else 2)
        for sums, tile in ((x_sums, in_x), (y_sums, in_y)):
            sums[rows] += tile.sum(axis=1)
            if rows is not columns:
                sums[columns] += tile.sum(axis=0)
    return total, x_sums, y_sums


@np.errstate(all="ignore")
def pairs_around(rows: np.ndarray, split: int, low: float, high: float) -> tuple[int, int, np.ndarray, int]:
    """What `median.middle` asks about the squared distances: of any two rows, or of those before a split from the
    others."""
    rows, squares = _centred(rows)
    distances = _by_products(rows, squares) if squares.max() <= FAR * low else partial(_differences, rows)
    return _around(distances, _tiles(len(rows), split), low, high)


def _tiles(n: int, split: int = 0) -> Iterator[tuple[slice, slice]]:
    """On and above the diagonal, or those that are before a split one way and after it the other."""
    if split:
        return product(_cuts(0, split), _cuts(split, n))
    return combinations_with_replacement(_cuts(0, n), 2)


def _cuts(first: int, last: int) -> list[slice]:
    return [slice(start, min(start + TILE, last)) for start in range(first, last, TILE)]


def _kernel(x: np.ndarray, sigma: float | None) -> Distances:
    """What computes a tile of the Gaussian kernel."""
    x, squares = _centred(x)
    distances = _by_products(x, squares)
    width = _median(x, distances) if sigma is None else sigma
    if squares.max() > FAR * width**2:
        distances = partial(_differences, x)
        width = _median(x, distances) if sigma is None else sigma
    return partial(_gaussian, distances, width)


def _centred(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows without their mean, and the squares of their lengths."""
    x = x.reshape(len(x), -1).astype(float)
    x -= x.mean(axis=0)
    return x, np.einsum("ij,ij->i", x, x)


def _by_products(x: np.ndarray, squares: np.ndarray) -> Distances:
    ones = np.ones(len(x))
    return partial(_products, np.column_stack([-2 * x, squares, ones]), np.column_stack([x, ones, squares]))


def _products(left: np.ndarray, right: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    squares = left[rows] @ right[columns].T
    return np.maximum(squares, 0, out=squares)


def _differences(x: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    squares = np.zeros((rows.stop - rows.start, columns.stop - columns.start))
    for feature in x.T:
        difference = np.subtract.outer(feature[rows], feature[columns])
        difference *= difference
        squares += difference
    return squares


def _gaussian(distances: Distances, width: float, rows: slice, columns: slice) -> np.ndarray:
    squares = distances(rows, columns)
    factor = -0.5 / width / width if width else -np.inf
    if factor == -np.inf:
        return (squares == 0).astype(float)
    squares *= factor
    return np.exp(squares, out=squares)


def _median(x: np.ndarray, distances: Distances) -> float:
    """The median of the distances between two different rows."""
    n = len(x)
    count = n * (n - 1) // 2
    if n <= FEW:
        squares = distances(slice(0, n), slice(0, n))
        return float(np.median(np.sqrt(squares[~np.tri(n, dtype=bool)])))
    rng = np.random.default_rng(0)
    one = rng.integers(0, n, sample_size(count))
    other = (one + rng.integers(1, n, len(one))) % n
    sample = np.sort(((x[one] - x[other]) ** 2).sum(axis=1))
    return float(np.mean(np.sqrt(middle(count, sample, lambda low, high: _around(distances, _tiles(n), low, high)))))


def _around(
    distances: Distances, tiles: Iterator[tuple[slice, slice]], low: float, high: float
) -> tuple[int, int, np.ndarray, int]:
    """What `middle` asks about the squared distances."""
    below = at_low = at_high = 0
    kept = []
    for rows, columns in tiles:
        squares = distances(rows, columns)
        if rows is columns:
            squares = squares[~np.tri(len(squares), dtype=bool)]
        near = squares >= low * (1 - SAME)
        below += int(squares.size - np.count_nonzero(near))
        near &= squares <= high * (1 + SAME)
        squares = squares[near]
        above_low, below_high = squares > low * (1 + SAME), squares < high * (1 - SAME)
        at_low += int(squares.size - np.count_nonzero(above_low))
        at_high += int(squares.size - np.count_nonzero(below_high))
        kept.append(squares[above_low & below_high])
    return below, at_low, np.sort(np.concatenate(kept)), at_high
