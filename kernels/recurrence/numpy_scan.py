"""The linear scan in NumPy: row by row along time where a row is wide, else many pieces of time side by side.

A step of time takes two ufuncs on the row of all sequences and features; where the row is short, starting them is what
takes the time. Then time is cut into chunks that are scanned side by side as the lanes of a wide row. The first pass
finds what each chunk does to the state before it: the product of its factors, and its last state if it begins with 0.
From these come the states between the chunks, by a scan again, and from them the second pass begins.

Ufuncs are slow on rows that are not contiguous, and copying is not: a tile of consecutive rows is copied to and from
contiguous memory that stays in the cache.

Products of factors may overflow where the states do not. A state between chunks that is not finite is therefore not
believed, but found step by step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["scan", "spans"]

WIDE = 4096  # items of a row of chunks side by side
FEW = 8  # chunks, which two passes are not worth: one step after the other where a row is wider than 512 items
SHORT = 32  # steps that a chunk has at least
WIDEST = 1 << 15  # items of a row beyond which the second-level cache has no room for what belongs to a step
TILE = 1 << 19  # bytes of the consecutive rows that are copied into that cache
RUN = 16  # factors whose product is taken first: one that goes through subnormal numbers step by step is slow


def spans(time: int, lengths: Sequence[int] | None, reverse: bool) -> Iterator[tuple[Any, slice]]:
    """The sequences that last through a piece of time, and that piece; one piece after the other, as the scan goes."""
    if lengths is None:
        if time:
            yield slice(None), slice(0, time)
        return
    pieces = list(pairwise(sorted({0, *lengths})))
    for start, stop in reversed(pieces) if reverse else pieces:
        lasting = np.flatnonzero(np.greater(lengths, start))
        first, last = int(lasting[0]), int(lasting[-1])
        # A slice is a view, where indices would make a copy.
        yield slice(first, last + 1) if last - first < len(lasting) else lasting, slice(start, stop)


def scan(a: np.ndarray, b: np.ndarray, state: np.ndarray, h: np.ndarray) -> None:
    """Write h[t] = a[t] * h[t - 1] + b[t] for series of shape (batch, time, features), all views in the scan's order.

    `a` may be broadcast, `h` may be `b`, and `state`, that before the first step, is replaced by that after the last.
    """
    batch, time, features = b.shape
    if not b.size:
        return
    row = batch * features
    if row > WIDEST and batch > 1:
        sequences = max(WIDEST // features, 1)
        for first in range(0, batch, sequences):
            part = slice(first, first + sequences)
            scan(a[part], b[part], state[part], h[part])
        return
    chunks = min(WIDE // row, time // SHORT)
    if chunks < FEW:
        _step_in_tiles(_lanes(a, 1), _lanes(b, 1), _lanes(h, 1), state[:, None])
        return
    length = -(-time // chunks)  # rounded up, so that what is left is shorter than a chunk
    chunks = time // length
    whole, rest = slice(0, chunks * length), slice(chunks * length, None)
    _side_by_side(a[:, whole], b[:, whole], state, h[:, whole], chunks)
    scan(a[:, rest], b[:, rest], state, h[:, rest])


def _lanes(x: np.ndarray, chunks: int) -> np.ndarray:
    """Time within the chunks first: (time, batch, chunks, features)."""
    batch, time, features = x.shape
    return np.moveaxis(x.reshape(batch, chunks, time // chunks, features), 2, 0)


def _side_by_side(a: np.ndarray, b: np.ndarray, state: np.ndarray, h: np.ndarray, chunks: int) -> None:
    lanes_a, lanes_b, lanes_h = (_lanes(x, chunks) for x in (a, b, h))
    products, ends = _summaries(lanes_a, lanes_b)
    states, after = np.empty_like(ends), np.empty_like(ends)
    states[:, 0] = state
    scan(products, ends, state, after)
    if not np.isfinite(after).all():
        state[...] = states[:, 0]
        _step_through(lanes_a, lanes_b, products, ends, state, after)
    states[:, 1:] = after[:, :-1]
    _step_in_tiles(lanes_a, lanes_b, lanes_h, states)


def _summaries(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The product of the factors of each chunk, and its last state if it begins with 0."""
    products, ends = np.ones(b.shape[1:], b.dtype), np.zeros(b.shape[1:], b.dtype)
    for factors, values in _tiles(a, b):
        _step(factors, values, ends, values)
        for start in range(0, len(factors), RUN):
            products *= np.multiply.reduce(factors[start : start + RUN], axis=0)
    return products, ends


def _step_through(
    a: np.ndarray, b: np.ndarray, products: np.ndarray, ends: np.ndarray, state: np.ndarray, after: np.ndarray
) -> None:
    """Find the states after the chunks one by one, step by step where their summaries yield nothing finite.

    A state that is no number stays so, whatever the chunk is.
    """
    for chunk in range(b.shape[2]):
        composed = products[:, chunk] * state + ends[:, chunk]
        if (~np.isfinite(composed) & ~np.isnan(state)).any():
            values = b[:, :, chunk].copy()
            _step(a[:, :, chunk], values, state, values)
        else:
            state[...] = composed
        after[:, chunk] = state


def _step_in_tiles(a: np.ndarray, b: np.ndarray, h: np.ndarray, state: np.ndarray) -> None:
    start = 0
    for factors, values in _tiles(a, b):
        _step(factors, values, state, values)
        h[start : start + len(values)] = values
        start += len(values)


def _tiles(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Contiguous copies of consecutive rows."""
    steps = min(max(TILE // b[0].nbytes, 1), len(b))
    factors, values = (np.empty((steps, *b.shape[1:]), b.dtype) for _ in range(2))
    constant = a.strides[0] == 0
    if constant:
        factors[...] = a[:1]
    for start in range(0, len(b), steps):
        part = slice(start, start + steps)
        count = len(b[part])
        if not constant:
            factors[:count] = a[part]
        values[:count] = b[part]
        yield factors[:count], values[:count]


def _step(a: np.ndarray, b: np.ndarray, state: np.ndarray, h: np.ndarray) -> None:
    """Scan rows one after the other; time is their first axis."""
    before, product = state, np.empty_like(state)
    for factor, value, after in zip(a, b, h, strict=True):
        np.multiply(factor, before, out=product)
        before = np.add(product, value, out=after)
    state[...] = before
