"""Numerical kernels, each written once per backend, behind one dispatch interface.

Every public function takes ``backend=``; `use_backend` chooses for a block of code, `explain` tells which backend
would run a call and why, `backends` which ones this machine has.
"""

from kernels import lowrank, ndarray, primes
from kernels.dispatch import use_backend
from kernels.explain import explain
from kernels.registry import backends, to_numpy

__version__ = "0.1.0"

__all__ = ["backends", "explain", "lowrank", "ndarray", "primes", "to_numpy", "use_backend"]
