"""The primes against primecount, primesieve and the plain sieve of Eratosthenes, one thread each.

primecount takes as many threads as it finds, so ``OMP_NUM_THREADS=1`` belongs to it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import compress
from math import isqrt

from . import Seconds, compare


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


def primesieve() -> Seconds:
    command = ["primesieve", "--threads=1", "--time", "1e12", "--dist=999999999"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Seconds(re.search(r"Seconds: ([\d.]+)", output)[1])


def plain_sieve(limit: int = 32452844) -> int:
    sieve = bytearray(b"\1") * limit
    sieve[:2] = b"\0\0"
    for n in range(2, isqrt(limit) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return sum(compress(range(limit), sieve))
