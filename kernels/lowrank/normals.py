"""Standard normal numbers in NumPy, by the method of Box and Muller from Philox's words.

Each row of a matrix begins with a counter of its own, so that any rows are made without the ones before.
"""

from __future__ import annotations

import numpy as np

from kernels.philox import MASK, philox4x32, uniforms

__all__ = ["normal_matrix"]


def normal_matrix(rows: int, columns: int, key: int, use: int, first_row: int = 0) -> np.ndarray:
    """float64, shape (rows, columns), for the counters (first_row * pairs + i, use, 0): cosines stand before sines."""
    pairs = -(-columns // 2)
    at = np.arange(first_row * pairs, (first_row + rows) * pairs)
    u1, u2 = uniforms(*philox4x32(at & MASK, at >> 32, use, 0, key & MASK, key >> 32))
    radius, angle = np.sqrt(-2 * np.log(u1)), 2 * np.pi * u2
    both = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    return both.reshape(rows, 2 * pairs)[:, :columns]
