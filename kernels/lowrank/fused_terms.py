"""The terms of a product: their norms in one reading of memory, and the columns and rows that make up some of them.

Squares are summed up in float64: of rows along the memory, of columns four rows at a time into as many sums as stay in
cache. Where squares of float64 over- or underflow, rows are read again, times a power of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kernels.blas import one_thread
from kernels.jit import jit, n_threads, parts_of, thread_map
from kernels.memory import prefetch

__all__ = ["column_norms", "columns", "norms", "product", "row_norms", "rows"]

Task: TypeAlias = Callable[[], None]

WORTH_A_THREAD = 1 << 19  # items that take longer to read than a thread to start
WIDE = 256  # Fewer columns a thread would be fetched from far apart.
SUMS = 2048  # of columns, in the first-level cache
BLOCK = 1 << 18  # items of chosen columns and rows, in the second-level cache
FLAT = 4  # A product of fewer terms than so many times m n / (m + n) would be felt beside adding it up.
AHEAD = 4  # rows, from which what is picked is fetched: no processor foresees the places
COPY = 1 << 15  # items that are put in order at once, in the second-level cache
SAFE = 2.0**-960, 2.0**960  # sums of squares that have lost nothing to underflow, nor overflowed
SCALE = 2.0**600  # brings the square of what is outside of these, or of its inverse, inside


def column_norms(x: np.ndarray) -> np.ndarray:
    """float64, shape (l,), of an array of shape (m, l)."""
    return row_norms(x.T)


def row_norms(y: np.ndarray) -> np.ndarray:
    """float64, shape (l,), of an array of shape (l, n)."""
    return _row_norms([y])[0]


def norms(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the columns of x and of the rows of y, which are read once where both are the same."""
    of_rows, *others = _row_norms([y] if _are_transposes(x, y) else [y, x.T])
    return (others or [of_rows])[0], of_rows


