"""Numba as every core uses it: compiled once a source, free of the GIL, on plain threads.

Numba's own cache looks at the file of the compiled function alone, so that after a change in a function that it calls,
or in a constant that it reads, from another file, it answers with the old binary. Here a cache folder is named after
the function's module and everything that this imports from its package, and lies in the user's cache directory (or in
``NUMBA_CACHE_DIR``), where it outlives a reinstall.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.misc.appdirs import AppDirs

__all__ = ["jit", "limit_threads", "n_threads", "parts_of", "thread_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")

KEPT_DAYS = 30

_limit: ContextVar[int | None] = ContextVar("threads", default=None)


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit` without the GIL, with NumPy's rules for division by zero, and with the cache of this module."""
    if function is None:
        return functools.partial(jit, **options)
    dispatcher = numba.njit(function, nogil=True, error_model="numpy", **options)
    dispatcher._cache = _Cache(function)
    return dispatcher


class _Locator(_CacheLocator):
    """Puts a function's binaries into a folder named after all sources that may have gone into them."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file = file
        self._line = function.__code__.co_firstlineno
        self._stamp = source_stamp(Path(file))

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func, py_file)

    def get_cache_path(self) -> str:
        return str(cache_folder() / self._stamp)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return str(self._line)


@functools.cache
def source_stamp(file: Path) -> str:
    """Name of a module's cache folder: its own name and a hash of all sources that it imports, at any depth."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_sources(file)):
        digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    return f"{file.stem}-{digest.hexdigest()[:24]}"


def _sources(file: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imports(path)
    return found


def _imports(file: Path) -> Iterator[Path]:
    """The files that `file` imports from its own top-level package."""
    top = file.parent
    while (top.parent / "__init__.py").exists():
        top = top.parent
    here = [top.name, *file.relative_to(top).with_suffix("").parts]
    names: list[list[str]] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: -node.level] if node.level else []
            base = base + node.module.split(".") if node.module else base
            names += [base, *([*base, alias.name] for alias in node.names)]
    for package, *parts in names:
        if package == top.name:
            path = top.joinpath(*parts)
            yield from filter(Path.is_file, (path / "__init__.py", path.with_suffix(".py")))


def cache_folder() -> Path:
    return Path(config.CACHE_DIR or AppDirs("backbench", False).user_cache_dir) / "backbench-numba"


class _Impl(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _Cache(FunctionCache):
    """A cache that can only help: what cannot be read is compiled again, what cannot be written is not kept."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a truncated pickle raises nearly anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        folder = Path(self.cache_path)
        try:
            if not folder.exists():
                folder.mkdir(parents=True)
                _forget_old(folder.parent)
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(f"compiled kernels are not kept, since {folder} cannot be written: {error.strerror}")


def _forget_old(cache: Path) -> None:
    """Remove the folders of sources that no process has compiled for a month: each new source opens a new one."""
    for folder in cache.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(folder)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def n_threads() -> int:
    """Threads that a kernel may use: ``NUMBA_NUM_THREADS``, else one a processor, but no more than `limit_threads`."""
    limit = _limit.get()
    return config.NUMBA_NUM_THREADS if limit is None else min(limit, config.NUMBA_NUM_THREADS)


@contextlib.contextmanager
def limit_threads(limit: int) -> Iterator[None]:
    """Let kernels in the block use at most `limit` threads, as in a worker that has others beside it."""
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


def parts_of(length: int, count: int) -> list[tuple[int, int]]:
    """Bounds of so many parts, of about one length, that make up the whole."""
    return list(pairwise(length * part // count for part in range(count + 1)))


def thread_map(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function that releases the GIL to each item, on at most `n_threads` threads, the caller's among them.

    The others end with the call: a pool that is kept would be missing its threads in a forked child.
    """
    items = list(items)
    others = min(n_threads(), len(items)) - 1
    if others < 1:
        return [function(item) for item in items]
    results: dict[int, Result] = {}
    waiting = iter(range(len(items)))

    def work() -> None:
        for place in waiting:
            results[place] = function(items[place])

    with ThreadPoolExecutor(others) as pool:
        futures = [pool.submit(work) for _ in range(others)]
        work()
        for future in futures:
            future.result()
    return [results[place] for place in range(len(items))]
