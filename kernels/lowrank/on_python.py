"""Sampled products in pure Python: the chosen columns and rows gathered into lists, and one product in plain loops."""

from __future__ import annotations

import sys
from array import array
from itertools import chain
from math import nan
from typing import Any, NamedTuple

from kernels.lowrank import SVD, CRInfo, CRPlan, estimates
from kernels.lowrank.prediction import NO_TERMS, Prediction, plan
from kernels.lowrank.python_normals import normal_columns
from kernels.lowrank.python_reweighting import best_factors
from kernels.lowrank.python_sampling import draw, on_grid, pilot
from kernels.lowrank.python_subspace import largest_singular
from kernels.lowrank.python_terms import column_norms, directions, matrices, norm, overlaps, row_norms, transposed
from kernels.lowrank.sampling import PILOT_DRAWS, PROBES, TEST_MATRIX
from kernels.nested import nested, shape
from kernels.python_products import inner, matmul

__all__ = ["cr_matmul", "cr_plan", "estimate_error", "randomized_svd"]

Matrix = list[list[Any]]


class _Costs(NamedTuple):
    """What takes time beside the multiply-adds of a product, in units of these."""

    item: float  # the norm of a column or row, an item
    gathered: float  # an item of the chosen columns and rows
    term: float  # its random number and its place in the order, chosen or not
    pilot: float  # finding out how many, apart from the overlap


# Measured on 32 to 512 terms; a multiply-add takes PyPy about 0.6 ns, and CPython 10 (with math.sumprod) or 20.
_COSTS = _Costs(3, 2, 4000, 2e7) if sys.implementation.name == "pypy" else _Costs(0.5, 3, 1000, 2e6)


class _Operands(NamedTuple):
    x: Matrix
    y: Matrix
    m: int
    terms: int
    n: int

    @classmethod
    def of(cls, x: Any, y: Any) -> _Operands:
        (m, terms), (_, n) = shape(x), shape(y)
        x, y = matrices(x, y)
        return cls(x, y, m, terms, n)

    def sampled(self, terms: list[int], factors: list[Any]) -> Matrix:
        columns = [[row[term] for term in terms] for row in self.x]
        rows = [[factor * item for item in self.y[term]] for term, factor in zip(terms, factors, strict=True)]
        return matmul(columns, rows, self.n)

    def break_even(self, *, pilot: bool = False) -> int:
        around = self.m + self.n
        fixed = (_COSTS.item * around + _COSTS.term) * self.terms
        if pilot:
            fixed += _COSTS.pilot + PILOT_DRAWS**2 / 2 * around
        product = self.m * self.n
        return estimates.break_even(self.terms, product * self.terms, fixed, product + _COSTS.gathered * around)


class _Weights(NamedTuple):
    norms: list[float]
    grid: list[int]
    finite: bool

    @classmethod
    def of(cls, operands: _Operands) -> _Weights:
        of_columns, of_rows = column_norms(operands.x, operands.terms), row_norms(operands.y)
        return cls([a * b for a, b in zip(of_columns, of_rows, strict=True)], *on_grid(of_columns, of_rows))


def cr_matmul(x: Any, y: Any, rank: int | None, rtol: float | None, sampling: str, key: int, return_info: bool) -> Any:
    operands = _Operands.of(x, y)
    w, info = _product(operands, rank, rtol, sampling, key, return_info)
    w = w or nested([], (0, operands.n))
    return (w, info) if return_info else w


def _product(
    operands: _Operands, rank: int | None, rtol: float | None, sampling: str, key: int, with_info: bool
) -> tuple[Matrix, CRInfo | None]:
    x, y, _, terms, n = operands
    if rank is None or rank < terms:
        weights = _Weights.of(operands)
        if rtol is not None:
            rank = _terms_needed(operands, weights, rtol, sampling, key)
    if rank is None or rank >= terms:
        info = CRInfo("exact", terms, array("q", range(terms)), [1.0] * terms, 0.0, 0.0, "exact")
        return matmul(x, y, n), info
    indices: list[int] = []
    factors: list[Any] = []
    if weights.finite:
        indices, factors = _drawn(operands, weights.grid, rank, sampling, key)
        w = operands.sampled(indices, factors)
    else:
        w = [[nan] * n for _ in x]
    if not with_info:
        return w, None
    if sampling in ("importance", "uniform") and rank > 1:
        return w, CRInfo(
            sampling, rank, array("q", indices), factors, *_without_bias(weights, rank, sampling, w), "unbiased"
        )
    return w, CRInfo(
        sampling, rank, array("q", indices), factors, *_probed(operands, w, estimates.N_PROBES, key), "probes"
    )


