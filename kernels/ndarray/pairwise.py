"""Independence of two samples from all pairs of rows, in O(n) memory.

With r and s the row sums of the kernel matrices K and L, and a bar for their means,
    trace(K H L H) = sum(K * L) - mean(r) mean(s) - 2/n sum((r - mean(r)) (s - mean(s))).
K and L, being symmetric, are gone through once below the diagonal, a block of columns after the other. Distances of
few features are sums of squared differences; of many they are |x|² + |y|² - 2 x·y by products of matrices, and again by
differences for those pairs in which that cancels.

The median distance is selected as by R. W. Floyd and R. L. Rivest, "Expected time bounds for selection", CACM 18
(1975): a random sample brackets it, and one pass over the pairs counts what lies below and keeps what lies between.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.blas import one_thread
from kernels.compiled_philox import philox4x32
from kernels.jit import jit, n_threads, thread_map
from kernels.vector_math import exp, fma

__all__ = ["hsic", "pair_sums", "pairs_around"]

WIDTH = 256  # columns of a block, whose distances from some rows stay in the cache
WIDE = 24  # features from which products pay
CANCELLED = 1e-3  # of |x|² + |y|²: a product that leaves more has lost three digits at most
SAME = 1e-11  # relative difference of squared distances that may be of rounding alone
THREADED = 500  # rows from which a thread saves more than it costs
KEPT = 1 << 16  # as many pairs are sorted without sampling


@np.errstate(over="ignore", invalid="ignore")
def hsic(x: np.ndarray, y: np.ndarray, sigma_x: float | None, sigma_y: float | None) -> float:
    x, y = _as_rows(x), _as_rows(y)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.nan
    with one_thread():
        return _hsic(x, y, sigma_x, sigma_y)


def _hsic(x: np.ndarray, y: np.ndarray, sigma_x: float | None, sigma_y: float | None) -> float:
    n = len(x)
    shares = _shares(n)
    precisions = [
        _precision(_median_distance(rows, shares) if sigma is None else sigma)
        for rows, sigma in ((x, sigma_x), (y, sigma_y))
    ]
    parts = thread_map(partial(_kernel_sums, x, y, x.mean(axis=0), y.mean(axis=0), *precisions, 0), shares)
    product, r, s = (sum(part[place] for part in parts) for place in range(3))
    r, s = r + 1, s + 1
    between = np.dot(r - r.mean(), s - s.mean())
    return float((2 * product + n - r.mean() * s.mean() - 2 / n * between) / (n - 1) ** 2)


@np.errstate(over="ignore", invalid="ignore")
def pair_sums(
    x: np.ndarray, y: np.ndarray, split: int, sigma_x: float, sigma_y: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """The sum of K * L, and the row sums of K and of L: all of them, or from before a split to after it, and back."""
    precisions = _precision(sigma_x), _precision(sigma_y)
    own = 0 if split else 1  # what is on the diagonal
    with one_thread():
        product, r, s = _kernel_sums(x, y, x.mean(axis=0), y.mean(axis=0), *precisions, split, _blocks(split or len(x)))
    return 2 * product + own * len(x), r + own, s + own


@np.errstate(over="ignore", invalid="ignore")
def pairs_around(rows: np.ndarray, split: int, low: float, high: float) -> tuple[int, int, np.ndarray, int]:
    """What `median.middle` asks about the squared distances: of any two rows, or of those before a split from the
    others."""
    n = len(rows)
    bounds = tuple(bound * (1 + sign * SAME) for bound in (low, high) for sign in (-1, 1))
    room = split * (n - split) if split else n * (n - 1) // 2
    with one_thread():
        below, to_low, to_high, kept = _select(rows, rows.mean(axis=0), bounds, room, split, _blocks(split or n))
    return below, to_low - below, np.sort(kept), to_high - to_low - len(kept)


def _as_rows(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x if x.ndim == 2 else x[:, np.newaxis], np.float64)


def _precision(sigma: float) -> float:
    """The factor of the squared distance, infinite for a kernel that only equal rows have in common."""
    square = sigma * sigma
    return 0.5 / square if square > 0 else np.inf


def _shares(n: int) -> list[np.ndarray]:
    """Blocks of columns for each thread; later ones meet fewer rows, so that threads take them to and fro."""
    threads = n_threads() if n >= THREADED else 1
    blocks = _blocks(n)
    turn = blocks % (2 * threads)
    owner = np.minimum(turn, 2 * threads - 1 - turn)
    return [blocks[owner == thread] for thread in range(threads)]


def _blocks(n: int) -> np.ndarray:
    return np.arange(-(-n // WIDTH))


@jit
def _kernel_sums(
    x: np.ndarray,
    y: np.ndarray,
    x_centre: np.ndarray,
    y_centre: np.ndarray,
    precision_x: float,
    precision_y: float,
    split: int,
    blocks: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Of the pairs in these columns: the sum of K * L, and the row sums of K and of L.

    With a split above 0 the columns are those before it, and the rows those after it.
    """
    n, end = len(x), split or len(x)
    product, r, s = 0.0, np.zeros(n), np.zeros(n)
    height = max(_height(x), _height(y))
    for block in blocks:
        start, stop = block * WIDTH, min((block + 1) * WIDTH, end)
        x_columns, y_columns = _columns(x, x_centre, start, stop), _columns(y, y_centre, start, stop)
        x_squares, y_squares = np.empty((height, stop - start)), np.empty((height, stop - start))
        for top in range(max(start + 1, split), n, height):
            bottom = min(top + height, n)
            _square_distances(x, x_centre, top, bottom, start, x_columns, x_squares)
            _square_distances(y, y_centre, top, bottom, start, y_columns, y_squares)
            for i in range(top, bottom):
                others = slice(start, min(i, stop))
                near_x, near_y = x_squares[i - top], y_squares[i - top]
                sums = _add_kernels(near_x, near_y, precision_x, precision_y, r[others], s[others])
                product += sums[0]
                r[i] += sums[1]
                s[i] += sums[2]
    return product, r, s


