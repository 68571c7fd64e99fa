"""Random angles in NumPy, so many at once that what is computed on the way stays in the second-level cache."""

from __future__ import annotations

import numpy as np

from kernels.ndarray.numpy_blocks import BLOCK
from kernels.philox import MASK, philox4x32, uniforms

__all__ = ["angles_from"]


def angles_from(first: int, dim: int, size: int, key: int) -> np.ndarray:
    """Those of so many counters, from the first on."""
    angles = np.empty(size)
    nu = dim - 1
    for start in range(0, size, BLOCK // 8):
        part = angles[start : start + BLOCK // 8]
        at = np.arange(first + start, first + start + len(part))
        u1, u2 = uniforms(*philox4x32(at & MASK, at >> 32, 0, 0, key & MASK, key >> 32))
        cotangent = np.sqrt(np.expm1(-2 / nu * np.log(u1))) * np.cos(2 * np.pi * u2)
        np.arctan2(1.0, cotangent, out=part)
    return angles
