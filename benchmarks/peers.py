"""``python -m benchmarks.peers``: the primes against the best in their field, in turns, one thread each.

A peer that is not installed is left out. Run it as ``OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.peers``, since
primecount takes as many threads as it finds.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from itertools import compress
from math import isqrt

TURNS = 15


def main() -> None:
    from kernels import primes
    from kernels.jit import limit_threads

    with limit_threads(1):
        try:
            from primecountpy.primecount import prime_pi
        except ImportError:
            print("primecountpy is not installed")
        else:
            compare(
                "sum_below(10**12), numba / primecount's pi(10**12)",
                lambda: primes.sum_below(10**12, backend="numba"),
                lambda: prime_pi(10**12),
            )
        if shutil.which("primesieve"):
            compare(
                "count_between(10**12, 10**12 + 10**9), numba / primesieve",
                lambda: primes.count_between(10**12, 10**12 + 10**9, backend="numba"),
                primesieve,
            )
        else:
            print("primesieve is not installed")
        for backend in ("python", "numpy", "numba"):
            compare(
                f"sum_first(2_000_000), {backend} / the plain sieve to 32452843",
                lambda backend=backend: primes.sum_first(2_000_000, backend=backend),
                plain_sieve,
                turns=5,
            )


def compare(what: str, ours: Callable[[], object], theirs: Callable[[], object], turns: int = TURNS) -> None:
    """Print the ratio of the times of two calls, taken in turns, each warmed by a call that is not counted."""
    pairs = [(ours() and seconds(ours), theirs() and seconds(theirs)) for _ in range(turns)]
    ours_, theirs_ = zip(*pairs, strict=True)
    print(
        f"{what}: {min(ours_) / min(theirs_):.3g} (minimum), "
        f"{statistics.median(ours_) / statistics.median(theirs_):.3g} (median); "
        f"{1000 * min(ours_):.3g} ms and {1000 * min(theirs_):.3g} ms"
    )


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes, by its own account if it gives one."""
    start = time.perf_counter()
    told = call()
    return told if isinstance(told, float) else time.perf_counter() - start


def primesieve() -> float:
    command = ["primesieve", "--threads=1", "--time", "1e12", "--dist=999999999"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.search(r"Seconds: ([\d.]+)", output)[1])


def plain_sieve(limit: int = 32452844) -> int:
    sieve = bytearray(b"\1") * limit
    sieve[:2] = b"\0\0"
    for n in range(2, isqrt(limit) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return sum(compress(range(limit), sieve))


if __name__ == "__main__":
    main()
