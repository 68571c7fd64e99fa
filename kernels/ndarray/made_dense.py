"""Where sparse arrays become dense: arguments that are dense by nature, and results without a value to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import sparse

from kernels.jit import n_threads, thread_map

__all__ = ["dense", "filled"]

MANY = 1 << 20


def filled(shape: Sequence[int], background: np.ndarray) -> np.ndarray:
    """A broadcast array, written out; by several threads, since a new array's pages are what it waits for."""
    y, background = np.empty(shape, background.dtype), np.broadcast_to(background, shape)
    parts = n_threads() if y.size > MANY else 1
    bounds = np.linspace(0, len(y), parts + 1).astype(int).tolist()
    thread_map(lambda part: np.copyto(y[slice(*part)], background[slice(*part)]), pairwise(bounds))
    return y


def dense(x: sparse.SparseArray) -> np.ndarray:
    """What is dense by nature is mostly stored whole; then the stored values, which are sorted, are the array."""
    if isinstance(x, sparse.COO) and x.nnz == x.size:
        return np.ascontiguousarray(x.data).reshape(x.shape)
    return np.ascontiguousarray(x.todense())
