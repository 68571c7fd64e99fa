"""Philox and counts for the sampler, in NumPy."""

from __future__ import annotations

import numpy as np

from kernels.lowrank.sampling import Random
from kernels.philox import MASK, philox4x32

__all__ = ["random"]

BLOCK = 1 << 13  # counters: what is computed from so many stays in the second-level cache


def random(key: int) -> Random:
    def words(count: int, use: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        result = np.empty((4, count), np.int64)
        for start in range(0, count, BLOCK):
            at = np.arange(start, min(start + BLOCK, count))
            result[:, start : start + BLOCK] = philox4x32(at & MASK, at >> 32, use, 0, key & MASK, key >> 32)
        first, second, third, fourth = result
        return first, second, third, fourth

    return Random(words, lambda drawn, length: np.bincount(drawn, minlength=length))
