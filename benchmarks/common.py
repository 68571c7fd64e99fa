"""The common base of the benchmarks: one public function, timed on every backend at three sizes.

A cell is timed only if, in this very process, its result agreed with the reference. Why a cell was skipped or failed is
kept in ``reasons-<commit>-<environment>.jsonl`` beside asv's own results, since asv keeps none.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

if "BACKBENCH_PRELOAD" in os.environ:
    # asv's fork server imports this file once, and forks a process for each of hundreds of cells, which then have
    # these. Kernels are not among them, since they may fail to import.
    for name in ("numba", "scipy.linalg", "dask.array", "distributed", "sparse"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)

BACKENDS = ["python", "numpy", "numba", "cupy", "dask", "sparse"]
SIZES = ["small", "medium", "large"]


class Input(NamedTuple):
    """An array that is made when it is needed: the multiples of the golden ratio modulo one, spread over a range.

    They are spread evenly, look like noise, and are the same to the last bit on every interpreter.
    """

    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0

    def __str__(self) -> str:
        return "×".join(map(str, self.shape))

    def make(self) -> Any:
        import numpy as np

        count = np.arange(np.prod(self.shape, dtype=int), dtype=float)
        return self.low + (self.high - self.low) * (0.6180339887498949 * (count + 1) % 1).reshape(self.shape)


class Case(NamedTuple):
    """Arguments of a call, arrays among them as `Input`, and what `digest` makes of its right result."""

    arguments: tuple[Any, ...]
    expected: Any
    options: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


class Clock:
    """asv's timer: it waits for the backend's work to be done before it reads the time."""

    def __init__(self) -> None:
        self.synchronize: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        self.synchronize()
        return time.perf_counter()


CLOCK = Clock()
_checked: set[tuple[str, str, str]] = set()  # asv calls setup before every sample; one check a process is enough


class Kernel(ABC):
    """Times one public function; a subclass names it and gives a `Case` for each size.

    It is abstract so that asv, which finds it by name in every file that imports it, does not take it for a benchmark.
    """

    params: ClassVar = [BACKENDS, SIZES]
    param_names: ClassVar = ["backend", "size"]
    timer = CLOCK
    timeout = 120
    version = "1"

    @property
    @abstractmethod
    def function(self) -> str: ...

    @property
    @abstractmethod
    def cases(self) -> dict[str, Case]: ...

    @staticmethod
    def digest(*results: Any) -> Any:
        """What is compared with `Case.expected`; the results are arrays of NumPy's, or a scalar."""
        return results[0]

    def setup(self, backend: str, size: str) -> None:
        key = (self.function, backend, size)
        if key in _checked:
            self.call = self._prepare(backend, self.cases[size])
            return
        # What kills the process or outlasts asv's limit leaves no other trace than this.
        _record(key, TimeoutError("it timed out or died"))
        try:
            self.call = self._prepare(backend, self.cases[size])
            self._check(backend, self.cases[size])
        except Exception as error:
            _record(key, error)
            raise

    def teardown(self, backend: str, size: str) -> None:
        """asv calls it after each sample: the first one tells that there is a time."""
        key = (self.function, backend, size)
        if key not in _checked:
            _record(key, None)
            _checked.add(key)

    def time_call(self, backend: str, size: str) -> None:
        self.call()

    def _prepare(self, backend: str, case: Case) -> Callable[[], Any]:
        """The timed body. A backend or a function that this commit or machine does not have is a skipped cell."""
        try:
            import kernels
            from kernels.registry import BUILT_IN

            core, name = self.function.split(".")
            function = getattr(getattr(kernels, core), name)
            if reason := BUILT_IN[backend].why_not():
                raise NotImplementedError(reason)
            from_numpy = BUILT_IN[backend].from_numpy
            arguments = [from_numpy(each.make()) if isinstance(each, Input) else each for each in case.arguments]
        except (ImportError, AttributeError, KeyError) as error:
            raise NotImplementedError(f"this commit does not have it: {error}") from None
        CLOCK.synchronize = BUILT_IN[backend].synchronize
        compute = BUILT_IN[backend].compute
        return lambda: compute(function(*arguments, **case.options, backend=backend))

    def _check(self, backend: str, case: Case) -> None:
        import kernels

        result = self.call()
        if isinstance(result, tuple):
            found = self.digest(*map(kernels.to_numpy, result))
        else:
            found = self.digest(result if isinstance(result, (int, float)) else kernels.to_numpy(result))
        if found != case.expected and not _is_close(found, case.expected):
            raise AssertionError(f"{self.function} on {backend} gave {found!r} instead of {case.expected!r}")


def _is_close(found: Any, expected: Any) -> bool:
    """Sums of floating-point numbers depend on the order of their terms."""
    return isinstance(expected, float) and math.isclose(found, expected, rel_tol=1e-9)


def _record(key: tuple[str, str, str], error: Exception | None) -> None:
    """Keep why a cell has no time, or forget it once the cell has one."""
    if "ASV_CONF_DIR" not in os.environ:
        return
    results = Path(os.environ["ASV_CONF_DIR"], "results")
    # asv tells its benchmarks the commit and the environment, not the machine; but it writes this file at every start.
    machine = max(results.glob("*/machine.json"), key=lambda path: path.stat().st_mtime, default=None)
    if machine is None:
        return
    commit = os.environ.get("ASV_COMMIT", "unknown")[:8]
    file = machine.with_name(f"reasons-{commit}-{os.environ['ASV_ENV_NAME']}.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    kept = [line for line in lines if (line["function"], line["backend"], line["size"]) != key]
    if error is not None:
        state = "skipped" if isinstance(error, NotImplementedError) else "failed"
        reason = str(error) if state == "skipped" else f"{type(error).__name__}: {error}"
        kept.append({"function": key[0], "backend": key[1], "size": key[2], "state": state, "reason": reason})
    if kept != lines:
        file.write_text("".join(json.dumps(line) + "\n" for line in kept))