def _are_transposes(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether x is a view of y, transposed."""
    return x.ctypes.data == y.ctypes.data and x.T.shape == y.shape and x.T.strides == y.strides


def _row_norms(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Of each array, all of them on threads together."""
    return [_rescued(array, squares) for array, squares in zip(arrays, _squares(arrays), strict=True)]


@np.errstate(all="ignore")
def _rescued(y: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """The roots of the sums of squares, those of which that are too small or too large being taken anew."""
    norms = np.sqrt(squares)
    if y.dtype.char in "dD":  # float64 has room for all squares of float32
        for scale, lost in ((SCALE, squares < SAFE[0]), (1 / SCALE, squares > SAFE[1])):
            if lost.any():
                norms[lost] = np.sqrt(_squares([y[lost] * scale])[0]) / scale
    return norms


def _squares(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Sums of squares of the rows of each array."""
    sums = [np.zeros(len(array)) for array in arrays]
    parts = _threads_for(sum(array.size for array in arrays))
    _run(
        partial(_add_along if _is_along(y) else _add_down, y[start:stop], result[start:stop])
        for y, result in zip(arrays, sums, strict=True)
        for start, stop in parts_of(len(y), parts if _is_along(y) else max(1, min(parts, len(y) // WIDE)))
    )
    return sums


def _threads_for(size: int) -> int:
    return max(1, min(n_threads(), size // WORTH_A_THREAD))


def _run(tasks: Iterator[Task]) -> None:
    thread_map(lambda task: task(), tasks)


def _is_along(y: np.ndarray) -> bool:
    """Whether rows, not columns, lie together in memory."""
    return abs(y.strides[1]) <= abs(y.strides[0]) or y.flags.c_contiguous


def _add_along(y: np.ndarray, sums: np.ndarray) -> None:
    for first, last, run, step in _runs(y):
        real = _as_real(run)
        factor = len(real) // len(run)
        _add_rows(real, factor * step, factor * y.shape[1], sums[first:last])


def _add_down(y: np.ndarray, sums: np.ndarray) -> None:
    """The same for an array whose columns lie together: sums of columns of its transpose."""
    for first, last, run, step in _runs(y.T):
        real = _as_real(run)
        factor = len(real) // len(run)
        parts = np.zeros((len(sums), factor))
        _add_columns(real, factor * step, last - first, parts.reshape(-1))
        sums += parts.sum(axis=1)


def _as_real(run: np.ndarray) -> np.ndarray:
    return run.view(run.real.dtype)


def _runs(x: np.ndarray) -> Iterator[tuple[int, int, np.ndarray, int]]:
    """All rows, as `(first, last, run, step)`: one-dimensional, read-only arrays, in which rows begin at equal steps.

    The array's own memory where rows lie in it so, else copies of a few rows.
    """
    length, width = x.shape
    if not x.size:
        return
    step, rest = divmod(x.strides[0], x.itemsize) if length > 1 else (width, 0)
    if x.flags.aligned and (width == 1 or x.strides[1] == x.itemsize) and step >= 0 and not rest:
        yield 0, length, _run_from(x, (length - 1) * step + width), step
        return
    rows = max(1, COPY // width)
    for first in range(0, length, rows):
        block = np.array(x[first : first + rows], order="C")
        yield first, first + len(block), _run_from(block, block.size), width


def _run_from(x: np.ndarray, count: int) -> np.ndarray:
    if not x.flags.c_contiguous:
        return as_strided(x, (count,), (x.itemsize,), writeable=False)
    run = x.reshape(-1)
    run.flags.writeable = False
    return run


@jit(fastmath={"reassoc", "contract"})
def _add_rows(x: np.ndarray, step: int, width: int, sums: np.ndarray) -> None:
    """Four rows at once, since memory is read sooner in several places than in one."""
    fours = len(sums) // 4 * 4
    for row in range(0, fours, 4):
        at = row * step
        p, q = x[at : at + width], x[at + step : at + step + width]
        at += 2 * step
        r, s = x[at : at + width], x[at + step : at + step + width]
        first = second = third = fourth = 0.0
        for i in range(width):
            a, b, c, d = np.float64(p[i]), np.float64(q[i]), np.float64(r[i]), np.float64(s[i])
            first += a * a
            second += b * b
            third += c * c
            fourth += d * d
        sums[row] += first
        sums[row + 1] += second
        sums[row + 2] += third
        sums[row + 3] += fourth
    for row in range(fours, len(sums)):
        p = x[row * step : row * step + width]
        total = 0.0
        for i in range(width):
            total += np.float64(p[i]) ** 2
        sums[row] += total


@jit
def _add_columns(x: np.ndarray, step: int, rows: int, sums: np.ndarray) -> None:
    for start in range(0, len(sums), SUMS):
        own = sums[start : start + SUMS]
        fours = rows // 4 * 4
        for row in range(0, fours, 4):
            at = row * step + start
            p, q = x[at : at + len(own)], x[at + step : at + step + len(own)]
            at += 2 * step
            r, s = x[at : at + len(own)], x[at + step : at + step + len(own)]
            for i in range(len(own)):
                a, b, c, d = np.float64(p[i]), np.float64(q[i]), np.float64(r[i]), np.float64(s[i])
                own[i] += (a * a + b * b) + (c * c + d * d)
        for row in range(fours, rows):
            at = row * step + start
            p = x[at : at + len(own)]
            for i in range(len(own)):
                own[i] += np.float64(p[i]) ** 2


def columns(x: np.ndarray, indices: np.ndarray, factors: np.ndarray | None = None) -> np.ndarray:
    """``x[:, indices] * factors``, which lies in memory as x does."""
    result, tasks = _gathering(x, indices, factors, _threads_for(len(x) * len(indices)))
    _run(tasks)
    return result


def rows(y: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """``y[indices]``, which lies in memory as y does."""
    return columns(y.T, indices).T


def product(x: np.ndarray, y: np.ndarray, indices: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """``x[:, indices] * factors @ y[indices]``.

    Where the result is small beside what is gathered, that is done a few terms at a time, which stay in cache.
    """
    m, n, count = len(x), y.shape[1], len(indices)
    block = max(BLOCK, FLAT * m * n) // max(m + n, 1)
    if count <= 2 * block:
        chosen, others = _terms(x, y, indices, factors)
        return chosen @ others

    def of_part(part: tuple[int, int]) -> np.ndarray:
        total = np.zeros((m, n), x.dtype)
        with one_thread():
            for start in range(*part, block):
                own = slice(start, min(start + block, part[1]))
                total += columns(x, indices[own], factors[own]) @ rows(y, indices[own])
        return total

    return np.sum(thread_map(of_part, parts_of(count, min(n_threads(), count // block))), axis=0)


def _terms(x: np.ndarray, y: np.ndarray, indices: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x[:, indices] * factors`` and ``y[indices]``, on threads together."""
    threads = _threads_for((len(x) + y.shape[1]) * len(indices))
    x_columns, x_tasks = _gathering(x, indices, factors, threads)
    y_columns, y_tasks = _gathering(y.T, indices, None, threads)
    _run(task for tasks in (x_tasks, y_tasks) for task in tasks)
    return x_columns, y_columns.T


def _gathering(
    x: np.ndarray, indices: np.ndarray, factors: np.ndarray | None, parts: int
) -> tuple[np.ndarray, Iterator[Task]]:
    """An array for ``x[:, indices] * factors``, and what fills it."""
    if factors is not None:
        factors = factors.astype(x.dtype)
    if _is_along(x):
        result = np.empty((len(x), len(indices)), x.dtype)
        bounds = parts_of(len(x), parts)
        return result, (partial(_pick, x[a:b], indices, factors, result[a:b]) for a, b in bounds)
    whole = np.empty((len(indices), len(x)), x.dtype)
    bounds = parts_of(len(indices), parts)
    return whole.T, (
        partial(_copy, x.T, indices[a:b], None if factors is None else factors[a:b], whole[a:b]) for a, b in bounds
    )


def _pick(x: np.ndarray, indices: np.ndarray, factors: np.ndarray | None, result: np.ndarray) -> None:
    for first, last, run, step in _runs(x):
        _pick_items(run, step, indices, factors, result[first:last])


def _copy(y: np.ndarray, indices: np.ndarray, factors: np.ndarray | None, result: np.ndarray) -> None:
    np.take(y, indices, axis=0, out=result, mode="clip")  # the default mode would fill a copy of the result first
    if factors is not None:
        result *= factors[:, np.newaxis]


@jit
def _pick_items(
    run: np.ndarray, step: int, indices: np.ndarray, factors: np.ndarray | None, result: np.ndarray
) -> None:
    for row in range(len(result)):
        items, ahead, target = run[row * step :], run[min(row + AHEAD, len(result) - 1) * step :], result[row]
        for i in range(len(indices)):
            prefetch(ahead, indices[i])
            item = items[indices[i]]
            target[i] = item if factors is None else item * factors[i]
