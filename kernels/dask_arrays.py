"""What functions on Dask are made of: public functions as tasks, sizes of chunks in bytes, trees of partial results.

A task calls a dense backend by its name, which is chosen where the graph is built, on one thread, since a worker runs
as many tasks at once as it has threads. Partial results are arrays, packed where one is not enough, which lie side by
side along the axis that is reduced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_bytes

from kernels.chunk_tasks import on_one_thread
from kernels.dispatch import default_backend

__all__ = [
    "blocks",
    "chunk_bytes",
    "layers_on",
    "meta",
    "on_chunks",
    "on_layer",
    "resized",
    "tree",
    "whole",
    "without_empty_chunks",
]


def on_chunks(function: Callable[..., Any], x: da.Array, *arguments: Any, **layout: Any) -> da.Array:
    """A public function on each chunk of `x` by itself."""
    task = {"function": function, "arguments": arguments, "backend": default_backend(function, x, *arguments)}
    return da.map_blocks(_on_chunk, x, **task, **{"meta": meta(x)} | layout)


def _on_chunk(x: np.ndarray, function: Callable[..., Any], arguments: tuple[Any, ...], backend: str) -> Any:
    return on_one_thread(backend, function, x, *arguments)


def meta(x: da.Array, ndim: int | None = None) -> np.ndarray:
    """What a chunk like those of `x` is like, so that Dask need not call a task's function to find out."""
    return np.empty((0,) * (x.ndim if ndim is None else ndim), x.dtype)


def blocks(task: Callable[..., np.ndarray], indices: str | Sequence[Any], *operands: Any, **options: Any) -> da.Array:
    """`da.blockwise` of arrays whose contracted axes are whole."""
    first = operands[0]
    return da.blockwise(
        task, indices, *operands, concatenate=True, dtype=first.dtype, meta=meta(first, len(indices)), **options
    )


def layers_on(name: str, tasks: dict[Any, Any], *sources: Any) -> HighLevelGraph:
    """A graph with one layer more than those of the collections that its tasks ask for."""
    return HighLevelGraph.from_collections(name, tasks, sources)


def on_layer(
    layers: HighLevelGraph,
    layer: str,
    name: str,
    tasks: dict[Any, Any],
    chunks: tuple[tuple[int, ...], ...],
    meta: np.ndarray,
) -> da.Array:
    """One of several arrays that are made of what the tasks of a layer give."""
    graph = HighLevelGraph({**layers.layers, name: tasks}, {**layers.dependencies, name: {layer}})
    return da.Array(graph, name, chunks, meta=meta)


def tree(
    parts: da.Array,
    merge: Callable[..., np.ndarray],
    axes: int | tuple[int, ...],
    *,
    keepdims: bool = True,
    concatenate: bool = True,
) -> da.Array:
    """Merge partial results, some neighbours at a time: `merge(parts, axis, keepdims)` of what lies along `axes`.

    Large ones along one axis come as a list, which is not to be copied together, with `concatenate=False`.
    """
    return da.reduction(
        parts, _as_it_is, merge, axis=axes, keepdims=keepdims, dtype=parts.dtype, concatenate=concatenate,
        meta=meta(parts, parts.ndim - (0 if keepdims else np.size(axes))),
    )  # fmt: skip


def _as_it_is(part: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    return part


def chunk_bytes() -> int:
    return parse_bytes(dask.config.get("array.chunk-size"))


def resized(sizes: Sequence[int], *, least: int = 0, most: int) -> tuple[int, ...]:
    """Sizes of chunks where neighbours are put together up to `least` items, and those of more than `most` divided."""
    gathered, waiting = [], 0
    for size in sizes:
        waiting += size
        if waiting >= least:
            gathered.append(waiting)
            waiting = 0
    if waiting:
        gathered[-1:] = [sum(gathered[-1:]) + waiting]
    result: list[int] = []
    for size in gathered or [0]:
        pieces = max(1, -(-size // max(most, 1)))
        result += [size * (i + 1) // pieces - size * i // pieces for i in range(pieces)]
    return tuple(result)


def without_empty_chunks(x: da.Array) -> da.Array:
    """Along an axis of one item, Dask's own functions take the first of several chunks for the one that has it."""
    chunks = tuple(tuple(filter(None, sizes)) or (0,) for sizes in x.chunks)
    return x if chunks == x.chunks else x.rechunk(chunks)


def whole(x: da.Array, *axes: int) -> da.Array:
    """`x` with one chunk along each of these axes, the others divided where a chunk would outgrow array.chunk-size."""
    chunks = [(sum(sizes),) if axis in axes else sizes for axis, sizes in enumerate(x.chunks)]
    if all(len(x.chunks[axis]) == 1 for axis in axes):
        return x
    for axis in range(x.ndim):
        if axis not in axes:
            others = math.prod(max(sizes) for place, sizes in enumerate(chunks) if place != axis) * x.itemsize
            chunks[axis] = resized(chunks[axis], most=chunk_bytes() // max(others, 1))
    return x.rechunk(tuple(chunks))
