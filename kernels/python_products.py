"""Matrix products of lists, in the loops that are the fastest: CPython has them in C, PyPy compiles them.

A matrix is a list of its rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from operator import mul
from typing import Any

__all__ = ["inner", "matmul"]

Vector = Sequence[Any]
Product = Callable[[Sequence[Vector], Sequence[Vector]], list[list[Any]]]

if sys.implementation.name == "pypy":

    def matmul(rows: Sequence[Vector], matrix: Sequence[Vector], width: int) -> list[list[Any]]:
        """Each of the rows times the matrix, which has so many columns."""
        if _are_complex(rows, matrix):
            return _by_parts(lambda p, q: matmul(p, q, width), rows, matrix)
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

    def inner(rows: Sequence[Vector], others: Sequence[Vector]) -> list[list[Any]]:
        """The inner product of each of the rows with each of the others, no complex conjugate taken."""
        if _are_complex(rows, others):
            return _by_parts(inner, rows, others)
        return [_inner(row, others) for row in rows]

    def _inner(row: Vector, others: Sequence[Vector]) -> list[Any]:
        # Four of the others at once: one load of the row for four products, none of which waits for another.
        result: list[Any] = []
        whole = len(others) & -4
        for j in range(0, whole, 4):
            p, q, r, s = others[j], others[j + 1], others[j + 2], others[j + 3]
            a = b = c = d = 0.0
            for k in range(len(row)):
                item = row[k]
                a += item * p[k]
                b += item * q[k]
                c += item * r[k]
                d += item * s[k]
            result += (a, b, c, d)
        for other in others[whole:]:
            a = 0.0
            for k in range(len(row)):
                a += row[k] * other[k]
            result.append(a)
        return result

    def _are_complex(*matrices: Sequence[Vector]) -> bool:
        """As the first items tell. Where others are of another type, the loops are right all the same, if slower."""
        return any(isinstance(matrix[0][0], complex) for matrix in matrices if matrix and matrix[0])

    def _by_parts(product: Product, rows: Sequence[Vector], others: Sequence[Vector]) -> list[list[complex]]:
        """Four real products, since a list of complex numbers holds pointers where one of floats holds the floats."""
        (a, b), (c, d) = _parts(rows), _parts(others)
        parts = product(a, c), product(b, d), product(a, d), product(b, c)
        return [
            [complex(ac - bd, ad + bc) for ac, bd, ad, bc in zip(*items, strict=True)]
            for items in zip(*parts, strict=True)
        ]

    def _parts(matrix: Sequence[Vector]) -> tuple[list[Vector], list[Vector]]:
        return [[item.real for item in row] for row in matrix], [[item.imag for item in row] for row in matrix]

else:
    if sys.version_info >= (3, 12):
        from math import sumprod
    else:

        def sumprod(p: Vector, q: Vector, /) -> Any:
            return sum(map(mul, p, q))

    def matmul(rows: Sequence[Vector], matrix: Sequence[Vector], width: int) -> list[list[Any]]:
        """Each of the rows times the matrix, which has so many columns."""
        return inner(rows, list(zip(*matrix, strict=True)) if matrix else [()] * width)

    def inner(rows: Sequence[Vector], others: Sequence[Vector]) -> list[list[Any]]:
        """The inner product of each of the rows with each of the others, no complex conjugate taken."""
        return [[0.0 + sumprod(row, other) for other in others] for row in rows]
