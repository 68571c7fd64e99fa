"""The inner loops whose fastest form differs: CPython has them in C, PyPy compiles them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from operator import mul
from typing import Any

__all__ = ["matmul"]

Vector = Sequence[Any]

if sys.implementation.name == "pypy":

    def matmul(rows: Sequence[Vector], matrix: Sequence[Vector], width: int) -> list[list[Any]]:
        """Each of the rows times the matrix, which has so many columns."""
        return [_times(row, matrix, width) for row in rows]

    def _times(row: Vector, matrix: Sequence[Vector], width: int) -> list[Any]:
        # Four rows of the matrix at once: one load and one store of the result for four products.
        result: list[Any] = [0.0] * width
        whole = len(row) & -4
        for k in range(0, whole, 4):
            a, b, c, d = row[k], row[k + 1], row[k + 2], row[k + 3]
            p, q, r, s = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
            for i in range(width):
                result[i] += a * p[i] + b * q[i] + c * r[i] + d * s[i]
        for k in range(whole, len(row)):
            a, p = row[k], matrix[k]
            for i in range(width):
                result[i] += a * p[i]
        return result

else:

    def matmul(rows: Sequence[Vector], matrix: Sequence[Vector], width: int) -> list[list[Any]]:
        columns = list(zip(*matrix, strict=True)) if matrix else [()] * width
        return [[sum(map(mul, row, column), 0.0) for column in columns] for row in rows]
