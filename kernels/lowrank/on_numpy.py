"""Sampled products in NumPy: norms block by block, the chosen columns and rows gathered, and one product by BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.lowrank import SVD, CRPlan, dense_products, numpy_terms, sampling
from kernels.lowrank.normals import normal_matrix
from kernels.lowrank.numpy_random import random
from kernels.lowrank.subspace import largest_singular


def cr_matmul(
    x: np.ndarray, y: np.ndarray, rank: int | None, rtol: float | None, sampling: str, key: int, return_info: bool
) -> Any:
    return dense_products.sampled(_PARTS, x, y, rank, rtol, sampling, key, return_info)


def cr_plan(x: np.ndarray, y: np.ndarray) -> CRPlan:
    return dense_products.planned(_PARTS, x, y)


def estimate_error(x: np.ndarray, y: np.ndarray, w: np.ndarray, probes: int, key: int) -> float:
    return dense_products.error_of(_PARTS, x, y, w, probes, key)


def randomized_svd(a: np.ndarray, rank: int, oversample: int, iterations: int, key: int) -> SVD:
    columns = min(rank + oversample, *a.shape)
    start = normal_matrix(a.shape[1], columns, key, sampling.TEST_MATRIX).astype(a.dtype)
    return largest_singular(np, a.__matmul__, a.conj().T.__matmul__, start, min(rank, columns), iterations)


def _draw(grid: np.ndarray, rank: int, method: str, key: int) -> tuple[np.ndarray, np.ndarray]:
    factors = sampling.draw(np, grid, rank, method, random(key))
    indices = np.flatnonzero(factors)
    return indices, factors[indices]


_PARTS = dense_products.Parts(
    numpy_terms.column_norms,
    numpy_terms.row_norms,
    numpy_terms.columns,
    numpy_terms.rows,
    _draw,
    lambda grid, key: sampling.pilot(np, grid, random(key)),
    normal_matrix,
    dense_products.Costs(item=40, gathered=100, call=2e7, pilot=2e8),
)
