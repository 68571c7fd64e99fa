"""`batch_norm` on Numba: mean and variance in one reading of memory, the normalised array in a second.

Each piece of the data is read twice while it is in cache, for its sum and for the squares of its deviations, and the
pieces are put together as in T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance:
analysis and recommendations", The American Statistician 37 (1983), 242-247. All sums are taken in float64.

Arrays are looked at as (planes, rows, channels, run), averaged over rows and runs: by runs where those are long, else
by the columns of (planes, rows, channels * run).
"""

from __future__ import annotations

import math
from math import prod

import numpy as np

from kernels.jit import jit
from kernels.ndarray import BatchNorm
from kernels.ndarray.layout import inverse, map_parts, read_only, threads_for
from kernels.ndarray.numpy_blocks import in_memory_order

__all__ = ["batch_norm"]

LONG = 64  # A shorter run leaves vectors empty,
FEW = 8  # which is better only than columns of so few rows.
MANY = 64  # columns that fill vectors; fewer are taken several rows at once
PIECE = 4096  # items of a run, in cache
ROWS, COLUMNS = 32, 512  # of a block in cache

COUNT, TOTAL, MEAN, SQUARES = range(4)  # of what is known of a channel


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, axes: tuple[int, ...], eps: float) -> BatchNorm:
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    order = in_memory_order(x)
    source = x.transpose(order)
    shape = _planes_rows_channels_run(source.shape, [axis in axes for axis in order])
    if shape and source.flags.c_contiguous:
        y = np.empty(source.shape, x.dtype)
    else:
        order = [*kept, *axes]
        source = y = np.array(x.transpose(order), order="C")
        shape = (1, 1, prod(y.shape[: len(kept)]), prod(y.shape[len(kept) :]))
    flat = read_only(source, shape)
    planes, rows, channels, run = shape
    by_runs = run >= LONG or rows < FEW

    if not x.size:
        state = np.zeros((planes, channels, 4))
    else:
        state = _measure_by_runs(flat) if by_runs else _measure_by_columns(flat)
    # gamma and beta have the axes of x that are kept, but not in the order of the memory.
    kept_order = [kept.index(axis) for axis in order if axis in kept]
    gamma, beta = np.ascontiguousarray(gamma.transpose(kept_order)), np.ascontiguousarray(beta.transpose(kept_order))
    mean, var = np.empty(gamma.shape, x.dtype), np.empty(gamma.shape, x.dtype)
    places, table = (planes, channels), np.empty((planes, 3, channels))
    _finish(
        state, read_only(gamma, places), read_only(beta, places), eps, mean.reshape(places), var.reshape(places), table
    )
    if x.size:
        (_apply_by_runs if by_runs else _apply_by_columns)(flat, y.reshape(shape), table)
    back = inverse(kept_order)
    return BatchNorm(y.transpose(inverse(order)), mean.transpose(back), var.transpose(back))


def _planes_rows_channels_run(lengths: tuple[int, ...], averaged: list[bool]) -> tuple[int, int, int, int] | None:
    """The four lengths, where the axes come in such an order; neighbours of one kind are taken together."""
    shape, place = [1, 1, 1, 1], 3
    for length, over in zip(reversed(lengths), reversed(averaged), strict=True):
        if length != 1:
            while place >= 0 and (place % 2 == 1) != over:
                place -= 1
            if place < 0:
                return None
            shape[place] *= length
    planes, rows, channels, run = shape
    return (planes, rows, channels, run) if rows != 1 else (1, 1, planes * channels, run)


def _measure_by_runs(x: np.ndarray) -> np.ndarray:
    planes, _, channels, _ = x.shape
    state = np.zeros((planes, channels, 4))
    map_parts(lambda part: _measure_channels(x, part.start, part.stop, state), channels, threads_for(x.size))
    return state


def _apply_by_runs(x: np.ndarray, y: np.ndarray, table: np.ndarray) -> None:
    channels, threads = x.shape[2], threads_for(x.size)
    map_parts(lambda part: _normalise_channels(x, y, table, part.start, part.stop), channels, threads)


def _measure_by_columns(x: np.ndarray) -> np.ndarray:
    planes, rows, channels, run = x.shape

    def of_planes(part: slice) -> np.ndarray:
        state = np.zeros((part.stop - part.start, channels, 4))
        _measure_columns(x[part].reshape(-1, rows, channels * run), run, state)
        return state

    def of_rows(part: slice) -> np.ndarray:
        state = np.zeros((1, channels, 4))
        for tile in _tiles(x[0, part]):
            _measure_columns(tile, run, state)
        return state

    threads = threads_for(x.size)
    if planes > 1:
        return np.concatenate(map_parts(of_planes, planes, min(planes, threads)))
    state, *others = map_parts(of_rows, rows, threads)
    for other in others:
        _merge_all(state[0], other[0])
    return state


def _apply_by_columns(x: np.ndarray, y: np.ndarray, table: np.ndarray) -> None:
    planes, rows, channels, run = x.shape
    threads = threads_for(x.size)

    def to_planes(part: slice) -> None:
        shape = (-1, rows, channels * run)
        _normalise_columns(x[part].reshape(shape), y[part].reshape(shape), run, table[part])

    def to_rows(part: slice) -> None:
        for tile, target in zip(_tiles(x[0, part]), _tiles(y[0, part]), strict=True):
            _normalise_columns(tile, target, run, table)

    if planes > 1:
        map_parts(to_planes, planes, min(planes, threads))
    else:
        map_parts(to_rows, rows, threads)


