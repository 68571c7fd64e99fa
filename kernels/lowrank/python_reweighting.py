"""The factors that make a sum of chosen terms come as near to the whole product as it can, in pure Python.

They solve the normal equations of the terms, scaled to a norm of 1, by Cholesky's factorisation with pivots: the term
that is the furthest from all before it comes next, and those that depend on them get the factor 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from sys import float_info
from typing import Any

from kernels.lowrank.python_terms import conjugate, directions, norm, overlaps
from kernels.python_products import inner, matmul

__all__ = ["best_factors"]

BLOCK = 32  # terms at a time: what is stored for them is small beside the operands

Matrix = Sequence[Sequence[Any]]


def best_factors(x: Matrix, y: Matrix, columns: Matrix, rows: Matrix) -> list[Any]:
    """The factors of the terms ``outer(columns[i], rows[i])``, none of which is zero."""
    c, r = directions(columns), directions(rows)
    x_scale, y_scale = max(map(norm, columns), default=1.0), max(map(norm, rows), default=1.0)
    sides: list[Any] = []
    for start in range(0, len(c), BLOCK):
        lefts = matmul(conjugate(c[start : start + BLOCK]), x, len(y))
        rights = inner(conjugate(r[start : start + BLOCK]), y)
        sides += [
            sum([a / x_scale * (b / y_scale) for a, b in zip(left, right, strict=True)])
            for left, right in zip(lefts, rights, strict=True)
        ]
    return [
        factor / (norm(column) / x_scale) / (norm(row) / y_scale)
        for factor, column, row in zip(_solution(overlaps(c, r), sides), columns, rows, strict=True)
    ]


def _solution(gram: Matrix, sides: Sequence[Any]) -> list[Any]:
    """One of the best solutions of positive semidefinite equations with a unit diagonal."""
    size = len(gram)
    factor: list[list[Any]] = [[] for _ in range(size)]
    rest, order, left = [1.0] * size, [], list(range(size))
    while left:
        pivot = max(left, key=rest.__getitem__)
        if rest[pivot] <= size * float_info.epsilon:
            break
        order.append(pivot)
        left.remove(pivot)
        known = inner(conjugate([factor[pivot]]), [factor[i] for i in left])[0]
        root = sqrt(rest[pivot])
        factor[pivot].append(root)
        for i, product in zip(left, known, strict=True):
            item = (gram[i][pivot] - product) / root
            factor[i].append(item)
            rest[i] -= abs(item) ** 2
    triangle = [factor[pivot] for pivot in order]
    solution: list[Any] = [0.0] * size
    for pivot, value in zip(
        order, _solved_adjoint(triangle, _solved(triangle, [sides[i] for i in order])), strict=True
    ):
        solution[pivot] = value
    return solution


def _solved(triangle: Matrix, sides: Sequence[Any]) -> list[Any]:
    result: list[Any] = []
    for row, side in zip(triangle, sides, strict=True):
        result.append((side - inner([result], [row[:-1]])[0][0]) / row[-1])
    return result


def _solved_adjoint(triangle: Matrix, sides: Sequence[Any]) -> list[Any]:
    result = list(sides)
    for i in range(len(triangle) - 1, -1, -1):
        result[i] /= triangle[i][i]
        for j, item in enumerate(conjugate([triangle[i][:i]])[0]):
            result[j] -= item * result[i]
    return result
