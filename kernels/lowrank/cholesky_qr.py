"""QR factorisation of tall matrices by products, in which it is far ahead of Householder's reflections.

Twice by Cholesky's factor of the matrix of inner products, which is worked out in double precision (I. Yamazaki, S.
Tomov and J. Dongarra, SIAM Journal on Scientific Computing 37 (2015), C307-C330). The first factor leaves as much of a
loss of orthogonality as the second can make good, unless columns depend on each other but for rounding errors; those
matrices LAPACK gets.
"""

from __future__ import annotations

import numpy as np

__all__ = ["qr"]

ORTHOGONAL = 0.1  # the greatest inner product of two vectors that the second factor sets right


def qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns, and the upper triangle that these have to be multiplied by."""
    try:
        q, first = _divided(a, np.inf)
        q, second = _divided(q, ORTHOGONAL)
    except np.linalg.LinAlgError:
        return np.linalg.qr(a)
    return q, (second @ first).astype(a.dtype)


def _divided(a: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix divided by Cholesky's factor of its inner products, which differ from those wanted by `most`."""
    wide = a.astype(np.result_type(a.dtype, np.float64), copy=False)
    with np.errstate(all="ignore"):
        products = wide.conj().T @ wide
    off = np.abs(products - np.eye(len(products))).max(initial=0)
    if not (np.isfinite(off) and off <= most):
        raise np.linalg.LinAlgError
    factor = np.linalg.cholesky(products, upper=True)
    return a @ np.linalg.inv(factor).astype(a.dtype), factor
