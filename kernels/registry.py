"""What each backend is: what it needs, its arrays, its transfers, how to wait for it.

Adding a backend is one entry in `BUILT_IN`. A third party brings its own as an instance of `Backend` under the entry
point group ``backbench.backends``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import warnings
from typing import Any, NamedTuple

from kernels.errors import BackendNotInstalledError, BackendWarning, UnknownBackendError
from kernels.nested import Nested

__all__ = [
    "BUILT_IN",
    "Backend",
    "BackendStatus",
    "all_backends",
    "backends",
    "find",
    "import_numpy",
    "owner_of",
    "third_party",
    "to_numpy",
]


def is_importable(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def import_numpy() -> Any:
    """NumPy, or an error that says how to install it."""
    if reason := BUILT_IN["numpy"].why_not():
        raise BackendNotInstalledError(f"this needs NumPy: {reason}")
    import numpy as np

    return np


class BackendStatus(NamedTuple):
    """One row of `backends`: whether a backend can run here, what it runs on, or the line that installs it."""

    name: str
    available: bool
    why_not: str | None
    install: str
    versions: dict[str, str]
    threads: int | None
    device: str | None


class Backend:
    """A backend whose arrays are NumPy's; those with arrays of their own override the transfers.

    Parameters
    ----------
    name : str
        The name that `backend=` takes.
    requires : tuple of str
        Import names of the packages without which it cannot run.
    install : str
        The line that installs them.
    arrays : tuple of (str, str), optional
        Module and name of its array class where that is not NumPy's. The class is looked up in `sys.modules` alone,
        so that recognising an array never imports a package.
    package : str, optional
        A third party's package that holds ``on_<core>`` modules; the built-in ones stand in ``kernels.<core>``.
    cpython_only : bool
        Whether no installation can help on another interpreter.
    """

    has_dtypes = True  # False where numbers of single precision do not come back as such

    def __init__(
        self,
        name: str,
        requires: tuple[str, ...],
        install: str,
        arrays: tuple[str, str] | None = None,
        *,
        package: str | None = None,
        cpython_only: bool = False,
    ) -> None:
        self.name = name
        self.requires = requires
        self.install = install
        self.arrays = arrays
        self.package = package
        self.cpython_only = cpython_only

    def __repr__(self) -> str:
        return f"<backend {self.name}>"

    def implementation(self, core: str) -> str:
        """Name of the module that implements a core, given as the import name of its package."""
        return f"{self.package}.on_{core.rpartition('.')[2]}" if self.package else f"{core}.on_{self.name}"

    @functools.cache  # noqa: B019 - there are as many backends as there will ever be
    def functions(self, core: str) -> frozenset[str]:
        """Names that the implementation of a core defines, read from its source without importing it."""
        import ast

        module = self.implementation(core)
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            spec = None
        if spec is None or spec.loader is None:
            return frozenset()
        source = spec.loader.get_source(module)  # type: ignore[attr-defined]
        if source is None:  # compiled and shipped without its source
            return frozenset(vars(importlib.import_module(module)))
        tree = ast.parse(source)
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        imported = (node.names for node in tree.body if isinstance(node, ast.ImportFrom))
        return frozenset(names.union(alias.asname or alias.name for aliases in imported for alias in aliases))

    def why_not_installed(self) -> str | None:
        """Which packages are missing, and how to install them; found out without importing any."""
        missing = [module for module in self.requires if not is_importable(module)]
        if not missing:
            return None
        if self.cpython_only and sys.implementation.name != "cpython":
            return f"{self.name} runs on CPython alone, and this is {sys.implementation.name}"
        return f"{' and '.join(missing)} not installed; install with: {self.install}"

    def why_not(self) -> str | None:
        """Why this backend cannot run on this machine, or None if it can."""
        return self.why_not_installed()

    def owns(self, array_type: type) -> bool:
        """Whether arrays of this type are this backend's own."""
        if self.arrays is None:
            return False
        module, name = self.arrays
        known = getattr(sys.modules.get(module), name, None)  # None, too, while another thread is importing the module
        return known is not None and issubclass(array_type, known)

    def from_numpy(self, array: Any) -> Any:
        return array

    def to_numpy(self, array: Any) -> Any:
        return array

    def compute(self, result: Any) -> Any:
        """`result` with its values worked out, still this backend's own array unless that is lazy by nature."""
        return result

    def compute_together(self, results: tuple[Any, ...]) -> tuple[Any, ...]:
        """The results of one call, worked out at once where they share work."""
        return results

    def synchronize(self) -> None:
        """Wait until all work that was started is done, so that a clock may be read."""

    def threads(self) -> int | None:
        return None

    def device(self) -> str | None:
        return None


