"""Sampled products on Numba: norms and terms in loops on threads, a compiled sampler, and one product by BLAS."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from kernels.blas import one_thread
from kernels.jit import n_threads
from kernels.lowrank import SVD, CRPlan, compiled_sampling, dense_products, fused_terms
from kernels.lowrank.cholesky_qr import qr
from kernels.lowrank.compiled_normals import normal_matrix

# From one core with AVX-512, for float32 and float64 of 512 to 2048 rows and columns, where a norm took 25 to 36 an
# item and the rest varied by three times: rather too much than too little, so that what is sampled saves time.
COSTS = dense_products.Costs(item=40, gathered=40, call=1.5e7, pilot=3e8)


def cr_matmul(
    x: np.ndarray, y: np.ndarray, rank: int | None, rtol: float | None, sampling: str, key: int, return_info: bool
) -> Any:
    with _blas():
        return dense_products.sampled(_PARTS, x, y, rank, rtol, sampling, key, return_info)


def cr_plan(x: np.ndarray, y: np.ndarray) -> CRPlan:
    with _blas():
        return dense_products.planned(_PARTS, x, y)


def estimate_error(x: np.ndarray, y: np.ndarray, w: np.ndarray, probes: int, key: int) -> float:
    with _blas():
        return dense_products.error_of(_PARTS, x, y, w, probes, key)


def randomized_svd(a: np.ndarray, rank: int, oversample: int, iterations: int, key: int) -> SVD:
    with _blas():
        return dense_products.svd_of(_PARTS, a, rank, oversample, iterations, key, qr)


def _blas() -> AbstractContextManager[None]:
    """Leave products their threads, but where kernels may have one alone."""
    return one_thread() if n_threads() == 1 else nullcontext()


_PARTS = dense_products.Parts(
    fused_terms.norms,
    fused_terms.row_norms,
    fused_terms.columns,
    fused_terms.rows,
    fused_terms.product,
    compiled_sampling.on_grid,
    compiled_sampling.draw,
    compiled_sampling.pilot,
    normal_matrix,
    COSTS,
)
