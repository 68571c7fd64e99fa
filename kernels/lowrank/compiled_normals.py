"""`kernels.lowrank.normals` compiled, in loops that LLVM can vectorise.

Sines and cosines are Taylor series on an eighth of a turn to either side of a quarter, which is exact to reduce to.
"""

from __future__ import annotations

from functools import partial
from math import factorial, pi, sqrt

import numpy as np

from kernels.compiled_philox import philox4x32, uniforms
from kernels.jit import jit, n_threads, parts_of, thread_map
from kernels.philox import MASK
from kernels.vector_math import log, polynomial, select

__all__ = ["normal_matrix"]

WORTH_A_THREAD = 1 << 16  # numbers that take longer than a thread to start
BLOCK = 1024  # pairs
# sin(x) / x and cos(x), by powers of x²
SINE = tuple((-1) ** k / factorial(2 * k + 1) for k in range(9))
COSINE = tuple((-1) ** k / factorial(2 * k) for k in range(9))


def normal_matrix(rows: int, columns: int, key: int, use: int, first_row: int = 0) -> np.ndarray:
    """float64, shape (rows, columns), for the counters (first_row * pairs + i, use, 0): cosines stand before sines."""
    pairs = -(-columns // 2)
    numbers = np.empty((rows * pairs, 2))
    parts = max(1, min(n_threads(), numbers.size // WORTH_A_THREAD))
    fill = partial(_fill_normals, numbers, first_row * pairs, use, key & MASK, key >> 32)
    thread_map(fill, parts_of(len(numbers), parts))
    return numbers.reshape(rows, 2 * pairs)[:, :columns]


@jit
def _fill_normals(numbers: np.ndarray, first: int, use: int, k0: int, k1: int, part: tuple[int, int]) -> None:
    radii, turns = np.empty(BLOCK), np.empty(BLOCK)
    for start in range(part[0], part[1], BLOCK):
        own = numbers[start : min(start + BLOCK, part[1])]
        for i in range(len(own)):
            counter = first + start + i
            r0, r1, r2, r3 = philox4x32(counter & MASK, counter >> 32, use, 0, k0, k1)
            radii[i], turns[i] = uniforms(r0, r1, r2, r3)
        for i in range(len(own)):
            radius = sqrt(-2.0 * log(radii[i]))
            quarters = np.rint(4.0 * turns[i])
            angle = 2 * pi * (turns[i] - 0.25 * quarters)
            square = angle * angle
            sine, cosine = angle * polynomial(square, SINE), polynomial(square, COSINE)
            odd = (quarters == 1.0) | (quarters == 3.0)
            cosine, sine = select(odd, sine, cosine), select(odd, cosine, sine)
            left, below = (quarters == 1.0) | (quarters == 2.0), (quarters == 2.0) | (quarters == 3.0)
            own[i, 0] = radius * select(left, -cosine, cosine)
            own[i, 1] = radius * select(below, -sine, sine)
