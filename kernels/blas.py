"""BLAS inside a thread pool: what runs several products at once must keep each of them to one thread."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (loads the BLAS that Numba's products call, so that it is found below)
from threadpoolctl import OpenBLASController, ThreadpoolController

__all__ = ["UNPACKED", "one_thread", "operand"]

UNPACKED = 10**6  # multiplications up to which OpenBLAS reads the matrices where they lie, where its core has that form


class _Guard:
    """A limit on libraries whose threads belong to the process: set by the first holder, lifted by the last one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders = 0
        self.before: list[int] = []

    def acquire(self, libraries: list[Any]) -> None:
        with self.lock:
            if not self.holders:
                self.before = _set_threads(libraries, [1] * len(libraries))
            self.holders += 1

    def release(self, libraries: list[Any]) -> None:
        with self.lock:
            self.holders -= 1
            if not self.holders:
                _set_threads(libraries, self.before)


_guard = _Guard()
if hasattr(os, "register_at_fork"):  # a child whose parent was just setting the limit must not find the lock taken
    os.register_at_fork(
        before=_guard.lock.acquire, after_in_parent=_guard.lock.release, after_in_child=_guard.lock.release
    )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS to one thread, to be entered by each thread that calls it; holders may overlap in any order."""
    of_process, of_thread = _libraries()
    _guard.acquire(of_process)
    before = _set_threads(of_thread, [1] * len(of_thread))
    try:
        yield
    finally:
        _set_threads(of_thread, before)
        _guard.release(of_process)


def _set_threads(libraries: list[Any], numbers: list[int]) -> list[int]:
    """Return the numbers of threads that were set before."""
    before = [library.num_threads for library in libraries]
    for library, number in zip(libraries, numbers, strict=True):
        if isinstance(library, OpenBLASController):  # it would ignore all threads but the first that set a limit
            library.clear_controlling_thread(force=True)
        library.set_num_threads(number)
        if isinstance(library, OpenBLASController):
            library.clear_controlling_thread()
    return before


@functools.cache
def _libraries() -> tuple[list[Any], list[Any]]:
    """Those with threads of their process and those with threads of the caller's; once, as the search takes long."""
    of_process: list[Any] = []
    of_thread: list[Any] = []
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        openmp = isinstance(library, OpenBLASController) and library.threading_layer == "openmp"
        (of_thread if openmp else of_process).append(library)
    return of_process, of_thread


def operand(array: np.ndarray) -> np.ndarray:
    """The array as products take it, and as the one type that a kernel is compiled for: contiguous and read-only."""
    array = np.require(array, requirements=["C", "A"]).view()
    array.flags.writeable = False
    return array