def _tiles(x: np.ndarray) -> list[np.ndarray]:
    """The same array with several rows as one, and what is left of the rows as another."""
    rows, columns = len(x), prod(x.shape[1:])
    times = max(1, min(rows, MANY // columns))
    whole = rows // times * times
    tiles = [x[:whole].reshape(1, whole // times, times * columns)]
    return tiles if whole == rows else [*tiles, x[whole:].reshape(1, 1, -1)]


@jit
def _measure_channels(x: np.ndarray, first: int, last: int, state: np.ndarray) -> None:
    planes, rows, _, length = x.shape
    for plane in range(planes):
        for channel in range(first, last):
            for row in range(rows):
                for start in range(0, length, PIECE):
                    piece = x[plane, row, channel, start : start + PIECE]
                    total = _sum(piece)
                    _merge(state[plane, channel], len(piece), total, _squares(piece, total / len(piece)))


@jit
def _measure_columns(x: np.ndarray, run: int, state: np.ndarray) -> None:
    planes, rows, columns = x.shape
    width = min(COLUMNS, columns)
    known, sums, squares = np.empty((4, width)), np.empty(width), np.empty(width)
    for plane in range(planes):
        for start in range(0, columns, width):
            stop = min(start + width, columns)
            known[:] = 0
            for top in range(0, rows, ROWS):
                bottom = min(top + ROWS, rows)
                sums[:] = 0
                squares[:] = 0
                for row in range(top, bottom):
                    _add(x[plane, row, start:stop], sums)
                for row in range(top, bottom):
                    _add_squares(x[plane, row, start:stop], sums, 1 / (bottom - top), squares)
                _merge_columns(known, bottom - top, sums, squares)
            for column in range(stop - start):
                channel = (start + column) // run % state.shape[1]
                _merge(state[plane, channel], rows, known[TOTAL, column], known[SQUARES, column])


@jit
def _merge(state: np.ndarray, count: int, total: float, squares: float) -> None:
    after = state[COUNT] + count
    difference = total / count - state[MEAN]
    state[SQUARES] += squares + difference * difference * (state[COUNT] * count / after)
    state[MEAN] += difference * (count / after)
    state[TOTAL] += total
    state[COUNT] = after


@jit
def _merge_columns(known: np.ndarray, count: int, sums: np.ndarray, squares: np.ndarray) -> None:
    before = known[COUNT, 0]
    after = before + count
    known[COUNT, 0] = after
    means, total, all_squares = known[MEAN], known[TOTAL], known[SQUARES]
    inverse, share, weight = 1 / count, count / after, before * count / after
    for i in range(len(sums)):
        difference = sums[i] * inverse - means[i]
        all_squares[i] += squares[i] + difference * difference * weight
        means[i] += difference * share
        total[i] += sums[i]


@jit
def _merge_all(state: np.ndarray, other: np.ndarray) -> None:
    for channel in range(len(state)):
        _merge(state[channel], other[channel, COUNT], other[channel, TOTAL], other[channel, SQUARES])


@jit
def _finish(
    state: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    eps: float,
    mean: np.ndarray,
    var: np.ndarray,
    table: np.ndarray,
) -> None:
    """Fill the table with what is subtracted, multiplied by and added; from no items come NaNs."""
    for plane in range(len(table)):
        for channel in range(table.shape[2]):
            known = state[plane, channel]
            variance = known[SQUARES] / known[COUNT]
            table[plane, 0, channel] = known[TOTAL] / known[COUNT]
            table[plane, 1, channel] = gamma[plane, channel] / math.sqrt(variance + eps)
            table[plane, 2, channel] = beta[plane, channel]
            mean[plane, channel] = table[plane, 0, channel]
            var[plane, channel] = variance


@jit
def _normalise_channels(x: np.ndarray, y: np.ndarray, table: np.ndarray, first: int, last: int) -> None:
    for plane in range(len(x)):
        for row in range(x.shape[1]):
            for channel in range(first, last):
                mean, scale, shift = table[plane, 0, channel], table[plane, 1, channel], table[plane, 2, channel]
                source, target = x[plane, row, channel], y[plane, row, channel]
                for i in range(len(source)):
                    target[i] = (source[i] - mean) * scale + shift


@jit
def _normalise_columns(x: np.ndarray, y: np.ndarray, run: int, table: np.ndarray) -> None:
    planes, rows, columns = x.shape
    width = min(COLUMNS, columns)
    mean, scale, shift = np.empty(width), np.empty(width), np.empty(width)
    for plane in range(planes):
        for start in range(0, columns, width):
            stop = min(start + width, columns)
            for i in range(stop - start):
                channel = (start + i) // run % table.shape[2]
                mean[i], scale[i], shift[i] = (
                    table[plane, 0, channel],
                    table[plane, 1, channel],
                    table[plane, 2, channel],
                )
            for row in range(rows):
                source, target = x[plane, row, start:stop], y[plane, row, start:stop]
                for i in range(len(source)):
                    target[i] = (source[i] - mean[i]) * scale[i] + shift[i]


@jit(fastmath={"reassoc"})
def _sum(x: np.ndarray) -> float:
    total = 0.0
    for i in range(len(x)):
        total += x[i]
    return total


@jit(fastmath={"reassoc"})
def _squares(x: np.ndarray, mean: float) -> float:
    total = 0.0
    for i in range(len(x)):
        total += (x[i] - mean) * (x[i] - mean)
    return total


@jit
def _add(x: np.ndarray, sums: np.ndarray) -> None:
    for i in range(len(x)):
        sums[i] += x[i]


@jit
def _add_squares(x: np.ndarray, sums: np.ndarray, inverse: float, squares: np.ndarray) -> None:
    for i in range(len(x)):
        deviation = x[i] - sums[i] * inverse
        squares[i] += deviation * deviation
