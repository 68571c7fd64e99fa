"""Sparse matrices row by row, whatever their format: rows that store nothing are not looked at.

The order of rows is what COO keeps; the entries of a GCXS that is compressed by columns are brought into it by
counting, in time that grows with their number and the lengths of the axes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import sparse

from kernels.jit import jit

__all__ = ["StoredMatrix", "by_rows"]


class StoredMatrix(NamedTuple):
    """A matrix that is 0 where nothing is stored."""

    shape: tuple[int, int]
    rows: np.ndarray  # those that store anything, ascending
    starts: np.ndarray  # where the entries of each of them begin; and where the last ones end
    columns: np.ndarray  # of each entry
    values: np.ndarray

    @property
    def row_of_each(self) -> np.ndarray:
        return np.repeat(self.rows, np.diff(self.starts))

    @property
    def bounds(self) -> np.ndarray:
        """Where the entries of row i begin, for every i: those of the row before end there."""
        bounds = np.zeros(self.shape[0] + 1, np.int64)
        bounds[self.rows + 1] = np.diff(self.starts)
        return np.cumsum(bounds, out=bounds)

    def is_finite(self) -> bool:
        return bool(np.isfinite(self.values).all())

    def transposed(self) -> StoredMatrix:
        ends, rows, values = counted_columns(self.shape[1], self.rows, self.starts, self.columns, self.values)
        return _compressed(self.shape[::-1], np.insert(ends, 0, 0), rows, values)

    def adjoint(self) -> StoredMatrix:
        transposed = self.transposed()
        return transposed._replace(values=transposed.values.conj())

    def rows_between(self, first: int, last: int) -> StoredMatrix:
        """The same with nothing stored in the other rows."""
        begin, end = np.searchsorted(self.rows, (first, last))
        starts = self.starts[begin : end + 1]
        entries = slice(starts[0], starts[-1])
        kept = self.rows[begin:end], starts - starts[0], self.columns[entries], self.values[entries]
        return StoredMatrix(self.shape, *kept)

    def chosen_columns(self, places: np.ndarray, count: int) -> StoredMatrix:
        """Those that have a place from 0 to `count` - 1 among the chosen ones; the others have -1."""
        columns = places[self.columns]
        kept = columns >= 0
        starts = np.append(0, np.cumsum(kept))[self.starts]
        stored = np.diff(starts) > 0
        return StoredMatrix(
            (self.shape[0], count), self.rows[stored], np.append(starts[:-1][stored], starts[-1]),
            columns[kept], self.values[kept],
        )  # fmt: skip


def by_rows(name: str, x: sparse.SparseArray) -> StoredMatrix:
    """The stored entries of the argument `name`."""
    if x.fill_value != 0:
        raise ValueError(f"{name} must have the fill value 0, for what is not stored, not {x.fill_value}")
    if isinstance(x, sparse.GCXS):
        of_rows = x.compressed_axes == (0,)
        entries = x.indptr.astype(np.int64), _int64(x.indices), x.data
        return _compressed(x.shape, *entries) if of_rows else _compressed(x.shape[::-1], *entries).transposed()
    x = x.asformat("coo")
    rows, columns = x.coords
    starts = np.flatnonzero(rows[1:] != rows[:-1]) + 1
    starts = np.concatenate(([0], starts, [x.nnz])) if x.nnz else np.zeros(1, np.int64)
    return StoredMatrix(x.shape, _int64(rows[starts[:-1]]), starts, _int64(columns), np.ascontiguousarray(x.data))


def _compressed(shape: tuple[int, int], bounds: np.ndarray, columns: np.ndarray, values: np.ndarray) -> StoredMatrix:
    rows = np.flatnonzero(bounds[1:] != bounds[:-1])
    return StoredMatrix(shape, rows, np.append(bounds[rows], len(values)), columns, np.ascontiguousarray(values))


def _int64(indices: np.ndarray) -> np.ndarray:
    """Contiguous, since each kind of indices would be compiled for."""
    return np.ascontiguousarray(indices, np.int64)


@jit
def counted_columns(count, rows, starts, columns, values):
    """Where each column ends when entries are in the order of columns, and then of rows; and the entries so ordered."""
    ends = np.zeros(count + 1, np.int64)
    for column in columns:
        ends[column + 1] += 1
    for column in range(count):
        ends[column + 1] += ends[column]
    new_rows, new_values = np.empty(len(columns), np.int64), np.empty_like(values)
    for i in range(len(rows)):
        for entry in range(starts[i], starts[i + 1]):
            place = ends[columns[entry]]
            ends[columns[entry]] += 1
            new_rows[place], new_values[place] = rows[i], values[entry]
    return ends[:count], new_rows, new_values
