"""``python -m benchmarks.peers [core…]``: compare cores with their peers.

Both sides get the threads that the environment allows: for one thread each, run it as ``OMP_NUM_THREADS=1
OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 taskset -c 0 python -m benchmarks.peers``.
"""

from __future__ import annotations

import argparse
from importlib import import_module

CORES = ["primes", "ndarray", "lowrank"]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("core", nargs="*", choices=[*CORES, "all"], default="all")
    chosen = parser.parse_args().core
    for core in CORES if "all" in chosen else chosen:
        import_module(f"benchmarks.peers.{core}").main()