@jit(fastmath={"reassoc"})
def _add_kernels(
    x_squares: np.ndarray, y_squares: np.ndarray, precision_x: float, precision_y: float, r: np.ndarray, s: np.ndarray
) -> tuple[float, float, float]:
    """Add the kernels of one row to the sums of the others; return the sums of their products and of themselves."""
    product, own_r, own_s = 0.0, 0.0, 0.0
    for j in range(len(r)):
        k_ij = exp(-precision_x * x_squares[j]) if x_squares[j] > 0 else 1.0
        l_ij = exp(-precision_y * y_squares[j]) if y_squares[j] > 0 else 1.0
        product += k_ij * l_ij
        own_r += k_ij
        own_s += l_ij
        r[j] += k_ij
        s[j] += l_ij
    return product, own_r, own_s


@jit
def _height(x: np.ndarray) -> int:
    """Rows that are taken at once."""
    return 64 if x.shape[1] >= WIDE else 8


@jit
def _columns(x: np.ndarray, centre: np.ndarray, start: int, stop: int) -> np.ndarray:
    rows = x[start:stop] - centre if x.shape[1] >= WIDE else x[start:stop]
    return rows.T.copy()


@jit
def _square_distances(
    x: np.ndarray, centre: np.ndarray, top: int, bottom: int, start: int, columns: np.ndarray, out: np.ndarray
) -> None:
    """Squared distances of the rows from `top` to `bottom` from those that stand in the columns, from `start` on."""
    if x.shape[1] < WIDE:
        for i in range(top, bottom, 8):
            _by_differences(x[i : min(i + 8, bottom)], columns, out[i - top : i - top + 8])
    else:
        rows = x[top:bottom] - centre
        np.dot(rows, columns, out[: len(rows)])
        column_squares = np.zeros(columns.shape[1])
        for f in range(len(columns)):
            for j in range(columns.shape[1]):
                column_squares[j] = _add_square(columns[f, j], column_squares[j])
        for i in range(len(rows)):
            if _from_products(out[i], np.dot(rows[i], rows[i]), column_squares):
                _again_by_differences(x, top + i, start, np.dot(rows[i], rows[i]), column_squares, out[i])


@jit
def _from_products(products: np.ndarray, row_square: float, column_squares: np.ndarray) -> int:
    """Make squared distances of products, in place; return how many have lost digits by that."""
    lost = 0
    for j in range(len(products)):
        squares = row_square + column_squares[j]
        products[j] = fma(-2.0, products[j], squares)
        lost += not products[j] >= CANCELLED * squares
    return lost


@jit
def _again_by_differences(
    x: np.ndarray, i: int, start: int, row_square: float, column_squares: np.ndarray, out: np.ndarray
) -> None:
    for j in range(len(out)):
        if not out[j] >= CANCELLED * (row_square + column_squares[j]):
            out[j] = _square_distance(x[i], x[start + j])


@jit
def _square_distance(a: np.ndarray, b: np.ndarray) -> float:
    square = 0.0
    for f in range(len(a)):
        square = _add_square(a[f] - b[f], square)
    return square


