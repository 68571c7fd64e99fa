"""Sparse arrays row by row: what is not stored is one value, the fill value, taken as often as it occurs.

A row holds the items that one result depends on, which need not be neighbours: what a softmax is taken over, or what a
mean runs over. Sums and maxima run over what rows store; rows that store nothing are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import sparse

from kernels.jit import jit

__all__ = ["StoredRows", "positions", "stable_order"]


class StoredRows:
    """The rows that store anything.

    Parameters
    ----------
    rows : numpy.ndarray of int64
        The row of each stored entry.
    length : int
        Number of items of a row, stored or not.

    Attributes
    ----------
    order : numpy.ndarray or slice
        Brings the entries into the order of their rows, in which the methods take them.
    numbers, starts, absent : numpy.ndarray
        For each row its number, where its entries begin, and how many items are not stored.
    """

    def __init__(self, rows: np.ndarray, length: int) -> None:
        ascending = bool((rows[1:] >= rows[:-1]).all())
        self.order = slice(None) if ascending else stable_order(rows)
        rows = rows[self.order]
        self.starts = np.flatnonzero(np.diff(rows, prepend=-1))
        self.numbers = rows[self.starts]
        self.stored = np.diff(self.starts, append=len(rows))
        self.absent = length - self.stored

    @classmethod
    def along(cls, x: sparse.COO, axes: Sequence[int]) -> StoredRows:
        """The rows of an array whose items differ in the given axes alone."""
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        rows = positions(x.coords[kept], [x.shape[axis] for axis in kept])
        return cls(rows, prod(x.shape[axis] for axis in axes))

    def maximum(self, values: np.ndarray, fill: float) -> np.ndarray:
        peaks = np.maximum.reduceat(values, self.starts)
        return np.where(self.absent > 0, np.maximum(peaks, fill), peaks)

    def total(self, values: np.ndarray, fill: np.ndarray | float) -> np.ndarray:
        """The sums of rows that hold `fill`, which may be not finite, where nothing is stored."""
        absent = np.multiply(self.absent, fill, out=np.zeros(len(self.starts)), where=self.absent > 0)
        return np.add.reduceat(values, self.starts) + absent

    def spread(self, per_row: np.ndarray) -> np.ndarray:
        """What belongs to a row, once for each of its entries."""
        return np.repeat(per_row, self.stored)

    def softmax(self, values: np.ndarray, fill: float) -> tuple[np.ndarray, np.ndarray]:
        """The softmax of each row: the items that are stored, and what all others of a row are."""
        peaks = self.maximum(values, fill)
        exponentials, of_fill = np.exp(values - self.spread(peaks)), np.exp(fill - peaks)
        totals = self.total(exponentials, of_fill)
        return exponentials / self.spread(totals), of_fill / totals

    def logsumexp(self, values: np.ndarray, fill: float) -> np.ndarray:
        peaks = self.maximum(values, fill)
        peaks = np.where(np.isfinite(peaks), peaks, 0.0)
        return np.log(self.total(np.exp(values - self.spread(peaks)), np.exp(fill - peaks))) + peaks

    def among_all(self, per_row: np.ndarray, others: float, shape: Sequence[int]) -> np.ndarray:
        """A dense array of what belongs to each row; `others` belongs to those that store nothing."""
        result = np.full(prod(shape), others)
        result[self.numbers] = per_row
        return result.reshape(shape)


def positions(coords: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Where entries stand in a dense array of that shape; in int64, since coordinates may be as narrow as uint8."""
    result = np.zeros(coords.shape[1], np.int64)
    for along, length in zip(coords, shape, strict=True):
        result *= length
        result += along.astype(np.int64)
    return result


def stable_order(keys: np.ndarray) -> np.ndarray:
    """What sorts keys of int64 that are not negative: by counting, but where there are far more numbers than keys."""
    bound = int(keys.max(initial=-1)) + 1
    return counted_order(keys, bound) if bound <= 8 * len(keys) else np.argsort(keys, kind="stable")


@jit
def counted_order(keys, bound):
    places = np.zeros(bound + 1, np.int64)
    for key in keys:
        places[key + 1] += 1
    for key in range(bound):
        places[key + 1] += places[key]
    order = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        order[places[keys[i]]] = i
        places[keys[i]] += 1
    return order
