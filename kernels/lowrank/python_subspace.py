"""Randomized SVD by subspace iteration, in pure Python: see `subspace` for the way.

A basis is a list of its vectors. They are made orthonormal by Householder's reflections, and the small matrix that is
left is decomposed by Jacobi's rotations of its columns (J. Demmel and K. Veselić, SIAM Journal on Matrix Analysis and
Applications 13 (1992), 1204-1245).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations
from math import copysign, hypot, isfinite, nan, sqrt
from sys import float_info
from typing import Any

from kernels.lowrank.python_terms import conjugate, norm
from kernels.python_products import inner, matmul

__all__ = ["largest_singular"]

SWEEPS = 40  # far more than it takes

Vectors = Sequence[Sequence[Any]]


def largest_singular(
    a: Vectors, width: int, start: Vectors, rank: int, iterations: int
) -> tuple[Vectors, list[float], Vectors]:
    """Columns of u, singular values and rows of vh, of a matrix of so many columns, from random vectors."""
    sample = inner(start, a)
    if not all(isfinite(item.real) and isfinite(item.imag) for item in chain.from_iterable(sample)):
        return [[nan] * len(a)] * rank, [nan] * rank, [[nan] * width] * rank
    basis = _orthonormal(sample)
    for _ in range(iterations):
        basis = _orthonormal(inner(_orthonormal(_adjoint_times(a, width, basis)), a))
    projected = _adjoint_times(a, width, basis)
    across = _orthonormal(projected)
    rotated, rotations = _with_orthogonal_columns(inner(across, conjugate(projected)))
    values = [norm(column) for column in rotated]
    order = sorted(range(len(values)), key=lambda i: -values[i])
    left = matmul(_orthonormal([rotated[i] for i in order])[:rank], basis, len(a))
    right = matmul([rotations[i] for i in order[:rank]], across, width)
    signs = [_sign(max(vector, key=abs)) for vector in left]
    u = [[item * sign.conjugate() for item in vector] for vector, sign in zip(left, signs, strict=True)]
    vh = [[item * sign for item in vector] for vector, sign in zip(conjugate(right), signs, strict=True)]
    return u, [values[i] for i in order[:rank]], vh


def _adjoint_times(a: Vectors, width: int, vectors: Vectors) -> Vectors:
    return conjugate(matmul(conjugate(vectors), a, width))


def _sign(item: Any) -> Any:
    modulus = hypot(item.real, item.imag)
    return item / modulus if modulus else 1.0


def _orthonormal(vectors: Vectors) -> list[list[Any]]:
    """The Q of a QR factorisation, where the diagonal of R is positive; orthonormal for dependent vectors, too."""
    left, normals, signs = [list(vector) for vector in vectors], [], []
    for i in range(len(left)):
        vector = [type(left[i][i])()] * i + left[i][i:]
        sign = _sign(vector[i])
        vector[i] += sign * norm(vector)
        length = norm(vector) or 1.0
        normals.append([item / length for item in vector])
        signs.append(-sign if vector[i] else 1.0)
        left[i + 1 :] = _reflected(left[i + 1 :], normals[i])
    result: list[list[Any]] = []
    for i in range(len(left) - 1, -1, -1):
        unit = [0.0] * len(normals[i])
        unit[i] = signs[i]
        result = _reflected([unit, *result], normals[i])
    return result


def _reflected(vectors: Vectors, normal: Sequence[Any]) -> list[list[Any]]:
    products = inner(conjugate([normal]), vectors)[0]
    return [
        [item - 2 * product * other for item, other in zip(vector, normal, strict=True)]
        for vector, product in zip(vectors, products, strict=True)
    ]


def _with_orthogonal_columns(columns: Vectors) -> tuple[list[list[Any]], list[list[Any]]]:
    """A square matrix times a unitary one, and the unitary one, both as their columns."""
    size = len(columns)
    scale = max(map(norm, columns), default=0.0) or 1.0
    rotated: list[list[Any]] = [[item / scale for item in column] for column in columns]
    rotations: list[list[Any]] = [[float(i == j) for j in range(size)] for i in range(size)]
    for _ in range(SWEEPS):
        turned = False
        for i, j in combinations(range(size), 2):
            ((product,),) = inner(conjugate([rotated[i]]), [rotated[j]])
            first, second = norm(rotated[i]), norm(rotated[j])
            if abs(product) > size * float_info.epsilon * first * second:
                turned = True
                cosine, sine = _angle(product, first, second)
                for matrix in (rotated, rotations):
                    _turn(matrix, i, j, cosine, sine)
        if not turned:
            break
    return [[item * scale for item in column] for column in rotated], rotations


def _angle(product: Any, first: float, second: float) -> tuple[float, Any]:
    """Cosine and sine, times the phase of the product, that make columns of these norms orthogonal."""
    cotangent = (second - first) * (second + first) / (2 * abs(product))  # of twice the angle
    tangent = copysign(1.0, cotangent) / (abs(cotangent) + hypot(1.0, cotangent))
    cosine = 1 / sqrt(1 + tangent * tangent)
    return cosine, cosine * tangent * (product / abs(product))


def _turn(columns: list[list[Any]], i: int, j: int, cosine: float, sine: Any) -> None:
    first, second, conjugated = columns[i], columns[j], sine.conjugate()
    columns[i] = [cosine * a - conjugated * b for a, b in zip(first, second, strict=True)]
    columns[j] = [sine * a + cosine * b for a, b in zip(first, second, strict=True)]
