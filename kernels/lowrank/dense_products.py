"""Sampled products of arrays in host memory: the steps, for a backend that brings what each of them is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kernels.lowrank import SVD, CRInfo, CRPlan, estimates
from kernels.lowrank.numpy_weights import Weights, exact_info, weights_of
from kernels.lowrank.overlap import cosines
from kernels.lowrank.prediction import NO_TERMS, Prediction, plan
from kernels.lowrank.reweighting import best_factors
from kernels.lowrank.sampling import PROBES, TEST_MATRIX
from kernels.lowrank.subspace import Factors, largest_singular, products_with

__all__ = ["Costs", "Parts", "error_of", "planned", "sampled", "svd_of"]

Array = np.ndarray


class Costs(NamedTuple):
    """What else takes time, in multiply-adds of the exact product."""

    item: float  # the norm of a column or row, an item
    gathered: float  # an item of the chosen columns and rows
    call: float  # drawing the terms
    pilot: float  # finding out how many


class Parts(NamedTuple):
    """Of a backend: see `numpy_terms` for the first five, `sampling` for the next three, `normals` for the last."""

    norms: Callable[[Array, Array], tuple[Array, Array]]
    row_norms: Callable[[Array], Array]
    columns: Callable[..., Array]
    rows: Callable[[Array, Array], Array]
    product: Callable[[Array, Array, Array, Array], Array]  # of the columns and rows that are chosen, with factors
    on_grid: Callable[[Array, Array], tuple[Array, Any]]
    draw: Callable[[Array, int, str, int], tuple[Array, Array]]  # from grid, rank, sampling and key: terms and factors
    pilot: Callable[[Array, int], Array]  # from grid and key
    normal_matrix: Callable[[int, int, int, int], Array]
    costs: Costs

    def break_even(self, x: Array, y: Array, *, pilot: bool = False) -> int:
        (m, terms), n = x.shape, y.shape[1]
        fixed = self.costs.item * (m + n) * terms + self.costs.call + pilot * self.costs.pilot
        return estimates.break_even(terms, m * n * terms, fixed, m * n + self.costs.gathered * (m + n))


def _weights(parts: Parts, x: Array, y: Array) -> Weights:
    return weights_of(*parts.norms(x, y), parts.on_grid)


def _prediction(parts: Parts, x: Array, y: Array, weights: Weights, key: int) -> Prediction:
    draws = parts.pilot(weights.grid, key)
    overlap = cosines(parts.columns(x, draws), parts.rows(y, draws), np)
    return Prediction(weights.grid, draws, overlap if weights.finite else np.full_like(overlap, np.nan))


@np.errstate(all="ignore")
def planned(parts: Parts, x: Array, y: Array) -> CRPlan:
    if not len(y):
        return NO_TERMS
    weights = _weights(parts, x, y)
    return plan(_prediction(parts, x, y, weights, 0), parts.break_even(x, y))


@np.errstate(all="ignore")
def sampled(
    parts: Parts, x: Array, y: Array, rank: int | None, rtol: float | None, sampling: str, key: int, return_info: bool
) -> Any:
    terms = len(y)
    if rank is not None and rank >= terms:
        return _exact(x, y, return_info)
    weights = _weights(parts, x, y)
    if rtol is not None:
        rank = _terms_needed(parts, x, y, weights, rtol, sampling, key)
    assert rank is not None, "the contract gives one of the two"
    if rank >= terms:
        return _exact(x, y, return_info)
    if weights.finite:
        indices, factors = _drawn(parts, x, y, weights, rank, sampling, key)
        w = parts.product(x, y, indices, factors)
    else:
        indices, factors, w = np.zeros(0, np.int64), np.zeros(0), np.full((len(x), y.shape[1]), np.nan, x.dtype)
    if not return_info:
        return w
    kind = estimates.kind_of_error(sampling, rank)
    if kind == "unbiased":
        norm = float(np.linalg.norm(parts.row_norms(w)))
        errors = estimates.without_bias(rank, weights.moment(sampling), norm)
    else:
        errors = estimates.from_probes(*_probed(parts, x, y, w, estimates.N_PROBES, key), estimates.N_PROBES)
    return w, CRInfo(sampling, rank, indices, factors, *errors, kind)


def _terms_needed(parts: Parts, x: Array, y: Array, weights: Weights, rtol: float, sampling: str, key: int) -> int:
    """All terms where sampling cannot pay."""
    most = parts.break_even(x, y, pilot=True) if weights.finite else 0
    if not most:
        return len(y)
    needed = _prediction(parts, x, y, weights, key).terms_needed(sampling, rtol)
    return needed if needed <= most else len(y)


def _exact(x: Array, y: Array, return_info: bool) -> Any:
    w = x @ y
    return (w, exact_info(len(y))) if return_info else w


def _drawn(
    parts: Parts, x: Array, y: Array, weights: Weights, rank: int, sampling: str, key: int
) -> tuple[Array, Array]:
    indices, factors = parts.draw(weights.grid, rank, sampling, key)
    if sampling != "topk_reweighted":
        return indices, factors
    of_columns, of_rows = weights.of_columns[indices], weights.of_rows[indices]
    columns = parts.columns(x, indices) / of_columns.astype(x.real.dtype)
    rows = parts.rows(y, indices) / of_rows[:, None].astype(y.real.dtype)
    return indices, best_factors(x, y, columns, rows) / (of_columns * of_rows)


@np.errstate(all="ignore")
def error_of(parts: Parts, x: Array, y: Array, w: Array, probes: int, key: int) -> float:
    return estimates.from_probes(*_probed(parts, x, y, w, probes, key), probes)[0]


def _probed(parts: Parts, x: Array, y: Array, w: Array, probes: int, key: int) -> tuple[float, float]:
    """The sums of squares of what the probes make of ``w - x @ y`` and of ``x @ y``."""
    probe = parts.normal_matrix(y.shape[1], probes, key, PROBES).astype(x.dtype)
    product = x @ (y @ probe)
    difference, total = (float((parts.row_norms(image) ** 2).sum()) for image in (w @ probe - product, product))
    return difference, total


@np.errstate(all="ignore")
def svd_of(
    parts: Parts, a: Array, rank: int, oversample: int, iterations: int, key: int, qr: Factors | None = None
) -> SVD:
    columns = min(rank + oversample, *a.shape)
    start = parts.normal_matrix(a.shape[1], columns, key, TEST_MATRIX).astype(a.dtype)
    return largest_singular(np, *products_with(a), start, min(rank, columns), iterations, qr)
