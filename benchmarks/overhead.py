"""What a call costs before any computing: the import, dispatch, and compiling on the first call."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import ClassVar


class Import:
    unit = "ms"
    version = "1"

    def track_import(self) -> float:
        """Milliseconds that ``import kernels`` adds to a bare interpreter, the best of several."""

        def best(code: str) -> float:
            return min(_milliseconds(code) for _ in range(9))

        return best("import kernels") - best("pass")


class Dispatch:
    version = "1"

    def setup(self) -> None:
        try:
            from kernels import dispatch, primes
        except ImportError as error:
            raise NotImplementedError(f"this commit does not have it: {error}") from None
        self.function = primes.sum_below
        self.implementation, dispatch._implementation = dispatch._implementation, lambda *_: int

    def teardown(self) -> None:
        from kernels import dispatch

        dispatch._implementation = self.implementation

    def time_thousand_calls(self) -> None:
        """A thousand calls of a function that does nothing, by default: dispatch and one check."""
        function = self.function
        for _ in range(1000):
            function(1_000_000_000)


class FirstCall:
    """The first call of a fresh process on Numba, imports left out: compiled, or loaded from the cache."""

    params: ClassVar = [["cold", "cached"]]
    param_names: ClassVar = ["cache"]
    unit = "ms"
    timeout = 300
    version = "1"
    code = (
        "import time, kernels.primes.on_numba as numba; start = time.perf_counter(); "
        "numba.sum_first(2_000_000); print(1000 * (time.perf_counter() - start))"
    )

    def setup(self, cache: str) -> None:
        try:
            import kernels.primes.on_numba  # noqa: F401
        except ImportError as error:
            raise NotImplementedError(str(error)) from None

    def track_first_call(self, cache: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            calls = [
                subprocess.run([sys.executable, "-c", self.code], env=environment, capture_output=True, check=True)
                for _ in range(1 if cache == "cold" else 2)
            ]
        return float(calls[-1].stdout)


def _milliseconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1000 * (time.perf_counter() - start)
