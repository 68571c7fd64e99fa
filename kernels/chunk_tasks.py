"""Tasks of a Dask graph that call a dense backend: on one thread, since a worker runs as many at once as it has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["blas_on_one_thread", "on_one_thread", "single_threaded"]


def on_one_thread(backend: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A public function on a chunk, or on a share of the work."""
    with single_threaded(backend):
        return function(*arguments, **options, backend=backend)


def single_threaded(backend: str) -> AbstractContextManager[None]:
    if backend != "numba":
        return nullcontext()
    from kernels.jit import limit_threads

    return limit_threads(1)


def blas_on_one_thread(backend: str) -> AbstractContextManager[None]:
    """Where Numba is installed, with which the means come to see to it."""
    if backend != "numba":
        return nullcontext()
    from kernels.blas import one_thread

    return one_thread()