class Python(Backend):
    """Lists, and the buffers of the standard library: `array.array` for numbers, `bytearray` for a mask."""

    has_dtypes = False

    def owns(self, array_type: type) -> bool:
        return issubclass(array_type, (list, tuple, range, bytearray)) or (
            "array" in sys.modules and issubclass(array_type, sys.modules["array"].array)
        )

    def from_numpy(self, array: Any) -> Any:
        return Nested(array.shape) if 0 in array.shape[:-1] else array.tolist()

    def to_numpy(self, array: Any) -> Any:
        np = import_numpy()
        if isinstance(array, Nested):
            return np.zeros(array.shape)
        if hasattr(array, "mask"):
            raise TypeError("a masked array would lose its mask; fill it first")
        if isinstance(array, bytearray):
            return np.frombuffer(array, dtype=bool)
        if getattr(array, "typecode", None) == "q":
            return np.asarray(array).view(np.int64)  # NumPy takes the code for C's long long, a type of its own
        if hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray):
            return np.from_dlpack(array)
        result = np.asarray(array)
        if result.dtype == object and result.ndim == 0:
            raise TypeError(f"{type(array).__module__}.{type(array).__name__} is nothing that NumPy takes for an array")
        return result


class Numba(Backend):
    def why_not(self) -> str | None:
        if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            return "NUMBA_DISABLE_JIT switches it off"
        return super().why_not()

    def threads(self) -> int | None:
        from kernels.jit import n_threads

        return n_threads()


class CuPy(Backend):
    def why_not(self) -> str | None:
        if reason := self.why_not_installed():
            return reason
        try:
            import cupy
        except ImportError as error:
            return f"CuPy is installed, but cannot be imported: {error}"
        try:
            devices = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            return f"CuPy is installed, but no CUDA device answers: {error}"
        return None if devices else "CuPy is installed, but this machine has no CUDA device"

    def from_numpy(self, array: Any) -> Any:
        import cupy

        return cupy.asarray(array)

    def to_numpy(self, array: Any) -> Any:
        import cupy

        return cupy.asnumpy(array)

    def synchronize(self) -> None:
        import cupy

        cupy.cuda.get_current_stream().synchronize()

    def device(self) -> str | None:
        import cupy

        name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"]
        return name.decode() if isinstance(name, bytes) else str(name)


class Dask(Backend):
    @staticmethod
    def _client() -> Any:
        if "distributed" not in sys.modules:
            return None
        try:
            client = sys.modules["distributed"].default_client()
        except ValueError:
            return None
        return None if client.asynchronous else client

    def threads(self) -> int | None:
        client = self._client()
        if client:
            return sum(client.nthreads().values())
        from dask.system import CPU_COUNT

        return CPU_COUNT

    def device(self) -> str | None:
        client = self._client()
        return client.scheduler.address if client else "Dask's own scheduler: no distributed.Client is active"

    def from_numpy(self, array: Any) -> Any:
        import dask.array

        return dask.array.from_array(array)

    def compute(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return self.compute_together(result)
        return result.compute() if self.owns(type(result)) else result

    def compute_together(self, results: tuple[Any, ...]) -> tuple[Any, ...]:
        import dask

        return dask.compute(*results)

    def to_numpy(self, array: Any) -> Any:
        return array.compute()


class Sparse(Backend):
    def from_numpy(self, array: Any) -> Any:
        import sparse

        return sparse.asarray(array)

    def to_numpy(self, array: Any) -> Any:
        return array.todense()


def _pip(extra: str) -> str:
    return f'python -m pip install "backbench[{extra}]"'


BUILT_IN: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Python("python", (), "nothing to install"),
        Backend("numpy", ("numpy",), _pip("numpy")),
        Numba("numba", ("numba", "scipy"), _pip("numba"), cpython_only=True),
        CuPy(
            "cupy",
            ("cupy",),
            _pip("cuda12") + "  (for CUDA 12; else backbench[cuda13])",
            ("cupy", "ndarray"),
            cpython_only=True,
        ),
        Dask("dask", ("dask", "numpy"), _pip("dask"), ("dask.array", "Array"), cpython_only=True),
        Sparse("sparse", ("sparse",), _pip("sparse"), ("sparse", "SparseArray"), cpython_only=True),
    )
}


