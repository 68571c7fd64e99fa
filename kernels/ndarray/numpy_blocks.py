"""Parts of an array that fit the second-level cache, where one operation after the other finds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from math import prod

import numpy as np

__all__ = ["BLOCK", "Part", "blocks", "cuts", "in_memory_order", "slabs"]

BLOCK = 1 << 19  # bytes: a part and what is computed from it share a cache of 1 MiB
WIDE = 1 << 10  # items, for which the start of an inner loop costs nothing

Part = tuple[slice, ...]


def blocks(x: np.ndarray) -> Iterable[Part]:
    """Indices of the parts of `x`, cut across its longest strides."""
    return cuts(x.shape, in_memory_order(x), BLOCK // x.itemsize)


def slabs(x: np.ndarray, axis: int) -> Iterable[Part]:
    """The same with parts that are whole along an axis; too large ones where they would be narrow across it."""
    limit = BLOCK // x.itemsize
    least = 0 if x.shape[axis] * WIDE <= limit else abs(x.strides[axis])
    others = [other for other in in_memory_order(x) if other != axis and abs(x.strides[other]) >= least]
    return cuts(x.shape, others, limit)


def cuts(lengths: Sequence[int], axes: Iterable[int], size: int) -> Iterable[Part]:
    """Indices of parts of up to `size` items, cut across the first of the axes as far as that is enough."""
    pieces, whole = list(lengths), prod(lengths)
    if whole <= size:
        return [(slice(None),) * len(pieces)]
    for axis in axes:
        rest = whole // pieces[axis]
        pieces[axis] = max(size // rest, 1)
        whole = rest * pieces[axis]
        if whole <= size:
            break
    starts = map(range, [0] * len(pieces), lengths, pieces)
    return product(*([slice(start, start + every.step) for start in every] for every in starts))


def in_memory_order(x: np.ndarray) -> list[int]:
    """The axes, the outermost in memory first."""
    return sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
