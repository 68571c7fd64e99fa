"""Integer roots and searches for Numba kernels, small to compile."""

from __future__ import annotations

import numpy as np

from kernels.jit import jit

__all__ = ["integer_root", "rank"]


@jit
def integer_root(n):
    """The largest integer whose square is at most n, for ``0 <= n < 2**62``."""
    root = np.int64(np.sqrt(np.float64(n)))
    while root * root > n:
        root -= 1
    while (root + 1) * (root + 1) <= n:
        root += 1
    return root


@jit
def rank(values, bound):
    """How many of some ascending values are at most a bound."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] <= bound:
            low = middle + 1
        else:
            high = middle
    return low
