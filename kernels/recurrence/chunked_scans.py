"""Recurrences over series in chunks of time, which are gone through one after another, from the state between them.

No chunk has to wait for those before it to be scanned: from summaries, which tell what each chunk does to a state, the
states between chunks follow in a chain of small tasks [1]_. Then each chunk is scanned from its own state. As that
takes two readings of all chunks but the first and the last, it is done only where there are fewer pieces of batch and
features than threads; else, and where a recurrence is not linear, a chunk begins with the state that the scan of the
one before has ended with. Either way a chunk can be forgotten as soon as it is scanned, but workers that have
nothing else to do read ahead of the chain; what does not fit into memory meanwhile, Dask writes to disk.

.. [1] G. E. Blelloch, "Prefix sums and their applications", technical report CMU-CS-90-190, 1990.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise, product
from math import prod
from operator import getitem
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize

from kernels.dask_arrays import layers_on, meta, on_layer, rechunked
from kernels.recurrence.chunked_summaries import Linear, Way, state_after, summary, within
from kernels.registry import BUILT_IN

__all__ = ["Recurrence", "aligned", "chained", "states_before", "time_axis", "without_time"]

Chunks = tuple[tuple[int, ...], ...]


class Recurrence(NamedTuple):
    """A recurrence as the tasks of a chunk have it.

    Attributes
    ----------
    step : callable
        Of the operands and the weights, each a list, the state before, and the way: the results, and last the state
        after them.
    linear : callable, optional
        Of pieces of the operands with three axes, and the weights: a and b of the linear scan that the state is the
        result of. None where there is none such.
    """

    step: Callable[..., tuple[Any, ...]]
    linear: Linear | None


def time_axis(series: da.Array) -> int:
    return max(series.ndim - 2, 0)


def without_time(series: da.Array) -> Chunks:
    """The chunks of a state."""
    time = time_axis(series)
    return series.chunks[:time] + series.chunks[time + 1 :]


def aligned(operand: Any, series: da.Array) -> Any:
    """An operand that can be broadcast against a series, in the chunks of that; numbers and None as they are."""
    if not isinstance(operand, da.Array) or not operand.ndim:
        return operand
    chunks = series.chunks[-operand.ndim :]
    return rechunked(
        operand, tuple((1,) if length == 1 else sizes for length, sizes in zip(operand.shape, chunks, strict=True))
    )


def chained(
    recurrence: Recurrence,
    operands: Sequence[Any],
    state: da.Array | None,
    results: Sequence[Chunks],
    way: Way,
    weights: Sequence[da.Array] = (),
) -> list[da.Array]:
    """Go through a series, the first of the operands, and return the results and the state after the last step.

    Parameters
    ----------
    operands : sequence of da.Array, number or None
        Aligned with the series.
    state : da.Array, optional
        The state before the first step, with the chunks of the series.
    results : sequence of chunks
        Those of each result.
    way : Way
        With the lengths of whole sequences.
    weights : sequence of da.Array
        In one chunk.
    """
    series = operands[0]
    time = time_axis(series)
    layer = f"recurrence-{tokenize(recurrence, operands, state, way, weights)}"
    names = [f"{layer}-{i}" for i in range(len(results))]
    tasks: dict[Any, Any] = {}
    of_results: list[dict[Any, Any]] = [{} for _ in results]
    finals = {}
    across = without_time(series)
    few_columns = prod(map(len, across)) < (BUILT_IN["dask"].threads() or 1)
    order = range(series.numblocks[time])[:: -1 if way.reverse else 1]
    for column in product(*(range(len(sizes)) for sizes in across)):
        before = None if state is None else (state.name, *column)
        for chunk in order:
            place = (*column[:time], chunk, *column[time:])
            step, after = (layer, "step", *place), (layer, "state", *place)
            own_way = way._replace(lengths=_lengths_within(way.lengths, series, place))
            keys = [_key(operand, place) for operand in operands], [_key(weight, place) for weight in weights]
            tasks[step] = (partial(recurrence.step, way=own_way), *keys, before)
            for i, name in enumerate(names):
                of_results[i][name, *place] = (getitem, step, i)
            if recurrence.linear and few_columns and chunk not in (order[0], order[-1]):
                passed = layer, "summary", *place
                tasks[passed] = (partial(summary, linear=recurrence.linear, way=own_way), *keys)
                tasks[after] = (partial(state_after, linear=recurrence.linear, way=own_way), passed, before, *keys)
            else:
                tasks[after] = (getitem, step, -1)
            before = after
        finals[f"{layer}-final", *column] = before
    sources = [source for source in (*operands, *weights, state) if isinstance(source, da.Array)]
    layers = layers_on(layer, tasks, *sources)
    return [
        *(on_layer(layers, layer, name, parts, chunks, meta(series))
          for name, parts, chunks in zip(names, of_results, results, strict=True)),
        on_layer(layers, layer, f"{layer}-final", finals, across, meta(series, len(across))),
    ]  # fmt: skip


def _key(operand: Any, place: tuple[int, ...]) -> Any:
    """Of the operand's chunk for one of the series: the only one there is along an axis where it is broadcast."""
    if not isinstance(operand, da.Array):
        return operand
    own_place = place[len(place) - operand.ndim :]
    return (operand.name, *(i if n > 1 else 0 for i, n in zip(own_place, operand.numblocks, strict=True)))


def _lengths_within(
    lengths: tuple[int, ...] | None, series: da.Array, place: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The lengths of the sequences of one chunk, from its start in time."""
    if lengths is None:
        return None
    starts = [[0, *accumulate(sizes)] for sizes in series.chunks[:2]]
    (first, last), (start, stop) = (ends[i : i + 2] for ends, i in zip(starts, place, strict=False))
    return within(lengths[first:last], start, stop - start)


def states_before(h: da.Array, state: da.Array, reverse: bool, lengths: tuple[int, ...] | None) -> da.Array:
    """The state before each chunk of what a scan has given, which has one step for each."""
    time = time_axis(h)
    name = f"states-before-{tokenize(h, state, reverse, lengths)}"
    order = range(h.numblocks[time])[:: -1 if reverse else 1]
    graph: dict[Any, Any] = {}
    for column in product(*(range(len(sizes)) for sizes in without_time(h))):
        initial = (state.name, *column)
        graph[name, *column[:time], order[0], *column[time:]] = (np.expand_dims, initial, time)
        for last, chunk in pairwise(order):
            place = (*column[:time], last, *column[time:])
            own_lengths = _lengths_within(lengths, h, place)
            task = partial(_end, time=time, step=0 if reverse else -1, lengths=own_lengths)
            graph[name, *column[:time], chunk, *column[time:]] = (task, (h.name, *place), initial)
    chunks = (*h.chunks[:time], (1,) * len(order), *h.chunks[time + 1 :])
    return da.Array(layers_on(name, graph, h, state), name, chunks, meta=meta(h))


def _end(h: np.ndarray, initial: np.ndarray, time: int, step: int, lengths: tuple[int, ...] | None) -> np.ndarray:
    """The state that a chunk ends with: the initial one in a sequence that has not begun."""
    end = h.take([step], axis=time)
    if lengths is None:
        return end
    return np.where(np.array(lengths)[:, None, None] > 0, end, np.expand_dims(initial, time))
