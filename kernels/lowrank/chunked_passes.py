"""Passes over arrays that need not fit into memory: a second one reads their blocks anew, once the first one has ended.

Dask computes a block once and keeps it for all that is made of it. What needs all blocks before it can begin, as a draw
of terms needs all norms, would so have the whole array kept meanwhile; hence each pass has tasks of its own.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
from dask._task_spec import Alias, Task, TaskRef, convert_legacy_graph
from dask.base import tokenize
from dask.core import flatten
from dask.graph_manipulation import checkpoint
from dask.highlevelgraph import HighLevelGraph

from kernels.dask_arrays import layers_on, on_layer

__all__ = ["after"]


def after(first: da.Array, *arrays: da.Array) -> tuple[da.Array, ...]:
    """The same arrays, from tasks of their own, shared among them, that wait for the whole of `first`.

    `dask.graph_manipulation.bind` would do, but that it knows no tasks of the kind that Dask's own rechunking makes.
    """
    end = checkpoint(first)
    given = HighLevelGraph.merge(*(x.__dask_graph__() for x in arrays))
    blocks = set(flatten([x.__dask_keys__() for x in arrays]))
    tasks = convert_legacy_graph(arrays[0].__dask_optimize__(given, list(blocks)))
    name = f"pass-{tokenize(sorted(x.name for x in arrays), end.key)}"
    renamed = {key: (name, key) for key in tasks}
    outside = blocks - tasks.keys()
    graph = {}
    for key, task in tasks.items():
        own = task.substitute(renamed, key=renamed[key])
        graph[own.key] = own if task.dependencies & renamed.keys() else Task(own.key, _second, TaskRef(end.key), own)
        outside |= task.dependencies - tasks.keys()
    for key in blocks - tasks.keys():
        graph[name, key] = Task((name, key), _second, TaskRef(end.key), TaskRef(key))
    # What a cluster keeps has no task, and is looked for in the graph that was given. That must not be asked for
    # without need: of what two layers ask for, Dask makes tasks of its own.
    layers = layers_on(name, graph, end, *(arrays if outside else ()))
    return tuple(_renamed(layers, name, x) for x in arrays)


def _renamed(layers: HighLevelGraph, layer: str, x: da.Array) -> da.Array:
    name = f"{layer}-{x.name}"
    blocks = {(name, *key[1:]): Alias((name, *key[1:]), (layer, key)) for key in flatten(x.__dask_keys__())}
    return on_layer(layers, layer, name, blocks, x.chunks, x._meta)


def _second(first: Any, second: Any) -> Any:
    return second