def _terms_needed(operands: _Operands, weights: _Weights, rtol: float, sampling: str, key: int) -> int:
    """All terms where sampling cannot pay."""
    most = operands.break_even(pilot=True) if weights.finite else 0
    if not most:
        return operands.terms
    needed = _prediction(operands, weights, key).terms_needed(sampling, rtol)
    return needed if needed <= most else operands.terms


def _prediction(operands: _Operands, weights: _Weights, key: int) -> Prediction:
    draws = pilot(weights.grid, key)
    distinct = sorted(set(draws))
    c, r = directions([[row[i] for row in operands.x] for i in distinct]), directions([operands.y[i] for i in distinct])
    places = [distinct.index(i) for i in draws]
    cosines = [[overlap.real if weights.finite else nan for overlap in row] for row in overlaps(c, r)]
    return Prediction(weights.grid, draws, [[cosines[a][b] for b in places] for a in places])


def _drawn(operands: _Operands, grid: list[int], rank: int, sampling: str, key: int) -> tuple[list[int], list[Any]]:
    factors = draw(grid, rank, sampling, key)
    indices = [term for term, factor in enumerate(factors) if factor]
    if sampling != "topk_reweighted":
        return indices, [factors[term] for term in indices]
    x, y = operands.x, operands.y
    return indices, best_factors(x, y, [[row[term] for row in x] for term in indices], [y[term] for term in indices])


def _without_bias(weights: _Weights, rank: int, sampling: str, w: Matrix) -> tuple[float, float]:
    # relative to the largest weight, since the squares might over- or underflow
    unit = max(weights.norms) or 1.0
    squares = [(weight / unit) ** 2 for weight in weights.norms]
    if sampling == "uniform":
        moment = len(squares) * sum(squares)
    else:
        pairs = zip(squares, weights.grid, strict=True)
        moment = sum([square / steps for square, steps in pairs if steps]) * sum(weights.grid)
    error, relative = estimates.without_bias(rank, moment, norm(row_norms(w)) / unit)
    return error * unit, relative


def _probed(operands: _Operands, w: Matrix, probes: int, key: int) -> tuple[float, float]:
    vectors = normal_columns(operands.n, probes, key, PROBES)
    products = inner(inner(vectors, operands.y), operands.x)
    differences = [
        [a - b for a, b in zip(*images, strict=True)] for images in zip(inner(vectors, w), products, strict=True)
    ]
    difference, product = norm(row_norms(differences)), norm(row_norms(products))
    unit = max(difference, product) or 1.0
    error, relative = estimates.from_probes((difference / unit) ** 2, (product / unit) ** 2, probes)
    return error * unit, relative


def cr_plan(x: Any, y: Any) -> CRPlan:
    operands = _Operands.of(x, y)
    if not operands.terms:
        return NO_TERMS
    return plan(_prediction(operands, _Weights.of(operands), 0), operands.break_even())


def estimate_error(x: Any, y: Any, w: Any, probes: int, key: int) -> float:
    (w,) = matrices(w)
    return _probed(_Operands.of(x, y), w, probes, key)[0]


def randomized_svd(a: Any, rank: int, oversample: int, iterations: int, key: int) -> SVD:
    (m, n), (rows,) = shape(a), matrices(a)
    size = min(rank, m, n)
    start = normal_columns(n, min(rank + oversample, m, n), key, TEST_MATRIX)
    u, s, vh = largest_singular(rows, n, start, size, iterations)
    # a buffer, so that the singular values of a complex matrix come back as real numbers
    return SVD(
        nested(list(chain.from_iterable(transposed(u, m))), (m, size)),
        array("d", s),
        nested(list(chain.from_iterable(vh)), (size, n)),
    )
