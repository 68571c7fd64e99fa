"""Products of sparse matrices, with one another and with dense blocks, compiled: row after row, on threads.

Rows of a sparse product are made by the method of F. G. Gustavson, "Two fast algorithms for sparse matrices", ACM TOMS
4 (1978), 250-269: first counted, so that each has its place in the result, and then summed in a dense row, whose items
are marked in a bitmap. The marks of a row are sorted where they are few, and otherwise read off the bitmap, in order.
pydata/sparse's own products clear a dense row for each row, and sort the whole result afterwards.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import sparse
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.jit import jit, n_threads, thread_map
from kernels.lowrank.stored_matrix import StoredMatrix, by_rows

__all__ = ["exact_product", "multiply", "times"]

MANY = 1 << 21  # products, which take longer than starting threads
FEW = 16  # times as long as looking at a word takes it to sort one more mark


def multiply(x: StoredMatrix, y: StoredMatrix, factors: np.ndarray | None = None) -> sparse.COO:
    """``x @ diag(factors) @ y``, sorted. What a factor of 0 would multiply is skipped, whatever it is."""
    if factors is None:
        factors = np.ones(x.shape[1], x.values.dtype)
    bounds, width = y.bounds, y.shape[1]
    parts = _parts(x, (factors != 0) @ np.diff(bounds) / max(len(factors), 1))
    ends = np.zeros(len(x.rows) + 1, np.int64)

    def count(part: tuple[int, int]) -> None:
        count_columns(*part, x.starts, x.columns, factors, bounds, y.columns, np.zeros(width, np.int64), ends)

    thread_map(count, parts)
    np.cumsum(ends, out=ends)
    coords, values = np.empty((2, ends[-1]), np.int64), np.empty(ends[-1], x.values.dtype)

    def fill(part: tuple[int, int]) -> None:
        bits = np.zeros((width >> 6) + 1, np.int64), np.zeros((width >> 12) + 1, np.int64)
        sums, marks = np.zeros(width, x.values.dtype), np.empty(width + 1, np.int64)
        sum_rows(
            *part, x.rows, x.starts, x.columns, x.values, factors, bounds, y.columns, y.values, ends,
            *bits, marks, sums, coords[0], coords[1], values,
        )  # fmt: skip

    thread_map(fill, parts)
    shape = (x.shape[0], width)
    return sparse.COO(coords, values, shape, has_duplicates=False, sorted=True, fill_value=values.dtype.type(0))


def exact_product(x: StoredMatrix, y: StoredMatrix) -> sparse.COO:
    """NaN, too, where something that is not finite meets what is not stored: that is stored as 0 then."""
    lost_columns, lost_rows = (
        np.unique(y.row_of_each[~np.isfinite(y.values)]),
        np.unique(x.columns[~np.isfinite(x.values)]),
    )
    if len(lost_columns):
        x = _with_zeros(x.transposed(), lost_columns).transposed()
    if len(lost_rows):
        y = _with_zeros(y, lost_rows)
    return multiply(x, y)


def _with_zeros(x: StoredMatrix, rows: np.ndarray) -> StoredMatrix:
    """The same matrix with all items of these rows stored."""
    width = x.shape[1]
    coords = np.stack(
        (
            np.append(x.row_of_each, np.repeat(rows, width)),
            np.append(x.columns, np.tile(np.arange(width), len(rows))),
        )
    )
    values = np.append(x.values, np.zeros(len(rows) * width, x.values.dtype))
    return by_rows("x", sparse.COO(coords, values, x.shape))  # which sums up what stands at one place


def times(x: StoredMatrix, block: np.ndarray) -> np.ndarray:
    """``x @ block`` for a dense matrix."""
    result = np.zeros((x.shape[0], block.shape[1]), np.result_type(x.values, block))
    block = np.ascontiguousarray(block)
    thread_map(
        lambda part: sum_block(*part, x.rows, x.starts, x.columns, x.values, block, result),
        _parts(x, block.shape[1]),
    )
    return result


def _parts(x: StoredMatrix, products: float) -> list[tuple[int, int]]:
    """Bounds of parts of the rows that store about as many entries each, with so many products for each of them."""
    entries = len(x.columns)
    count = 4 * n_threads() if n_threads() > 1 and entries * products > MANY else 1
    bounds = np.searchsorted(x.starts, np.linspace(0, entries, count + 1)).tolist()
    return list(pairwise(bounds))


@jit
def count_columns(first, last, starts, columns, factors, bounds, y_columns, seen, counts):
    """The number of columns that each row of the product stores, at the place of the next row."""
    for i in range(first, last):
        count = 0
        for a in range(starts[i], starts[i + 1]):
            k = columns[a]
            if factors[k] != 0:
                for b in range(bounds[k], bounds[k + 1]):
                    count += seen[y_columns[b]] != i + 1
                    seen[y_columns[b]] = i + 1
        counts[i + 1] = count


@jit
def sum_rows(
    first, last, rows, starts, columns, values, factors, bounds, y_columns, y_values, ends,
    bits, words, marks, sums, to_rows, to_columns, to_values,
):  # fmt: skip
    for i in range(first, last):
        count = 0
        for a in range(starts[i], starts[i + 1]):
            k = columns[a]
            if factors[k] != 0:
                value = values[a] * factors[k]
                for b in range(bounds[k], bounds[k + 1]):
                    j = y_columns[b]
                    sums[j] += value * y_values[b]
                    word = bits[j >> 6]
                    words[j >> 12] |= 1 << (j >> 6 & 63)
                    marks[count] = j
                    count += 1 - (word >> (j & 63) & 1)
                    bits[j >> 6] = word | 1 << (j & 63)
        place = slice(ends[i], ends[i + 1])
        ordered, totals = to_columns[place], to_values[place]
        to_rows[place] = rows[i]
        if count * FEW < len(words):
            ordered[:] = marks[:count]
            ordered.sort()
            for j in ordered:
                bits[j >> 6] = words[j >> 12] = 0
        else:
            read_off(bits, words, ordered)
        for p in range(count):
            totals[p] = sums[ordered[p]]
            sums[ordered[p]] = 0


@jit
def read_off(bits, words, marks):
    """Write down which bits are set, and clear them; `words` tells which words of them are not 0."""
    count = 0
    for high in range(len(words)):
        left = words[high]
        words[high] = 0
        while left:
            middle = high << 6 | trailing_zeros(left)
            left &= left - 1
            word = bits[middle]
            bits[middle] = 0
            while word:
                marks[count] = middle << 6 | trailing_zeros(word)
                word &= word - 1
                count += 1


@intrinsic
def trailing_zeros(typing: Any, word: Any) -> Any:
    """Of an int64 that is not 0."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(True))

    return types.int64(types.int64), code


@jit
def sum_block(first, last, rows, starts, columns, values, block, result):
    sums = np.empty(block.shape[1], result.dtype)  # known to be no part of the others, so that the loop is vectorised
    for i in range(first, last):
        sums[:] = 0
        for entry in range(starts[i], starts[i + 1]):
            value, row = values[entry], block[columns[entry]]
            for j in range(len(sums)):
                sums[j] += value * row[j]
        result[rows[i]] = sums
