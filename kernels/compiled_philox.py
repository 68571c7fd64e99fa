"""`kernels.philox` compiled; inlined, without which LLVM would not vectorise a loop over counters."""

from __future__ import annotations

from kernels import philox
from kernels.jit import jit

__all__ = ["philox4x32", "uniforms"]

# Compiled here alone: Numba's cache does not tell binaries apart by their options.
philox4x32 = jit(philox.philox4x32, forceinline=True)
uniforms = jit(philox.uniforms, forceinline=True)
