"""The terms of a product of sparse matrices by what they store: norms, inner products, and the best factors.

With z for y transposed, the inner product of the terms i and k is ``(x_i^H x_k) (z_i^H z_k)`` for the columns of x and
z: an item of the elementwise product of two sparse products.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import sparse

from kernels.jit import jit
from kernels.lowrank.stored_matrix import StoredMatrix, by_rows
from kernels.lowrank.stored_products import multiply, times

__all__ = ["best_factors", "column_norms", "cosines", "norm", "row_norms"]

SAFE = 2.0**-960, 2.0**960  # sums of squares that have lost nothing to underflow, nor overflowed
BLOCK = 1 << 21  # products of stored entries, whose sums are kept at once
STEPS = 10  # for each unknown


def column_norms(x: StoredMatrix) -> np.ndarray:
    return _norms(x.columns, x.values, x.shape[1])


def row_norms(y: StoredMatrix) -> np.ndarray:
    return _norms(y.row_of_each, y.values, y.shape[0])


def norm(values: np.ndarray) -> float:
    return float(_norms(np.zeros(len(values), np.int64), values, 1)[0])


@np.errstate(all="ignore")
def _norms(places: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Of the values that belong to each place; where squares over- or underflow, of values over a power of two."""
    squares = np.bincount(places, _squares(values), count)
    norms = np.sqrt(squares)
    doubtful = ~((squares > SAFE[0]) & (squares < SAFE[1]))
    if values.dtype.char in "fF" or not doubtful.any():  # the squares of single precision are safe in double
        return norms
    entries = np.flatnonzero(doubtful[places])
    places, values = places[entries], values[entries]
    greatest = np.zeros(count)
    np.maximum.at(greatest, places, np.maximum(np.abs(values.real), np.abs(values.imag)))
    exponents = np.frexp(greatest)[1]
    shifts = -exponents[places]
    scaled = np.bincount(places, np.ldexp(values.real, shifts) ** 2 + np.ldexp(values.imag, shifts) ** 2, count)
    return np.where(doubtful, np.ldexp(np.sqrt(scaled), exponents), norms)


def _squares(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "c":
        return _squares(values.real) + _squares(values.imag)
    values = values.astype(np.float64, copy=False)
    return values * values


class Directions(NamedTuple):
    """Some of the terms, taken to unit length: their columns of x and of y transposed."""

    columns: StoredMatrix
    rows: StoredMatrix

    def adjoint(self) -> Directions:
        return Directions(self.columns.adjoint(), self.rows.adjoint())


def _directions(
    x: StoredMatrix, z: StoredMatrix, x_norms: np.ndarray, y_norms: np.ndarray, indices: np.ndarray
) -> Directions:
    places = np.full(len(x_norms), -1)
    places[indices] = np.arange(len(indices))

    def taken(matrix: StoredMatrix, norms: np.ndarray) -> StoredMatrix:
        chosen = matrix.chosen_columns(places, len(indices))
        lengths = norms[indices][chosen.columns]
        return chosen._replace(values=chosen.values / np.where(lengths > 0, lengths, 1))

    return Directions(taken(x, x_norms), taken(z, y_norms))


def _inner_products(adjoint: Directions, others: Directions) -> sparse.COO:
    """Of the terms whose adjoint is given with all others, where columns and rows have entries in common."""
    left, right = (multiply(*pair) for pair in zip(adjoint, others, strict=True))
    numbers = [product.coords[0] * product.shape[1] + product.coords[1] for product in (left, right)]
    common = np.empty((2, min(left.nnz, right.nnz) + 1), np.int64)
    of_left, of_right = common[:, : find_common(*numbers, common)]
    values = left.data[of_left] * right.data[of_right]
    return sparse.COO(left.coords[:, of_left], values, left.shape, has_duplicates=False, sorted=True)


@jit
def find_common(a, b, places):
    """Where the numbers stand that occur in both of two ascending arrays; `places` has room for one more."""
    i = j = count = 0
    while i < len(a) and j < len(b):
        first, second = a[i], b[j]
        places[0, count], places[1, count] = i, j
        count += first == second
        i += first <= second
        j += second <= first
    return count


def cosines(
    x: StoredMatrix, y: StoredMatrix, x_norms: np.ndarray, y_norms: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Re <v_a, v_b> / (|v_a| |v_b|) for the terms drawn; zero where one is zero."""
    drawn, places = np.unique(draws, return_inverse=True)
    terms = _directions(x, y.transposed(), x_norms, y_norms, drawn)
    products = _inner_products(terms.adjoint(), terms)
    return products.todense().real[np.ix_(places, places)]


def best_factors(
    x: StoredMatrix, y: StoredMatrix, x_norms: np.ndarray, y_norms: np.ndarray, indices: np.ndarray
) -> np.ndarray:
    """The solution of the normal equations of the terms given, whose right sides are summed up block by block."""
    z = y.transposed()
    terms = _directions(x, z, x_norms, y_norms, indices)
    adjoint = terms.adjoint()
    sides = np.zeros((len(indices), 1), adjoint.columns.values.dtype)
    for rows in pairwise(_bounds_of_blocks(adjoint, x, z)):
        block = Directions(*(matrix.rows_between(*rows) for matrix in adjoint))
        inner = by_rows("x @ y", _inner_products(block, Directions(x, z)))
        sides += times(inner, np.ones((inner.shape[1], 1)))
    gram = by_rows("x @ y", _inner_products(adjoint, terms))
    return _conjugate_gradients(gram, sides)[:, 0] / (x_norms[indices] * y_norms[indices])


def _bounds_of_blocks(adjoint: Directions, x: StoredMatrix, z: StoredMatrix) -> list[int]:
    """Of rows that take about `BLOCK` products."""
    products = np.zeros(adjoint.columns.shape[0])
    for matrix, other in zip(adjoint, (x, z), strict=True):
        stored = np.diff(other.bounds)
        products += np.bincount(matrix.row_of_each, stored[matrix.columns], len(products))
    ends = np.cumsum(products)
    steps = np.arange(BLOCK, ends.max(initial=0), BLOCK)
    return np.unique(np.concatenate(([0], np.searchsorted(ends, steps), [len(ends)]))).tolist()


def _conjugate_gradients(gram: StoredMatrix, sides: np.ndarray) -> np.ndarray:
    """Solve positive semidefinite equations that have solutions; of several ones, the shortest.

    What falls with each step is the distance from the product itself, so that it may end at any. Without rounding
    errors, as many steps as there are unknowns would do.
    """
    solution = np.zeros_like(sides)
    residual = direction = sides
    square = np.vdot(residual, residual).real
    enough = square * (len(sides) * np.finfo(np.float64).eps) ** 2
    for _ in range(STEPS * len(sides)):
        if not square > enough:
            break
        image = times(gram, direction)
        curvature = np.vdot(direction, image).real
        if not curvature > 0:
            break
        step = square / curvature
        solution = solution + step * direction
        residual = residual - step * image
        square, before = np.vdot(residual, residual).real, square
        direction = residual + square / before * direction
    return solution
