"""Linear scans, sequence by sequence; one long sequence of few features in chunks of time, on as many threads.

The first chunk is gone through at once. Of the others, but for the last, is found what their steps compose to, so that
the state before each is known, and then they are gone through, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from kernels.jit import jit, parts_of, thread_map
from kernels.recurrence.fused_blocks import (
    NARROW,
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
    pieces,
    states_of,
    threads_for,
)
from kernels.recurrence.fused_steps import Few, Grid, advance, few_features, summarise
from kernels.vector_math import select

__all__ = ["scan", "scan_at_events"]


def scan(
    a: Any, b: np.ndarray, h0: np.ndarray | None, back: bool, lengths: Sequence[int] | None, out: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The states, and the last one of each sequence."""
    if out is not None and out.dtype != b.dtype:
        raise TypeError(f"out must have the dtype {b.dtype} of the result, not {out.dtype}")
    h = np.empty(b.shape, b.dtype) if out is None or _is_in_the_way(out, a, b) else out
    factors, inputs, states = as_factors(a, b), as_series(b), as_series(h)
    final = as_states(h0, inputs.shape, carried_in(b.dtype))
    if b.size:
        counts = lengths_of(lengths, inputs.shape)
        if not _in_chunks(factors, inputs, states, final, back, counts):
            _in_blocks(_advance_all, factors, inputs, states, final, back, counts)
    if out is not None and h is not out:
        np.copyto(out, h)
        h = out
    return h, states_of(final, b)


def scan_at_events(a: Any, b: np.ndarray) -> np.ndarray:
    """The states where inputs are not 0, and 0 elsewhere."""
    h, inputs = np.empty(b.shape, b.dtype), as_series(b)
    if b.size:
        final = as_states(None, inputs.shape, b.dtype)
        counts = lengths_of(None, inputs.shape)
        _in_blocks(_advance_to_events, as_factors(a, b), inputs, as_series(h), final, False, counts)
    return h


def _is_in_the_way(out: np.ndarray, a: Any, b: np.ndarray) -> bool:
    """Whether results would be written over what is yet to be read."""
    return any(isinstance(x, np.ndarray) and np.may_share_memory(out, x) and not _are_same(out, x) for x in (a, b))


def _are_same(x: np.ndarray, y: np.ndarray) -> bool:
    return x.ctypes.data == y.ctypes.data and x.shape == y.shape and x.strides == y.strides


def _in_blocks(
    kernel: Callable[..., None],
    a: np.ndarray,
    b: np.ndarray,
    h: np.ndarray,
    final: np.ndarray,
    back: bool,
    counts: np.ndarray,
) -> None:
    """Fill h, and advance `final`, which holds the states before the first step."""
    few = few_features(b.shape[2])

    def of_block(block: Block) -> None:
        states = np.ascontiguousarray(final[block])
        for piece in pieces([a, b], [h], block, final.dtype, back):
            steps = piece.stop - piece.start
            own = np.clip(counts[block.sequences] - piece.start, 0, steps)
            kernel(*piece.inputs, *piece.results, states, own, steps, back, few)
        final[block] = states

    by_blocks(of_block, b.shape, not are_ready([a, b, h], final.dtype, b.shape[2]))


@jit
def _advance_all(
    a: Grid, b: Grid, h: Grid, states: np.ndarray, counts: np.ndarray, steps: int, back: bool, few: Few
) -> None:
    for sequence in range(len(states)):
        h_at, count = sequence * h.sequence, counts[sequence]
        advance(a, sequence * a.sequence, b, sequence * b.sequence, h, h_at, states[sequence], count, back, few)
        for t in range(count, steps):
            h.items[h_at + t * h.step : h_at + t * h.step + states.shape[1]] = 0


@jit
def _advance_to_events(
    a: Grid, b: Grid, h: Grid, states: np.ndarray, counts: np.ndarray, steps: int, back: bool, few: Few
) -> None:
    width = states.shape[1]
    tile = TILE // width + 1
    for sequence in range(len(states)):
        for start in range(0, steps, tile):
            count = min(tile, steps - start)
            a_at = sequence * a.sequence + start * a.step
            b_at = sequence * b.sequence + start * b.step
            h_at = sequence * h.sequence + start * h.step
            advance(a, a_at, b, b_at, h, h_at, states[sequence], count, back, few)
            rows, length = (count, width) if few is None else (1, count * width)
            for row in range(rows):
                inputs = b.items[b_at + row * b.step : b_at + row * b.step + length]
                result = h.items[h_at + row * h.step : h_at + row * h.step + length]
                for i in range(length):
                    result[i] = select(inputs[i] == 0, result.dtype.type(0), result[i])


def _in_chunks(a: np.ndarray, b: np.ndarray, h: np.ndarray, final: np.ndarray, back: bool, counts: np.ndarray) -> bool:
    """As `_in_blocks`; False where there are blocks enough for all threads, or memory would have to be copied."""
    sequences, steps, features = b.shape
    threads = threads_for(b.size)
    if sequences * max(1, features // NARROW) >= threads or not are_ready([a, b, h], final.dtype, features):
        return False
    few = few_features(features)
    chunks = [slice(*bounds) for bounds in parts_of(steps, threads + 1)][:: -1 if back else 1]
    own = [np.clip(counts - rows.start, 0, rows.stop - rows.start) for rows in chunks]
    found = [np.zeros_like(final) for _ in chunks]
    factors = [np.ones_like(final) for _ in chunks]

    def grids(rows: slice) -> tuple[Grid, Grid]:
        return grid(a if a.shape[1] == 1 else a[:, rows]), grid(b[:, rows])

    def finish(place: int, states: np.ndarray) -> None:
        rows = chunks[place]
        target = grid(h[:, rows], write=True)
        _advance_all(*grids(rows), target, states, own[place], rows.stop - rows.start, back, few)

    def find(place: int) -> None:
        _summarise_all(*grids(chunks[place]), factors[place], found[place], own[place], back, few)

    middle = range(1, threads)
    thread_map(lambda task: task(), [partial(finish, 0, final), *(partial(find, place) for place in middle)])
    before = [final]
    with np.errstate(all="ignore"):
        for place in middle:
            before.append(factors[place] * before[-1] + found[place])
    if np.isfinite(before).all():
        thread_map(lambda place: finish(place, before[place - 1]), range(1, threads + 1))
        final[:] = before[-1]
    else:  # A product of factors may have overflowed that single steps never form.
        for place in range(1, threads + 1):
            finish(place, final)
    return True


@jit
def _summarise_all(
    a: Grid, b: Grid, factors: np.ndarray, states: np.ndarray, counts: np.ndarray, back: bool, few: Few
) -> None:
    for k in range(len(states)):
        summarise(a, k * a.sequence, b, k * b.sequence, factors[k], states[k], counts[k], back, few)