@functools.cache
def third_party() -> dict[str, Backend]:
    """The backends that other packages bring. One that cannot be had is left out, with a warning that says why."""
    import importlib.metadata

    found: dict[str, Backend] = {}
    for entry in importlib.metadata.entry_points(group="backbench.backends"):
        try:
            backend = entry.load()
            if not isinstance(backend, Backend) or backend.name != entry.name:
                raise TypeError("it must be a kernels.registry.Backend of that name")
            if entry.name in BUILT_IN or entry.name in found:
                raise ValueError("another backend has that name")
        except Exception as error:  # whatever a stranger's module raises
            warnings.warn(
                f"entry point {entry.name} = {entry.value} is left out: {error}", BackendWarning, stacklevel=2
            )
        else:
            found[entry.name] = backend
    return found


def all_backends() -> list[Backend]:
    return [*BUILT_IN.values(), *third_party().values()]


def find(name: Any, rule: str) -> Backend:
    """The backend of that name; `rule` says in the error who asked for it."""
    if not isinstance(name, str):
        raise TypeError(f"backend must be a name, not {name!r} of type {type(name).__name__} ({rule})")
    backend = BUILT_IN.get(name) or third_party().get(name)
    if backend is None:
        import difflib

        known = [*BUILT_IN, *third_party()]
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownBackendError(f"unknown backend {name!r} ({rule}). Known are {', '.join(known)}.{guess}")
    return backend


@functools.cache
def owner_of(array_type: Any) -> Backend | None:
    """The backend whose own arrays are of this type; None for NumPy arrays, lists and whatever is no array.

    Raises
    ------
    TypeError
        For an array that no backend owns (a torch tensor, say), and for masked arrays, whose masks would be lost.
    """
    if array_type.__module__ in ("builtins", "numpy", "array"):
        return None
    if owner := _owner(array_type):
        return owner
    kind = f"{array_type.__module__}.{array_type.__name__}"
    if hasattr(array_type, "mask"):
        raise TypeError(f"masks would be lost, so no backend takes {kind}; fill it first")
    is_array = hasattr(array_type, "__dlpack__") or (hasattr(array_type, "shape") and hasattr(array_type, "dtype"))
    if is_array and not hasattr(array_type, "__array_interface__"):
        raise TypeError(f"no backend takes arrays of type {kind}; convert it first, for example with kernels.to_numpy")
    return None


def _owner(array_type: type) -> Backend | None:
    return next((backend for backend in all_backends() if backend.arrays and backend.owns(array_type)), None)


def to_numpy(array: Any) -> Any:
    """Return any backend's array as a NumPy array, moving or computing its data where it must.

    Parameters
    ----------
    array : array_like
        A NumPy, CuPy, Dask or sparse array, one of a third party's backend, a (nested) list, an `array.array`, or a
        `bytearray`, which is read as a mask.

    Returns
    -------
    numpy.ndarray
        `array` itself where it is one; a copy of a device's memory, the computed values of a lazy array, or the dense
        form of a sparse one.

    Raises
    ------
    TypeError
        If NumPy sees no array in it.
    BackendNotInstalledError
        If NumPy is not installed.

    Examples
    --------
    >>> import kernels
    >>> kernels.to_numpy(kernels.primes.below(10, backend="python"))
    array([2, 3, 5, 7])
    """
    return (_owner(type(array)) or BUILT_IN["python"]).to_numpy(array)


def backends() -> dict[str, BackendStatus]:
    """Tell of each known backend whether it can run here, on what, or why not and which line installs it.

    Returns
    -------
    dict of str to BackendStatus
        The built-in backends first, then those of third parties. Each status has the fields `available`, `why_not`,
        `install`, `versions`, `threads` and `device`.

    Notes
    -----
    To find a GPU, CuPy is imported where it is installed.
    """
    return {backend.name: _status(backend) for backend in all_backends()}


def _status(backend: Backend) -> BackendStatus:
    why_not, threads, device = backend.why_not(), None, None
    if why_not is None:
        try:
            threads, device = backend.threads(), backend.device()
        except ImportError as error:
            why_not = f"it is installed, but cannot be imported: {error}"
    return BackendStatus(
        backend.name, why_not is None, why_not, backend.install, _versions(backend), threads=threads, device=device
    )


def _versions(backend: Backend) -> dict[str, str]:
    import importlib.metadata
    import platform

    if not backend.requires:
        return {platform.python_implementation(): platform.python_version()}
    distributions = importlib.metadata.packages_distributions()
    return {
        distribution: importlib.metadata.version(distribution)
        for module in backend.requires
        for distribution in sorted(set(distributions.get(module, ())))
    }
