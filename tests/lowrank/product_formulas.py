"""What the functions promise as formulas in NumPy and double precision, with bounds for the rounding errors of others.

A right product in a dtype of unit roundoff u differs from the formula by no more than u times the formula of absolute
values times the number of terms, but for a small factor (Higham, Accuracy and Stability of Numerical Algorithms,
section 3.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.lowrank import estimates, normals
from kernels.lowrank import sampling as samplers
from kernels.philox import MASK, philox4x32


def random(key: int) -> samplers.Random:
    def words(count: int, use: int) -> tuple[Any, Any, Any, Any]:
        at = np.arange(count)
        return philox4x32(at & MASK, at >> 32, use, 0, key & MASK, key >> 32)

    return samplers.Random(words, lambda drawn, length: np.bincount(drawn, minlength=length))


def draw(grid: Any, rank: int, sampling: str, key: int) -> Any:
    """What each term is multiplied by, 0 where it is not drawn; the rank may be that of the exact product."""
    return samplers.draw(np, grid, rank, sampling, random(key)) if rank < len(grid) else np.ones(len(grid))


def double(array: Any) -> Any:
    return array.astype(complex if array.dtype.kind == "c" else float)


def norms(array: Any, axis: int) -> Any:
    """Of columns (axis 0) or rows (axis 1), with squares that neither overflow nor vanish."""
    array = np.abs(double(array))
    most = array.max(axis=axis, keepdims=True, initial=0)
    scale = np.where((most > 0) & np.isfinite(most), most, 1)
    return np.linalg.norm(array / scale, axis=axis) * scale.squeeze(axis)


def grid(x: Any, y: Any) -> Any:
    return samplers.on_grid(np, norms(x, 0), norms(y, 1))[0]


def inner_products(x: Any, y: Any) -> Any:
    """Those of all pairs of terms, the first one conjugated."""
    x, y = double(x), double(y)
    return (x.conj().T @ x) * (y @ y.conj().T).conj()


def reweighted(inner: Any, drawn: Any) -> Any:
    """The factors that leave the least error, the smallest ones where terms depend on each other."""
    own = np.sqrt(inner.diagonal().real)[drawn]
    scaled = inner[drawn] / own[:, None]
    return np.linalg.lstsq(scaled[:, drawn] / own, scaled.sum(axis=1), rcond=1e-12)[0] / own


def product(x: Any, y: Any) -> tuple[Any, Any]:
    x, y = double(x), double(y)
    return x @ y, (x.shape[1] + 4) * (np.abs(x) @ np.abs(y))


def sampled(x: Any, y: Any, indices: Any, weights: Any) -> tuple[Any, Any]:
    return product(double(x)[:, indices] * weights, double(y)[indices])


def probed(x: Any, y: Any, w: Any, probes: int, key: int) -> tuple[float, float, float]:
    """The error and the relative error by Gaussian probes, and how far the error may be off in units of roundoff."""
    x, y, w = double(x), double(y), double(w)
    g = normals.normal_matrix(w.shape[1], probes, key, samplers.PROBES)
    products = x @ (y @ g)
    off = (sum(w.shape) + x.shape[1] + 8) * (np.abs(w) @ np.abs(g) + np.abs(x) @ (np.abs(y) @ np.abs(g)))
    squares = (float(np.sum(np.abs(each) ** 2)) for each in (w @ g - products, products))
    return (*estimates.from_probes(*squares, probes), float(np.linalg.norm(off)) / probes**0.5)


def without_bias(x: Any, y: Any, w: Any, rank: int, sampling: str) -> tuple[float, float]:
    """The same from the norm of the result alone; on average over draws with replacement, its square is right."""
    weights = norms(x, 0) * norms(y, 1)
    moment = weights.sum() ** 2 if sampling == "importance" else len(weights) * (weights**2).sum()
    return estimates.without_bias(rank, float(moment), float(np.linalg.norm(w)))
