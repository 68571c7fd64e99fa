"""Causal convolution of a series in chunks of time: each is given the end of what comes before it as its state.

That end reaches over as many chunks as it must. The state is what the convolution of a stream would go on from, so that
nothing is computed twice but where the series has only just begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, product
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from kernels import ndarray
from kernels.chunk_tasks import on_one_thread
from kernels.dask_arrays import chunk_bytes, meta, resized, whole
from kernels.dispatch import default_backend

__all__ = ["convolved"]


def convolved(x: da.Array, w: da.Array, bias: da.Array | None, dilation: int, state: da.Array | None) -> da.Array:
    """The features of a step, and the taps, are in one chunk; chunks of time reach at least as far back as the taps."""
    backend = default_backend(ndarray.causal_conv1d, x, w, bias)
    width, n_in, n_out = w.shape
    reach = (width - 1) * dilation
    time = max(x.ndim - 2, 0)
    if x.ndim > 1:
        x = whole(x, x.ndim - 1)
    step = max(n_in, n_out, 1) * x.itemsize * (max(x.chunks[0]) if x.ndim == 3 else 1)
    steps = resized(x.chunks[time], least=min(reach, x.shape[time]), most=chunk_bytes() // max(step, 1))
    x = x.rechunk({time: steps})
    w, bias = w.rechunk(-1), bias if bias is None else bias.rechunk(-1)
    sources: list[Any] = [x, w]
    if bias is not None:
        sources.append(bias)
    if state is not None and reach:
        sources.append(state.rechunk((*x.chunks[:time], (reach,), *x.chunks[time + 1 :])))

    name = f"causal_conv1d-{tokenize(sources, dilation, backend)}"
    series = [(x.name, i) for i in range(len(steps))]
    sizes = list(steps)
    if len(sources) > 2 and sources[-1] is not bias:
        series.insert(0, (sources[-1].name, 0))
        sizes.insert(0, reach)
    graph: dict[Any, Any] = {}
    first = len(series) - len(steps)
    for lead in product(*(range(n) for n in x.numblocks[:time])):
        keys = [(source, *lead, i, *(0,) * (x.ndim > 1)) for source, i in series]
        for i, pieces in enumerate(_before(sizes, reach)):
            past = []
            for j, cut in pieces:
                past.append(keys[j])
                if cut:
                    past[-1] = (f"{name}-end", *lead, j, cut)
                    graph[past[-1]] = (_end, keys[j], cut, time)
            if i >= first:
                place = (name, *lead, i - first, *(0,) * (x.ndim > 1))
                taps = (w.name, 0, 0, 0), None if bias is None else (bias.name, 0)
                graph[place] = (_convolve, keys[i], past, *taps, dilation, backend)
    chunks = (*x.chunks[:-1], (n_out,)) if x.ndim > 1 else x.chunks
    return da.Array(HighLevelGraph.from_collections(name, graph, sources), name, chunks, meta=meta(x))


def _before(sizes: list[int], reach: int) -> Iterator[list[tuple[int, int]]]:
    """For each chunk the chunks of the `reach` steps before it, each with how many of its first steps are left out."""
    starts = [0, *accumulate(sizes)]
    for i in range(len(sizes)):
        since = max(starts[i] - reach, 0)
        yield [(j, max(since - starts[j], 0)) for j in range(i) if starts[j + 1] > since]


def _end(x: np.ndarray, cut: int, time: int) -> np.ndarray:
    return x[(slice(None),) * time + (slice(cut, None),)].copy()


def _convolve(
    x: np.ndarray, past: list[np.ndarray], w: np.ndarray, bias: np.ndarray | None, dilation: int, backend: str
) -> np.ndarray:
    """With less before it than the taps reach back, no state says so: what is there is convolved, too, and left out."""
    time = max(x.ndim - 2, 0)
    steps = sum(piece.shape[time] for piece in past)
    state = np.concatenate(past, axis=time) if past else None
    if 0 < steps < (len(w) - 1) * dilation:
        x, state = np.concatenate([state, x], axis=time), None
    else:
        steps = 0
    y = on_one_thread(backend, ndarray.causal_conv1d, x, w, bias, dilation=dilation, state=state)
    return y[(slice(None),) * time + (slice(steps, None),)]
