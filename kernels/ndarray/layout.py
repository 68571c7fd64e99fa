"""Arrays of any layout for compiled loops along one axis, which want contiguous rows or many columns side by side."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, TypeAlias, TypeVar

import numpy as np

from kernels.jit import limit_threads, n_threads, parts_of, thread_map
from kernels.ndarray.numpy_blocks import in_memory_order

__all__ = ["inverse", "map_parts", "read_only", "run_along", "threads_for"]

Result = TypeVar("Result")
Rows: TypeAlias = Callable[[np.ndarray, np.ndarray], None]
Columns: TypeAlias = Callable[[np.ndarray, np.ndarray, int, int], None]

LONG = 64  # A shorter row leaves vectors empty,
MANY = 16  # and so do fewer columns.
COPY = 1 << 15  # items that are rearranged at once
WORTH_A_THREAD = 1 << 19  # items


def run_along(x: np.ndarray, axis: int, length: int, rows: Rows, columns: Columns) -> np.ndarray:
    """Fill an array of the shape of `x`, but for `length` items along the axis, by one of the two loops.

    ``rows(x, result)`` goes along the last of two axes, ``columns(x, result, first, last)`` along the middle one of
    three, in the columns from first to last. The result lies in memory as `x` does.
    """
    if x.flags.c_contiguous:
        return _run(x, axis, length, rows, columns)
    order = in_memory_order(x)
    result = _run(x.transpose(order), order.index(axis), length, rows, columns)
    return result.transpose(inverse(order))


def _run(x: np.ndarray, axis: int, length: int, rows: Rows, columns: Columns) -> np.ndarray:
    before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    outer, inner = prod(before), prod(after)
    result = np.empty((*before, length, *after), x.dtype)
    if not result.size:
        return result
    threads = threads_for(x.size)
    contiguous = x.flags.c_contiguous
    source: np.ndarray
    target: np.ndarray
    if contiguous and inner == 1 and n >= LONG:
        source, target = read_only(x, (outer, n)), result.reshape(outer, length)
        map_parts(lambda part: rows(source[part], target[part]), outer, threads)
    elif contiguous and inner >= MANY:
        source, target = read_only(x, (outer, n, inner)), result.reshape(outer, length, inner)
        if outer >= threads:
            map_parts(lambda part: columns(source[part], target[part], 0, inner), outer, threads)
        else:
            map_parts(lambda part: columns(source, target, part.start, part.stop), inner, threads)
    else:
        order = [*range(axis), *range(axis + 1, x.ndim), axis]
        source, target = x.transpose(order), result.transpose(order)
        blocks = _blocks(source.shape[:-1], n)
        with limit_threads(threads):
            thread_map(lambda block: _rearranged(source[block], target[block], rows, columns), blocks)
    return result


def inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def read_only(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A contiguous array as one of that shape, read-only whatever it was, so that there is one type to compile for."""
    x = x.reshape(shape)
    x.flags.writeable = False
    return x


def threads_for(size: int) -> int:
    return min(n_threads(), size // WORTH_A_THREAD) if size >= 2 * WORTH_A_THREAD else 1


def map_parts(function: Callable[[slice], Result], length: int, threads: int) -> list[Result]:
    """Apply the function on threads to slices of about one length that make up the whole."""
    if threads == 1:
        return [function(slice(0, length))]
    return thread_map(function, [slice(*bounds) for bounds in parts_of(length, threads)])


def _blocks(shape: tuple[int, ...], n: int) -> list[Any]:
    """Indices that cut an array of that shape, with n numbers an item, into blocks of about COPY."""
    size, axis = n, len(shape)
    while axis and size * shape[axis - 1] <= COPY:
        axis -= 1
        size *= shape[axis]
    if not axis:
        return [()]
    *leading, last = shape[:axis]
    step = max(1, COPY // size)
    return [(*index, slice(start, start + step)) for index in np.ndindex(*leading) for start in range(0, last, step)]


def _rearranged(x: np.ndarray, result: np.ndarray, rows: Rows, columns: Columns) -> None:
    """Run along the last axis of a block, as rows or as columns of a copy."""
    *shape, n = x.shape
    items, length = prod(shape), result.shape[-1]
    if n >= LONG:
        target = np.empty((items, length), x.dtype)
        rows(read_only(np.ascontiguousarray(x), (items, n)), target)
        result[...] = target.reshape(result.shape)
    else:
        last = x.ndim - 1
        target = np.empty((1, length, items), x.dtype)
        columns(read_only(np.ascontiguousarray(x.transpose(last, *range(last))), (1, n, items)), target, 0, items)
        result[...] = target.reshape(length, *shape).transpose(*range(1, x.ndim), 0)
