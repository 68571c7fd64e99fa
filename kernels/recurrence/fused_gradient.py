"""The gradient of a linear scan, in one pass against its direction.

With A = conj(a), what goes from step to step is ``w[t] = A[t] (g[t] + w[t + 1])``, a linear scan itself; the gradient
of b is ``g[t] + w[t + 1]``, and w before the first step is that of the state. All of it is done a tile at a time, which
stays in the first-level cache, by loops of three arrays each, which are vectorised where one of them all is not. Sums
over axes along which a is broadcast are taken over a tile first, then in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from kernels.jit import jit
from kernels.recurrence import ScanGradients
from kernels.recurrence.fused_blocks import (
    TILE,
    Block,
    are_ready,
    as_factors,
    as_series,
    as_states,
    by_blocks,
    carried_in,
    grid,
    lengths_of,
    part_of,
    pieces,
    states_of,
)
from kernels.recurrence.fused_steps import Few, Grid, advance, few_features

__all__ = ["gradients"]


def gradients(
    a: Any,
    h: np.ndarray,
    g: np.ndarray,
    h0: np.ndarray | None,
    g_final: np.ndarray | None,
    back: bool,
    lengths: Sequence[int] | None,
) -> ScanGradients:
    factors, states, given = as_factors(a, h), as_series(h), as_series(g)
    dtype = carried_in(h.dtype)
    db = np.empty(h.shape, h.dtype)
    summed = factors.shape != states.shape
    da = np.zeros(factors.shape, np.result_type(dtype, np.float64) if summed else h.dtype)
    first, final = as_states(h0, states.shape, dtype), as_states(g_final, states.shape, dtype)
    counts = lengths_of(lengths, states.shape)
    few = few_features(states.shape[2])
    results = [as_series(db)] if summed else [as_series(db), da]
    lock = Lock()

    def of_block(block: Block) -> None:
        carried = np.ascontiguousarray(final[block])
        total = np.zeros_like(part_of(da, block)) if summed else None
        for piece in pieces([factors, states, given], results, block, dtype, not back):
            steps = piece.stop - piece.start
            own = np.clip(counts[block.sequences] - piece.start, 0, steps)
            bounds = piece.start, piece.stop
            before = _before(part_of(states, block), first[block], counts[block.sequences], *bounds, back)
            target = None if summed else piece.results[1]
            sums = None
            if total is not None:
                sums = grid(total if total.shape[1] == 1 else total[:, slice(*bounds)], write=True)
            _gradients_all(*piece.inputs, piece.results[0], target, sums, before, carried, own, steps, back, few)
        final[block] = carried
        if total is not None:
            with lock:
                part_of(da, block)[...] += total

    if h.size:
        by_blocks(of_block, states.shape, not are_ready([factors, states, given, *results], dtype, states.shape[2]))
    with np.errstate(all="ignore"):
        da = da.reshape(np.shape(a)).astype(h.dtype, copy=False)[()]
    return ScanGradients(da, db, states_of(final, h))


def _before(h: np.ndarray, first: np.ndarray, counts: np.ndarray, start: int, stop: int, back: bool) -> np.ndarray:
    """The states before the steps from start to stop, in the order of the scan."""
    if not back:
        return first.copy() if start == 0 else h[:, start - 1].astype(first.dtype, order="C")
    inner = h[:, min(stop, h.shape[1] - 1)]
    return np.where((counts > stop)[:, np.newaxis], inner, first).astype(first.dtype, order="C")


@jit
def _gradients_all(
    a: Grid,
    h: Grid,
    g: Grid,
    db: Grid,
    da: Grid | None,
    sums: Grid | None,
    before: np.ndarray,
    states: np.ndarray,
    counts: np.ndarray,
    steps: int,
    back: bool,
    few: Few,
) -> None:
    width = states.shape[1]
    tile = TILE // width + 1
    factors = np.empty(tile * width, states.dtype)
    inputs, products = np.empty_like(factors), np.empty_like(factors)
    carried = np.empty((tile + 1) * width, states.dtype)
    own, later = (width, 0) if back else (0, width)
    for sequence in range(len(states)):
        count = counts[sequence]
        a_at, h_at, g_at = sequence * a.sequence, sequence * h.sequence, sequence * g.sequence
        db_at = sequence * db.sequence
        for done in range(0, count, tile):
            rows = min(tile, count - done)
            start = done if back else count - done - rows
            _fill(a, a_at + start * a.step, g, g_at + start * g.step, factors, inputs, rows, width, few)
            edge = 0 if back else rows * width
            carried[edge : edge + width] = states[sequence]
            advance(
                Grid(factors, 0, width, 1),
                0,
                Grid(inputs, 0, width, 1),
                0,
                Grid(carried, 0, width, 1),
                own,
                states[sequence],
                rows,
                not back,
                few,
            )
            _add(g, g_at + start * g.step, carried, later, db, db_at + start * db.step, rows, width, few)
            if da is None:
                target, target_at = Grid(products, 0, width, 1), 0
            else:
                target, target_at = da, sequence * da.sequence + start * da.step
            at_edge = start + rows == count if back else start == 0
            if at_edge:
                row = rows - 1 if back else 0
                place, result = db_at + (start + row) * db.step, target_at + row * target.step
                _multiply(before[sequence], 0, db.items, place, target.items, result, width)
            first = 1 if at_edge and not back else 0
            rest = rows - 1 if at_edge else rows
            _multiply_rows(
                h,
                h_at + (start + first + (1 if back else -1)) * h.step,
                db,
                db_at + (start + first) * db.step,
                target,
                target_at + first * target.step,
                rest,
                width,
                few,
            )
            if sums is not None:
                _sum(products, rows, width, sums, sequence * sums.sequence + start * sums.step)
        for t in range(count, steps):
            db.items[db_at + t * db.step : db_at + t * db.step + width] = 0
            if da is not None:
                place = sequence * da.sequence + t * da.step
                da.items[place : place + width] = 0


@jit(fastmath={"contract"})
def _fill(
    a: Grid, a_at: int, g: Grid, g_at: int, factors: np.ndarray, inputs: np.ndarray, rows: int, width: int, few: Few
) -> None:
    """Conjugate factors, and their products with g."""
    if few is not None:
        rows, width = 1, rows * width
    for row in range(rows):
        own = factors[row * width : (row + 1) * width]
        if few is not None and a.step == 0:
            for i in range(width):
                own[i] = a.items[a_at + i % len(few) * a.feature].conjugate()
        elif few is not None or a.feature:
            x = a.items[a_at + row * a.step : a_at + row * a.step + width]
            for i in range(width):
                own[i] = x[i].conjugate()
        else:
            own[:] = a.items[a_at + row * a.step].conjugate()
        y = g.items[g_at + row * g.step : g_at + row * g.step + width]
        result = inputs[row * width : (row + 1) * width]
        for i in range(width):
            result[i] = own[i] * y[i]


@jit
def _add(
    g: Grid, g_at: int, carried: np.ndarray, later: int, db: Grid, db_at: int, rows: int, width: int, few: Few
) -> None:
    if few is not None:
        rows, width = 1, rows * width
    for row in range(rows):
        x = g.items[g_at + row * g.step : g_at + row * g.step + width]
        y = carried[later + row * width : later + (row + 1) * width]
        result = db.items[db_at + row * db.step : db_at + row * db.step + width]
        for i in range(width):
            result[i] = x[i] + y[i]


@jit
def _multiply_rows(
    h: Grid, h_at: int, db: Grid, db_at: int, target: Grid, target_at: int, rows: int, width: int, few: Few
) -> None:
    if few is not None:
        rows, width = min(rows, 1), rows * width
    for row in range(rows):
        h_row, db_row, result = h_at + row * h.step, db_at + row * db.step, target_at + row * target.step
        _multiply(h.items, h_row, db.items, db_row, target.items, result, width)


@jit(fastmath={"contract"})
def _multiply(
    x: np.ndarray, x_at: int, y: np.ndarray, y_at: int, result: np.ndarray, result_at: int, count: int
) -> None:
    p, q, r = x[x_at : x_at + count], y[y_at : y_at + count], result[result_at : result_at + count]
    for i in range(count):
        r[i] = p[i].conjugate() * q[i]


@jit(fastmath={"reassoc"})
def _sum(products: np.ndarray, rows: int, width: int, da: Grid, da_at: int) -> None:
    if da.feature:
        for row in range(rows):
            own = products[row * width : (row + 1) * width]
            totals = da.items[da_at + row * da.step : da_at + row * da.step + width]
            for i in range(width):
                totals[i] += own[i]
        return
    if da.step == 0:
        rows, width = 1, rows * width
    for row in range(rows):
        own = products[row * width : (row + 1) * width]
        total = products.dtype.type(0)
        for i in range(width):
            total += own[i]
        da.items[da_at + row * da.step] += total
