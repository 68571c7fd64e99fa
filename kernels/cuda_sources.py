"""CUDA sources that lie beside a backend's code: compiled once for each kind of number, and launched."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cupy

__all__ = ["RESIDENT", "THREADS", "Sources", "clamp", "multiprocessors", "power_of_two"]

THREADS = 256  # in a block, everywhere
RESIDENT = 8  # blocks that a multiprocessor holds


class Sources:
    """The sources in the folder of a module, given as its ``__file__``."""

    def __init__(self, module: str) -> None:
        self.folder = Path(module).parent
        self._compiled: dict[tuple[str, str], Any] = {}
        self._kernels: dict[tuple[str, str, str], Any] = {}

    def kernel(self, file: str, name: str, array: cupy.ndarray) -> Any:
        """A kernel for the numbers of an array, which CuPy compiles for each device where it is launched."""
        real = "float" if array.dtype.char in "fF" else "double"
        if (file, name, real) not in self._kernels:
            self._kernels[file, name, real] = self._module(file, real).get_function(name)
        return self._kernels[file, name, real]

    def _module(self, file: str, real: str) -> Any:
        if (file, real) not in self._compiled:
            code = (self.folder / file).read_text()
            self._compiled[file, real] = cupy.RawModule(code=code, options=("-std=c++17", f"-DREAL={real}"))
        return self._compiled[file, real]

    def launch(self, file: str, name: str, array: cupy.ndarray, size: int, *arguments: Any) -> None:
        """Run a kernel whose threads take every so many-th of `size` items."""
        blocks = min(-(-size // THREADS), RESIDENT * multiprocessors())
        if blocks:
            self.kernel(file, name, array)((blocks,), (THREADS,), arguments)


def multiprocessors() -> int:
    return _multiprocessors_of(cupy.cuda.Device().id)


@functools.cache
def _multiprocessors_of(device: int) -> int:
    return cupy.cuda.Device(device).attributes["MultiProcessorCount"]


def clamp(number: int, *most: int) -> int:
    return max(1, min(number, *most))


def power_of_two(number: int) -> int:
    """The least one that is not less."""
    return 1 << max(number - 1, 0).bit_length()
