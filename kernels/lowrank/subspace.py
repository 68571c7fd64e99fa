"""Randomized SVD by subspace iteration: one text for dense and stored matrices, in NumPy and in CuPy.

N. Halko, P. G. Martinsson and J. A. Tropp, SIAM Review 53 (2011), algorithms 4.4 and 5.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernels.lowrank import SVD

__all__ = ["Factors", "largest_singular", "products_with", "signed"]

Product = Callable[[Any], Any]
Factors = Callable[[Any], tuple[Any, Any]]


def products_with(a: Any) -> tuple[Product, Product]:
    """``a @ m`` and ``a.conj().T @ m`` of an array, which is not conjugated, since that might copy it."""
    return a.__matmul__, lambda vectors: (vectors.conj().T @ a).conj().T


def largest_singular(
    xp: Any, times: Product, adjoint_times: Product, start: Any, rank: int, iterations: int, qr: Factors | None = None
) -> SVD:
    """Of a matrix A that is known by its products ``A @ m`` and ``A.conj().T @ m``, with ``start`` of random vectors.

    `start` has no more columns than A has rows or columns; `rank` is no more than that. `qr` is LAPACK's, or another.
    """
    qr = qr or xp.linalg.qr
    sample = times(start)
    finite = xp.isfinite(sample).all()  # only if A is, and LAPACK refuses what is not
    unknown = xp.where(finite, 0, xp.nan).astype(sample.real.dtype)
    basis, _ = qr(_finite(xp, sample))
    for _ in range(iterations):
        across, _ = qr(_finite(xp, adjoint_times(basis)))
        basis, _ = qr(_finite(xp, times(across)))
    # of the adjoint, which is tall, so that a matrix need not be transposed for its product from the left
    across, triangle = qr(_finite(xp, adjoint_times(basis)))
    v, s, uh = xp.linalg.svd(triangle)
    svd = signed(xp, basis @ uh[:rank].conj().T, s[:rank], (across @ v[:, :rank]).conj().T)
    return SVD(*(part + unknown for part in svd))


def _finite(xp: Any, vectors: Any) -> Any:
    """Zeros where something is not: what the result is then is said by the first product."""
    return xp.where(xp.isfinite(vectors), vectors, xp.zeros((), vectors.dtype))


def signed(xp: Any, u: Any, s: Any, vh: Any) -> SVD:
    """The same with the greatest item of each column of `u` positive."""
    if not u.size:
        return SVD(u, s, vh)
    greatest = u[xp.abs(u).argmax(axis=0), xp.arange(u.shape[1])]
    modulus = xp.abs(greatest)
    sign = xp.where(modulus > 0, greatest / xp.where(modulus > 0, modulus, 1), 1).astype(u.dtype)
    return SVD(u * sign.conj(), s, vh * sign[:, None])
