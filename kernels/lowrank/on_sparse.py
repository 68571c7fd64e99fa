"""Sampled products of pydata/sparse matrices, in time that grows with what they store; COO, whatever their format.

No column is ever looked up: a product of sparse matrices goes through the entries of x row by row, and takes those
whose factor is not 0. Randomized SVD multiplies stored entries with dense vectors, and returns NumPy arrays.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import sparse

from kernels.lowrank import SVD, CRInfo, CRPlan, estimates, stored_terms
from kernels.lowrank.cholesky_qr import qr
from kernels.lowrank.normals import normal_matrix
from kernels.lowrank.numpy_random import random
from kernels.lowrank.numpy_weights import Weights, exact_info, weights_of
from kernels.lowrank.prediction import NO_TERMS, Prediction, plan
from kernels.lowrank.sampling import PROBES, TEST_MATRIX, draw, pilot
from kernels.lowrank.stored_matrix import StoredMatrix, by_rows
from kernels.lowrank.stored_products import exact_product, multiply, times
from kernels.lowrank.subspace import largest_singular

__all__ = ["cr_matmul", "cr_plan", "estimate_error", "randomized_svd"]

# What takes time beside the products of stored entries, in those, of which each takes about 10 ns.
ENTRY = 0.5  # its part of a norm
TERM = 5.0  # its place in the random order
CALL = 4e4
PILOT = 3e5
PILOT_ENTRY = 2.0  # what it takes to find those of the terms drawn


def cr_matmul(
    x: sparse.SparseArray,
    y: sparse.SparseArray,
    rank: int | None,
    rtol: float | None,
    sampling: str,
    key: int,
    return_info: bool,
) -> Any:
    x, y = by_rows("x", x), by_rows("y", y)
    terms = y.shape[0]
    if rank is not None and rank >= terms:
        return _exact(x, y, return_info)
    weights = _weights(x, y)
    if rtol is not None:
        rank = _terms_needed(x, y, weights, rtol, sampling, key)
    assert rank is not None, "the contract gives one of the two"
    if rank >= terms:
        return _exact(x, y, return_info)
    factors = _factors(x, y, weights, rank, sampling, key)
    w = multiply(x, y, factors.astype(x.values.dtype)) if weights.finite else _unknown(x, y)
    if not return_info:
        return w
    kind = estimates.kind_of_error(sampling, rank)
    indices, errors = np.flatnonzero(factors), (np.nan, np.nan)
    if weights.finite and kind == "unbiased":
        errors = estimates.without_bias(rank, weights.moment(sampling), stored_terms.norm(w.data))
    elif weights.finite:
        errors = estimates.from_probes(*_probed(x, y, by_rows("w", w), estimates.N_PROBES, key), estimates.N_PROBES)
    return w, CRInfo(sampling, rank, indices, factors[indices], *errors, kind)


def _exact(x: StoredMatrix, y: StoredMatrix, return_info: bool) -> Any:
    w = exact_product(x, y)
    return (w, exact_info(y.shape[0])) if return_info else w


def _unknown(x: StoredMatrix, y: StoredMatrix) -> sparse.COO:
    """NaN everywhere, as the value of what is not stored."""
    dtype = x.values.dtype
    return sparse.COO(
        np.empty((2, 0), np.int64), np.empty(0, dtype), (x.shape[0], y.shape[1]), fill_value=dtype.type(np.nan)
    )


def _weights(x: StoredMatrix, y: StoredMatrix) -> Weights:
    return weights_of(stored_terms.column_norms(x), stored_terms.row_norms(y))


def _factors(x: StoredMatrix, y: StoredMatrix, weights: Weights, rank: int, sampling: str, key: int) -> np.ndarray:
    """What each term is multiplied by; 0 where nothing can be said of any."""
    if not weights.finite:
        return np.zeros(len(weights.grid))
    factors = draw(np, weights.grid, rank, sampling, random(key))
    if sampling != "topk_reweighted":
        return factors
    indices = np.flatnonzero(factors)
    factors = np.zeros(len(factors), np.result_type(x.values, np.float64))
    factors[indices] = stored_terms.best_factors(x, y, weights.of_columns, weights.of_rows, indices)
    return factors


def _terms_needed(x: StoredMatrix, y: StoredMatrix, weights: Weights, rtol: float, sampling: str, key: int) -> int:
    """All of them where fewer cannot pay."""
    most = _break_even(x, y, weights, with_pilot=True) if weights.finite else 0
    needed = _prediction(x, y, weights, key).terms_needed(sampling, rtol) if most else 0
    return needed if 0 < needed <= most else y.shape[0]


def _break_even(x: StoredMatrix, y: StoredMatrix, weights: Weights, *, with_pilot: bool = False) -> int:
    """In products of stored entries; a sample takes as many a term as one that is drawn by its weight."""
    products, entries = np.bincount(x.columns, minlength=x.shape[1]) * np.diff(y.bounds), len(x.values) + len(y.values)
    fixed = ENTRY * entries + TERM * len(products) + CALL + with_pilot * (PILOT + PILOT_ENTRY * entries)
    a_term = float(weights.grid @ products / max(weights.grid.sum(), 1))
    return estimates.break_even(len(products), float(products.sum()), fixed, a_term)


def _prediction(x: StoredMatrix, y: StoredMatrix, weights: Weights, key: int) -> Prediction:
    of_columns, of_rows, grid, finite = weights
    draws = pilot(np, grid, random(key))
    cosines = stored_terms.cosines(x, y, of_columns, of_rows, draws) if finite else np.full((len(draws),) * 2, np.nan)
    return Prediction(grid, draws, cosines)


@np.errstate(all="ignore")
def cr_plan(x: sparse.SparseArray, y: sparse.SparseArray) -> CRPlan:
    x, y = by_rows("x", x), by_rows("y", y)
    if not y.shape[0]:
        return NO_TERMS
    weights = _weights(x, y)
    return plan(_prediction(x, y, weights, 0), _break_even(x, y, weights))


@np.errstate(all="ignore")
def estimate_error(x: sparse.SparseArray, y: sparse.SparseArray, w: sparse.SparseArray, probes: int, key: int) -> float:
    x, y, w = by_rows("x", x), by_rows("y", y), by_rows("w", w)
    if not (x.is_finite() and y.is_finite() and w.is_finite()):
        return np.nan
    return estimates.from_probes(*_probed(x, y, w, probes, key), probes)[0]


def _probed(x: StoredMatrix, y: StoredMatrix, w: StoredMatrix, probes: int, key: int) -> tuple[float, float]:
    """The sums of squares of what the probes make of ``w - x @ y`` and of ``x @ y``."""
    probe = normal_matrix(y.shape[1], probes, key, PROBES)
    product = times(x, times(y, probe))
    difference, whole = (stored_terms.norm(image.ravel()) for image in (times(w, probe) - product, product))
    return difference * difference, whole * whole  # which may be infinite, where a power would raise


@np.errstate(all="ignore")
def randomized_svd(a: sparse.SparseArray, rank: int, oversample: int, iterations: int, key: int) -> SVD:
    a = by_rows("a", a)
    columns = min(rank + oversample, *a.shape)
    start = normal_matrix(a.shape[1], columns, key, TEST_MATRIX).astype(a.values.dtype)
    products = partial(times, a), partial(times, a.adjoint())
    return largest_singular(np, *products, start, min(rank, columns), iterations, qr)
