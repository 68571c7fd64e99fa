"""Standard normal numbers in pure Python: those of `normals`, column by column."""

from __future__ import annotations

from math import cos, log, pi, sin, sqrt

from kernels.philox import MASK, uniforms
from kernels.python_philox import philox4x32

__all__ = ["normal_columns"]


def normal_columns(rows: int, columns: int, key: int, use: int) -> list[list[float]]:
    """The columns of a matrix of so many rows and columns, two of them from each random number's radius and angle."""
    pairs = -(-columns // 2)
    result = [[0.0] * rows for _ in range(2 * pairs)]
    for at in range(rows * pairs):
        u1, u2 = uniforms(*philox4x32(at & MASK, at >> 32, use, 0, key & MASK, key >> 32))
        radius, angle = sqrt(-2 * log(u1)), 2 * pi * u2
        row, pair = divmod(at, pairs)
        result[2 * pair][row] = radius * cos(angle)
        result[2 * pair + 1][row] = radius * sin(angle)
    return result[:columns]
