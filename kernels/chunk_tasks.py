"""Tasks of a Dask graph that call a dense backend: on one thread, since a worker runs as many at once as it has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["on_one_thread", "single_threaded"]


def on_one_thread(backend: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A public function on a chunk, or on a share of the work."""
    with single_threaded(backend):
        return function(*arguments, **options, backend=backend)


def single_threaded(backend: str) -> AbstractContextManager[None]:
    if backend != "numba":
        return nullcontext()
    from kernels.jit import limit_threads

    return limit_threads(1)
