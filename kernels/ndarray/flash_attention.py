"""Attention tile by tile, with the softmax taken online (T. Dao, D. Y. Fu, S. Ermon, A. Rudra and C. Ré, NeurIPS 2022).

A tile of scores is a product, turned into weights while it is in cache and multiplied with the values. Each query keeps
the greatest score so far and the sum of the weights relative to it; where a tile raises the first, what was summed up
before is scaled down. Tiles that the mask shuts out are not computed.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.blas import UNPACKED, one_thread, operand
from kernels.jit import jit, n_threads, parts_of, thread_map
from kernels.vector_math import exp, maximum

__all__ = ["attention"]

TILE = (48, 256)  # queries and keys whose scores lie in L2
PACKED_TILE = (128, 512)  # where d is so large that BLAS packs the operands
FEW = 16  # queries for which the keys are not worth transposing
LEAST, MOST = 256, 4096  # queries worth transposing the keys for once more; queries that are kept in cache together
WORTH_A_PIECE = 2**21  # scores times features that take longer than handing them to a thread


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, scale: float) -> np.ndarray:
    *lead, n, d = q.shape
    m, e = v.shape[-2:]
    batch = math.prod(lead)
    out = np.zeros((*lead, n, e), q.dtype)
    if not out.size or not m:
        return out
    masks, which = _masks(mask, lead)
    arrays = (q.reshape(batch, n, d), k.reshape(batch, m, d), v.reshape(batch, m, e), masks, which)
    arguments = (*map(operand, arrays), q.dtype.type(scale), *_tile(max(d, e)))
    parts = max(1, min(4 * n_threads(), batch * n // LEAST, batch * n * m * (d + e) // WORTH_A_PIECE))
    pieces = parts_of(batch * n, parts)
    results = out.reshape(batch, n, e)

    def attend(piece: tuple[int, int]) -> None:
        with one_thread():
            _attend(*arguments, *piece, results)

    thread_map(attend, pieces)
    return out


def _masks(mask: np.ndarray | None, lead: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The different masks, with an axis of one item where it holds for all; and which of them each batch item has."""
    if mask is None:
        mask = np.ones(1, np.bool_)
    mask = mask.reshape((1,) * (len(lead) + 2 - mask.ndim) + mask.shape)
    mask = mask[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in mask.strides)]
    kinds = mask.shape[:-2]
    which = np.arange(math.prod(kinds)).reshape(kinds)
    return mask.reshape(-1, *mask.shape[-2:]).view(np.uint8), np.broadcast_to(which, lead).reshape(-1)


def _tile(features: int) -> tuple[int, int]:
    queries, keys = TILE
    keys = min(keys, UNPACKED // (queries * features) // 64 * 64)
    return (queries, keys) if keys >= 128 else PACKED_TILE


@jit
def _attend(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    masks: np.ndarray,
    which: np.ndarray,
    scale: float,
    rows: int,
    columns: int,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """Outputs of the queries `start` to `stop`, counted through the batch."""
    n = q.shape[1]
    while start < stop:
        item, first = divmod(start, n)
        last = min(n, first + min(stop - start, MOST))
        mask = masks[which[item]]
        mask = mask[first:last] if len(mask) > 1 else mask
        _attend_together(q[item, first:last] * scale, k[item], v[item], mask, rows, columns, out[item, first:last])
        start += last - first


@jit
def _attend_together(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray, rows: int, columns: int, out: np.ndarray
) -> None:
    n, d = q.shape
    m, e = v.shape
    greatest = np.full(n, -np.inf, q.dtype)
    total = np.zeros(n, q.dtype)
    reached = np.zeros(n, np.bool_)
    factors = np.empty(rows, q.dtype)
    transposed = np.empty(d * columns, q.dtype)
    tile = np.empty(rows * columns, q.dtype)
    products = np.empty((rows, e), q.dtype)
    for j in range(0, m, columns):
        width = min(columns, m - j)
        keys = transposed[: d * width].reshape(d, width)
        if n > FEW:
            _transpose(k[j : j + width], keys)
        for i in range(0, n, rows):
            height = min(rows, n - i)
            some, every = _openness(mask, i, j, width, reached[i : i + height])
            if not some:
                continue
            scores = tile[: height * width].reshape(height, width)
            if n > FEW:
                np.dot(q[i : i + height], keys, scores)
            else:
                np.dot(q[i : i + height], k[j : j + width].T, scores)
            if not every:
                _shut(mask, i, j, scores)
            for row in range(height):
                factors[row] = _weigh(scores[row], greatest[i:], total[i:], row)
            product = products[:height]
            np.dot(scores, v[j : j + width], product)
            for row in range(height):
                for column in range(e):
                    out[i + row, column] = out[i + row, column] * factors[row] + product[row, column]
    for i in range(n):
        for column in range(e):
            out[i, column] = out[i, column] / total[i] if reached[i] else 0


@jit
def _transpose(matrix: np.ndarray, out: np.ndarray) -> None:
    for first in range(0, matrix.shape[0], 16):  # as many as fill a cache line of the result
        for column in range(matrix.shape[1]):
            for row in range(first, min(first + 16, matrix.shape[0])):
                out[column, row] = matrix[row, column]


@jit
def _openness(mask: np.ndarray, i: int, j: int, width: int, reached: np.ndarray) -> tuple[bool, bool]:
    """Whether some and whether every pair of a tile is open; also marks the rows that may attend to anything."""
    some, every = False, True
    for row in range(len(reached)):
        line = _line(mask, i + row, j, width)
        some_here = False
        for column in range(len(line)):
            some_here |= line[column] != 0
            every &= line[column] != 0
        reached[row] |= some_here
        some |= some_here
    return some, every


@jit
def _shut(mask: np.ndarray, i: int, j: int, scores: np.ndarray) -> None:
    height, width = scores.shape
    for row in range(height):
        line = _line(mask, i + row, j, width)
        if len(line) == width:
            for column in range(width):
                scores[row, column] = scores[row, column] if line[column] else -np.inf
        elif not line[0]:
            scores[row] = -np.inf


@jit
def _line(mask: np.ndarray, row: int, j: int, width: int) -> np.ndarray:
    """A row of a tile of the mask, or one item that holds for all of it."""
    line = mask[row if len(mask) > 1 else 0]
    return line[j : j + width] if len(line) > 1 else line


@jit
def _weigh(scores: np.ndarray, greatest: np.ndarray, total: np.ndarray, query: int) -> float:
    """Turn scores of a query into weights; return by what its earlier weights are to be multiplied."""
    before = top = greatest[query]
    for i in range(len(scores)):
        top = maximum(top, scores[i])
    shift = scores.dtype.type(0) if top == -np.inf else top  # -inf - -inf would be NaN
    for i in range(len(scores)):
        scores[i] = exp(scores[i] - shift)
    factor = exp(before - shift)
    greatest[query] = top
    total[query] = total[query] * factor + _sum(scores)
    return factor


@jit(fastmath={"reassoc"})
def _sum(row: np.ndarray) -> float:
    result = row.dtype.type(0)
    for i in range(len(row)):
        result += row[i]
    return result
