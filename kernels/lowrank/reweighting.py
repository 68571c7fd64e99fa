"""The factors that make a sum of chosen terms come as near to the whole product as it can, in NumPy."""

from __future__ import annotations

import numpy as np

__all__ = ["best_factors", "minimum_norm_solution"]

BLOCK = 1 << 20  # items of what is stored beside the operands


def best_factors(x: np.ndarray, y: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Solve the normal equations of the terms ``outer(columns[:, i], rows[i])``, whose norms should be about 1.

    Their right sides, the inner products with ``x @ y``, are summed over blocks of its terms.
    """
    adjoint, conjugate = columns.conj().T, rows.conj()
    sides = np.zeros(len(rows), np.result_type(rows, np.float64))
    step = max(BLOCK // max(len(rows), 1), 1)
    for k in range(0, len(y), step):
        sides += np.einsum("ik,ik->i", adjoint @ x[:, k : k + step], conjugate @ y[k : k + step].T)
    return minimum_norm_solution((adjoint @ columns) * (conjugate @ rows.T), sides)


def minimum_norm_solution(gram: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The shortest of the best solutions of positive semidefinite equations, of a matrix as exact as its dtype."""
    if not len(sides):
        return sides
    cutoff = len(sides) * np.finfo(gram.dtype).eps
    values, vectors = np.linalg.eigh(gram.astype(sides.dtype))
    kept = values > cutoff * values[-1]
    vectors = vectors[:, kept]
    return vectors @ ((vectors.conj().T @ sides) / values[kept])