@jit
def _by_differences(rows: np.ndarray, columns: np.ndarray, out: np.ndarray) -> None:
    """For up to eight rows; two rows and four features share what they load."""
    features, width = columns.shape
    padded = np.zeros((8, features))
    padded[: len(rows)] = rows
    out[:] = 0.0
    rest = features - features % 4
    for i in range(0, 8, 2):
        p, q, p_out, q_out = padded[i], padded[i + 1], out[i], out[i + 1]
        for f in range(0, rest, 4):
            for j in range(width):
                a, b, c, d = columns[f, j], columns[f + 1, j], columns[f + 2, j], columns[f + 3, j]
                part = _add_square(p[f + 1] - b, _add_square(p[f] - a, p_out[j]))
                p_out[j] = _add_square(p[f + 3] - d, _add_square(p[f + 2] - c, part))
                part = _add_square(q[f + 1] - b, _add_square(q[f] - a, q_out[j]))
                q_out[j] = _add_square(q[f + 3] - d, _add_square(q[f + 2] - c, part))
        for f in range(rest, features):
            for j in range(width):
                p_out[j] = _add_square(p[f] - columns[f, j], p_out[j])
                q_out[j] = _add_square(q[f] - columns[f, j], q_out[j])


@jit
def _add_square(difference: float, total: float) -> float:
    return fma(difference, difference, total)


def _median_distance(rows: np.ndarray, shares: list[np.ndarray]) -> float:
    """The median of the distances of any two rows."""
    pairs = len(rows) * (len(rows) - 1) // 2
    ranks = np.array([(pairs - 1) // 2, pairs // 2])
    attempt = 0
    while True:
        low, high, room = _bracket(rows, pairs, attempt)
        slack = SAME if rows.shape[1] >= WIDE else 0.0
        bounds = tuple(bound * (1 + sign * slack) for bound in (low, high) for sign in (-1, 1))
        parts = thread_map(partial(_select, rows, rows.mean(axis=0), bounds, room, 0), shares)
        under, to_low, to_high = (sum(part[place] for part in parts) for place in range(3))
        if under <= ranks[0] and ranks[1] < to_high and all(len(part[3]) <= room for part in parts):
            squares = np.concatenate([[low], *(part[3] for part in parts), [high]])
            places = np.clip(ranks - to_low + 1, 0, len(squares) - 1)
            return float(np.sqrt(np.partition(squares, places)[places]).mean())
        attempt += 1


def _bracket(rows: np.ndarray, pairs: int, attempt: int) -> tuple[float, float, int]:
    """Two squared distances with the median between them, very likely, and room for how many pairs lie between."""
    size = int(pairs ** (2 / 3))
    margin = 2.0**attempt * 3 / size**0.5  # six standard deviations of a median's rank
    if pairs <= KEPT or margin > 0.4:
        return -1.0, np.inf, pairs
    sample = _sampled_squares(rows, size, attempt)
    places = int((0.5 - margin) * size), int((0.5 + margin) * size)
    low, high = np.partition(sample, places)[[*places]]
    return low, high, int(4 * margin * pairs)


@jit
def _sampled_squares(rows: np.ndarray, size: int, attempt: int) -> np.ndarray:
    """Squared distances of random pairs, rounded as by `_by_differences`, so that ties are found."""
    n = len(rows)
    squares = np.empty(size)
    for index in range(size):
        first, second, _, _ = philox4x32(index, attempt, 0, 0, 0, 0)
        i, j = first * n >> 32, second * (n - 1) >> 32
        j += j >= i
        squares[index] = _square_distance(rows[i], rows[j])
    return squares


@jit
def _select(
    rows: np.ndarray,
    centre: np.ndarray,
    bounds: tuple[float, float, float, float],
    room: int,
    split: int,
    blocks: np.ndarray,
) -> tuple[int, int, int, np.ndarray]:
    """Of the squared distances in these columns: how many are below, up to the low bound, up to the high one; and
    those between the two."""
    n, end = len(rows), split or len(rows)
    height = _height(rows)
    below_low, up_to_low, below_high, up_to_high = bounds
    kept = np.empty(room + 1 + WIDTH)
    under, to_low, to_high, count = 0, 0, 0, 0
    for block in blocks:
        start, stop = block * WIDTH, min((block + 1) * WIDTH, end)
        columns = _columns(rows, centre, start, stop)
        squares = np.empty((height, stop - start))
        for top in range(max(start + 1, split), n, height):
            bottom = min(top + height, n)
            _square_distances(rows, centre, top, bottom, start, columns, squares)
            for i in range(top, bottom):
                near = squares[i - top, : min(i, stop) - start]
                for j in range(len(near)):
                    under += near[j] < below_low
                    to_low += near[j] <= up_to_low
                    to_high += near[j] <= up_to_high
                for square in near:
                    kept[count] = square
                    count += up_to_low < square < below_high
                count = min(count, room + 1)
    return under, to_low, to_high, kept[:count]
