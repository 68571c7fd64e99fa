"""Sampled products in NumPy: norms block by block, the chosen columns and rows gathered, and one product by BLAS."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from kernels.lowrank import SVD, CRPlan, dense_products, numpy_terms, sampling
from kernels.lowrank.normals import normal_matrix
from kernels.lowrank.numpy_random import random


def cr_matmul(
    x: np.ndarray, y: np.ndarray, rank: int | None, rtol: float | None, sampling: str, key: int, return_info: bool
) -> Any:
    return dense_products.sampled(_PARTS, x, y, rank, rtol, sampling, key, return_info)


def cr_plan(x: np.ndarray, y: np.ndarray) -> CRPlan:
    return dense_products.planned(_PARTS, x, y)


def estimate_error(x: np.ndarray, y: np.ndarray, w: np.ndarray, probes: int, key: int) -> float:
    return dense_products.error_of(_PARTS, x, y, w, probes, key)


def randomized_svd(a: np.ndarray, rank: int, oversample: int, iterations: int, key: int) -> SVD:
    return dense_products.svd_of(_PARTS, a, rank, oversample, iterations, key)


def _norms(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return numpy_terms.column_norms(x), numpy_terms.row_norms(y)


def _product(x: np.ndarray, y: np.ndarray, indices: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return numpy_terms.columns(x, indices, factors) @ numpy_terms.rows(y, indices)


def _draw(grid: np.ndarray, rank: int, method: str, key: int) -> tuple[np.ndarray, np.ndarray]:
    factors = sampling.draw(np, grid, rank, method, random(key))
    indices = np.flatnonzero(factors)
    return indices, factors[indices]


_PARTS = dense_products.Parts(
    _norms,
    numpy_terms.row_norms,
    numpy_terms.columns,
    numpy_terms.rows,
    _product,
    partial(sampling.on_grid, np),
    _draw,
    lambda grid, key: sampling.pilot(np, grid, random(key)),
    normal_matrix,
    dense_products.Costs(item=40, gathered=100, call=2e7, pilot=2e8),
)
