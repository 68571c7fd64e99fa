"""Philox and counts for the sampler, in NumPy."""

from __future__ import annotations

import numpy as np

from kernels.lowrank.sampling import Random
from kernels.philox import MASK, philox4x32

__all__ = ["random"]


def random(key: int) -> Random:
    def words(count: int, use: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        at = np.arange(count)
        return philox4x32(at & MASK, at >> 32, use, 0, key & MASK, key >> 32)

    return Random(words, lambda drawn, length: np.bincount(drawn, minlength=length))
