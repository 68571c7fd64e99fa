"""Recurrences on Dask: lazy, of known chunks, which may be cut along batch, time and features as they like.

A task calls a dense backend on a chunk, from the state before it: see `chunked_scans` for where that comes from, and
`chunked_summaries`. The gradient is such a recurrence, too, against time: its state is the gradient of the scan's. No
array is rechunked along time; `sru` alone needs whole features. Half precision is carried in single from the first
chunk to the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np

from kernels import recurrence
from kernels.chunk_tasks import blas_on_one_thread, on_one_thread
from kernels.dask_arrays import rechunked, tree, whole, without_empty_chunks
from kernels.dispatch import default_backend
from kernels.recurrence import GatedSeries, ScanGradients
from kernels.recurrence.chunked_scans import (
    Recurrence,
    aligned,
    chained,
    states_before,
    without_time,
)
from kernels.recurrence.chunked_summaries import Way


def linear_scan(
    a: Any, b: da.Array, h0: Any, reverse: bool, lengths: tuple[int, ...] | None, return_final: bool, out: None
) -> Any:
    way = Way(default_backend(recurrence.linear_scan, a, b), reverse, lengths)
    h, final = _along(Recurrence(_scan, _factors), [_carried(b), _carried(a)], _carried(h0), way)
    h, final = h.astype(b.dtype, copy=False), final.astype(b.dtype, copy=False)
    return (h, final) if return_final else h


def _scan(operands: list[Any], weights: list[np.ndarray], state: Any, way: Way) -> tuple[np.ndarray, np.ndarray]:
    b, a = operands
    h, final = on_one_thread(
        way.backend, recurrence.linear_scan, a, b, state, reverse=way.reverse, lengths=way.lengths, return_final=True
    )
    return h, np.asarray(final)


def _factors(b: np.ndarray, a: Any) -> tuple[Any, np.ndarray]:
    return a, b


def linear_scan_vjp(
    a: Any, h: da.Array, g: da.Array, h0: Any, g_final: Any, reverse: bool, lengths: tuple[int, ...] | None
) -> ScanGradients:
    """The state of the gradient before a chunk, which it comes to last, is what `g_final` is for the chunk before."""
    way = Way(default_backend(recurrence.linear_scan_vjp, a, h, g), not reverse, lengths)
    dtype = h.dtype
    a, h, g, h0, g_final = (_carried(array) for array in (a, h, g, h0, g_final))
    g = without_empty_chunks(g)
    a, h = aligned(a, g), aligned(h, g)
    initial = _state(h0, g) if h0 is not None else _zeros(g)
    before = states_before(h, initial, reverse, lengths)
    shape = np.shape(a)
    missing = g.ndim - len(shape)
    summed = tuple(axis for axis in range(g.ndim) if axis < missing or shape[axis - missing] == 1)
    parts = tuple((1,) * len(sizes) if axis in summed else sizes for axis, sizes in enumerate(g.chunks))
    gradient = Recurrence(_gradients, _conjugates)
    after = None if g_final is None else _state(g_final, g)
    of_a, of_b, of_state = chained(gradient, [g, a, h, before], after, [parts, g.chunks], way)
    if summed:
        of_a = tree(of_a, _sum, summed)[(0,) * missing]
    return ScanGradients(*(array.astype(dtype, copy=False) for array in (of_a, of_b, of_state)))


def _gradients(operands: list[Any], weights: list[np.ndarray], state: Any, way: Way) -> tuple[np.ndarray, ...]:
    g, a, h, before = operands
    of_a, of_b, of_state = on_one_thread(
        way.backend, recurrence.linear_scan_vjp, a, h, g, before.take(0, axis=max(g.ndim - 2, 0)),
        g_final=state, reverse=not way.reverse, lengths=way.lengths,
    )  # fmt: skip
    of_a = np.asarray(of_a, g.dtype)
    return of_a.reshape((1,) * (g.ndim - of_a.ndim) + of_a.shape), of_b, np.asarray(of_state)


def _conjugates(g: np.ndarray, a: Any, h: np.ndarray, before: np.ndarray) -> tuple[Any, np.ndarray]:
    """What the gradient of the state before a step is a scan of."""
    a = a.conjugate()
    return a, a * g


@np.errstate(all="ignore")
def _sum(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    return parts.sum(axis=axis, keepdims=keepdims)


def event_scan(a: Any, b: da.Array) -> da.Array:
    way = Way(default_backend(recurrence.linear_scan, a, b))
    return _along(Recurrence(_events, _factors), [b, a], None, way)[0]


def _events(operands: list[Any], weights: list[np.ndarray], state: Any, way: Way) -> tuple[np.ndarray, np.ndarray]:
    h, final = _scan(operands, weights, state, way)
    np.copyto(h, 0, where=operands[0] == 0)
    return h, final


def qrnn(z: da.Array, f: da.Array, o: da.Array | None, c0: Any) -> GatedSeries:
    way = Way(default_backend(recurrence.qrnn, z, f, o, c0))
    z = without_empty_chunks(z)
    results = [z.chunks] * (1 if o is None else 2)
    *series, final = _along(Recurrence(_pooled, _pooling), [z, f, o], c0, way, results)
    return GatedSeries(series[0], series[-1], final)


def _pooled(operands: list[Any], weights: list[np.ndarray], state: Any, way: Way) -> tuple[np.ndarray, ...]:
    c, h, final = on_one_thread(way.backend, recurrence.qrnn, *operands, state)
    return (c, np.asarray(final)) if operands[2] is None else (c, h, np.asarray(final))


def _pooling(z: np.ndarray, f: np.ndarray, o: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    return 1 - f, f * z


def sru(x: da.Array, w: da.Array, b: da.Array, v: da.Array | None, c0: Any) -> GatedSeries:
    """With peepholes it is not linear, and chunks of time go one after another."""
    way = Way(default_backend(recurrence.sru, x, w, b, v, c0))
    x = without_empty_chunks(whole(x, x.ndim - 1))
    weights = [array.rechunk(-1) for array in (w, b, v) if array is not None]
    unit = Recurrence(_gated, _forgetting if v is None else None)
    return GatedSeries(*_along(unit, [x], c0, way, [x.chunks] * 2, weights))


def _gated(operands: list[Any], weights: list[np.ndarray], state: Any, way: Way) -> tuple[np.ndarray, ...]:
    w, b, v = weights if len(weights) == 3 else (*weights, None)
    with blas_on_one_thread(way.backend):
        return tuple(on_one_thread(way.backend, recurrence.sru, operands[0], w, b, v, state))


def _forgetting(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features = x.shape[-1]
    candidates, gates = np.split(x @ w[:, : 2 * features], 2, axis=-1)
    f = 1 / (1 + np.exp(-(gates + b[0])))
    return f, (1 - f) * candidates


def lru(lam: Any, u: da.Array, h0: Any) -> da.Array:
    return linear_scan(lam, u, h0, False, None, False, None)


def _along(
    of: Recurrence,
    operands: list[Any],
    state: Any,
    way: Way,
    results: Sequence[Any] = (),
    weights: Sequence[da.Array] = (),
) -> list[da.Array]:
    """Go through a series, with all else in its chunks; one result of these where none are told."""
    series = without_empty_chunks(operands[0])
    operands = [series, *(aligned(operand, series) for operand in operands[1:])]
    before = None if state is None else _state(state, series)
    return chained(of, operands, before, results or [series.chunks], way, weights)


def _state(state: Any, series: da.Array) -> da.Array:
    """In the chunks of the series; that of a series of one axis may have come as a number."""
    return rechunked(da.asarray(state).astype(series.dtype, copy=False), without_time(series))


def _zeros(series: da.Array) -> da.Array:
    """The state that a scan begins with where none is given."""
    chunks = without_time(series)
    return da.zeros(tuple(map(sum, chunks)), dtype=series.dtype, chunks=chunks)


def _carried(array: Any) -> Any:
    """In the precision that half precision is carried in."""
    return array.astype(np.float32) if getattr(array, "dtype", None) == np.float16 else array
