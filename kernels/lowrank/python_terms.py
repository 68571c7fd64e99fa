"""Matrices as lists of rows, and the terms of their products: norms, directions and how much they overlap."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from math import hypot, sqrt
from typing import Any

from kernels.python_products import inner

__all__ = ["column_norms", "conjugate", "directions", "matrices", "norm", "overlaps", "row_norms", "transposed"]

Vector = Sequence[Any]
Matrix = Sequence[Vector]


def matrices(*arrays: Any) -> tuple[list[list[Any]], ...]:
    """The rows of nested lists in one type for all of them: complex where any item is, float else."""
    types = set(map(type, chain.from_iterable(chain.from_iterable(arrays))))
    kind = complex if any(issubclass(item, complex) for item in types) else float
    return tuple([[kind(item) for item in row] for row in array] for array in arrays)


def transposed(matrix: Matrix, width: int) -> list[list[Any]]:
    """The columns of a matrix, which has so many."""
    return [[row[i] for row in matrix] for i in range(width)]


def conjugate(matrix: Matrix) -> list[list[Any]]:
    return [[item.conjugate() for item in row] for row in matrix]


def _is_complex(vector: Vector) -> bool:
    return len(vector) > 0 and isinstance(vector[0], complex)


def row_norms(matrix: Matrix) -> list[float]:
    """Euclidean norms, also where squares would over- or underflow."""
    return [norm(row) for row in matrix]


def column_norms(matrix: Matrix, width: int) -> list[float]:
    """The same of the columns, of which there are so many."""
    if matrix and _is_complex(matrix[0]):
        matrix = [part for row in matrix for part in ([item.real for item in row], [item.imag for item in row])]
    return _column_norms(matrix, width)


def norm(vector: Vector) -> float:
    if _is_complex(vector):
        return _norm([item.real for item in vector] + [item.imag for item in vector])
    return _norm(vector)


if sys.implementation.name == "pypy":
    LEAST, MOST = 2.0**-960, 2.0**960  # sums of squares that have lost nothing to underflow, nor overflowed

    def _norm(vector: Sequence[float]) -> float:
        total = 0.0
        for item in vector:
            total += item * item
        return sqrt(total) if LEAST < total < MOST else hypot(*vector)

    def _column_norms(matrix: Sequence[Sequence[float]], width: int) -> list[float]:
        totals = [0.0] * width
        for row in matrix:
            for i in range(width):
                totals[i] += row[i] * row[i]
        return [
            sqrt(total) if LEAST < total < MOST else hypot(*[row[i] for row in matrix])
            for i, total in enumerate(totals)
        ]

else:

    def _norm(vector: Sequence[float]) -> float:
        return hypot(*vector)

    def _column_norms(matrix: Sequence[Sequence[float]], width: int) -> list[float]:
        return [hypot(*column) for column in zip(*matrix, strict=True)] if matrix else [0.0] * width


def directions(vectors: Matrix) -> list[list[Any]]:
    """Each of the vectors divided by its norm; zero where it is zero."""
    return [[item / length for item in vector] for vector in vectors for length in [norm(vector) or 1.0]]


def overlaps(c: Matrix, r: Matrix) -> list[list[Any]]:
    """The inner products <v_a, v_b> of the terms ``v_a = outer(c[a], r[a])``."""
    result: list[list[Any]] = []
    for a in range(len(c)):
        lefts = inner(conjugate(c[a : a + 1]), c[: a + 1])[0]
        rights = inner(conjugate(r[a : a + 1]), r[: a + 1])[0]
        result.append([left * right for left, right in zip(lefts, rights, strict=True)])
    for a, row in enumerate(result):
        row += [result[b][a].conjugate() for b in range(a + 1, len(c))]
    return result
