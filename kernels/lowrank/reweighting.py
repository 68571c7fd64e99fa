"""The factors that make a sum of chosen terms come as near to the whole product as it can, in NumPy and in CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["best_factors", "minimum_norm_solution"]

BLOCK = 1 << 20  # items of what is stored beside the operands


def best_factors(x: Any, y: Any, columns: Any, rows: Any, xp: Any = np, block: int = BLOCK) -> Any:
    """Solve the normal equations of the terms ``outer(columns[:, i], rows[i])``, whose norms should be about 1, or 0.

    Their right sides, the inner products with ``x @ y``, are summed over blocks of its terms.
    """
    adjoint, conjugate = columns.conj().T, rows.conj()
    sides = xp.zeros(len(rows), np.result_type(rows.dtype, np.float64))
    step = max(block // max(len(rows), 1), 1)
    for k in range(0, len(y), step):
        sides += xp.einsum("ik,ik->i", adjoint @ x[:, k : k + step], conjugate @ y[k : k + step].T)
    return minimum_norm_solution((adjoint @ columns) * (conjugate @ rows.T), sides, xp)


def minimum_norm_solution(gram: Any, sides: Any, xp: Any = np) -> Any:
    """The shortest of the best solutions of positive semidefinite equations, of a matrix as exact as its dtype."""
    if not len(sides):
        return sides
    cutoff = len(sides) * np.finfo(gram.dtype).eps
    values, vectors = xp.linalg.eigh(gram.astype(sides.dtype))
    kept = values > cutoff * values[-1]
    return vectors @ xp.where(kept, (vectors.conj().T @ sides) / xp.where(kept, values, 1), 0)
