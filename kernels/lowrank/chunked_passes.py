"""Passes over arrays that need not fit into memory: a second one reads their blocks anew, once the first one has ended.

Dask computes a block once and keeps it for all that is made of it. What needs all blocks before it can begin, as a draw
of terms needs all norms, would so have the whole array kept meanwhile; hence each pass has tasks of its own.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
from dask._task_spec import Task, TaskRef, convert_legacy_graph
from dask.base import tokenize
from dask.core import flatten
from dask.graph_manipulation import checkpoint

from kernels.dask_arrays import layers_on

__all__ = ["after"]


def after(first: da.Array, x: da.Array) -> da.Array:
    """The same as `x`, from tasks of its own that wait for the whole of `first`.

    `dask.graph_manipulation.bind` would do, but that it knows no tasks of the kind that Dask's own rechunking makes.
    """
    end = checkpoint(first)
    blocks = set(flatten(x.__dask_keys__()))
    tasks = convert_legacy_graph(x.__dask_optimize__(x.__dask_graph__(), list(blocks)))
    name = f"pass-{tokenize(x.name, end.key)}"
    renamed = {key: (name, *key[1:]) if key in blocks else (name, key) for key in tasks}
    graph = {}
    for key, task in tasks.items():
        own = task.substitute(renamed, key=renamed[key])
        graph[own.key] = own if task.dependencies & renamed.keys() else Task(own.key, _second, TaskRef(end.key), own)
    for key in blocks - tasks.keys():
        graph[name, *key[1:]] = Task((name, *key[1:]), _second, TaskRef(end.key), TaskRef(key))
    # What a cluster keeps has no task, and is looked for in the graph that was given. That must not be asked for
    # without need: where two layers ask for a block, Dask makes it in a task by itself.
    outside = blocks.union(*(task.dependencies for task in tasks.values())) - tasks.keys()
    layers = layers_on(name, graph, end, *([x] if outside else []))
    return da.Array(layers, name, x.chunks, meta=x._meta)


def _second(first: Any, second: Any) -> Any:
    return second
