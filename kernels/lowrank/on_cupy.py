"""Sampled products on a GPU: norms in one pass, the drawn columns and rows gathered by a kernel, one product by cuBLAS.

Nothing that `cr_matmul` does for a rank waits for the device or copies to the host: there are always `rank` slots for
the terms, and those that stay empty have the factor 0. (CuPy's own sort does not wait in 14.2, but did in 13; cuSOLVER
may, which `topk_reweighted` and `randomized_svd` need.) Values come to the host where the result is told in numbers:
for `rtol`, a plan, or how far off a product is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy
import numpy as np

from kernels.cuda_sources import RESIDENT, THREADS, Sources, clamp, multiprocessors, power_of_two
from kernels.lowrank import SVD, CRInfo, CRPlan, estimates, subspace
from kernels.lowrank.overlap import cosines
from kernels.lowrank.prediction import NO_TERMS, Prediction, plan
from kernels.lowrank.reweighting import best_factors
from kernels.lowrank.sampling import PROBES, TEST_MATRIX, Random, draw, mean_square, on_grid, pilot

__all__ = ["cr_matmul", "cr_plan", "estimate_error", "randomized_svd"]

WARP = 32
WORTH_A_SLICE = 32  # numbers that each thread of a team should have
SCRATCH = 1 << 26  # bytes of what is stored beside arguments and results

# What else takes time, in multiply-adds of the exact product in single precision, by the data sheet of an A100 (1e13 in
# a second, 1.3e12 bytes) and 5 µs for each of the 100 kernels that a call launches. Not measured yet.
ITEM = 30  # the norm of a column or row, an item
GATHERED = 100  # an item of the chosen columns and rows
CALL = 5e9  # drawing the terms
PILOT = 5e10  # finding out how many, on the host

_u32 = np.uint32
_SOURCES = Sources(__file__)


class _Weights(NamedTuple):
    of_columns: cupy.ndarray
    of_rows: cupy.ndarray
    grid: cupy.ndarray
    finite: cupy.ndarray

    def unless_finite(self) -> cupy.ndarray:
        """What makes NaN of all that it is added to where a weight is not finite."""
        return cupy.where(self.finite, 0.0, cupy.nan)


class _Sample(NamedTuple):
    product: cupy.ndarray
    indices: cupy.ndarray  # and factors: a slot each
    factors: cupy.ndarray
    count: cupy.ndarray  # of the slots that are not empty


def cr_matmul(
    x: cupy.ndarray, y: cupy.ndarray, rank: int | None, rtol: float | None, sampling: str, key: int, return_info: bool
) -> Any:
    terms = len(y)
    if rank is not None and rank >= terms:
        return _exact(x, y, return_info)
    x, y = _in_order(x), _in_order(y)
    weights = _weights(x, y)
    if rtol is not None:
        rank = _terms_needed(x, y, weights, rtol, sampling, key)
    assert rank is not None, "the contract gives one of the two"
    if rank >= terms:
        return _exact(x, y, return_info)
    sample = _sample(x, y, weights, rank, sampling, key)
    return (sample.product, _info(x, y, weights, sample, rank, sampling, key)) if return_info else sample.product


def _exact(x: cupy.ndarray, y: cupy.ndarray, return_info: bool) -> Any:
    w, terms = cupy.matmul(x, y), len(y)
    if not return_info:
        return w
    return w, CRInfo("exact", terms, cupy.arange(terms), cupy.ones(terms), 0.0, 0.0, "exact")


def _weights(x: cupy.ndarray, y: cupy.ndarray) -> _Weights:
    of_columns, of_rows = _norms(x.T), _norms(y)
    return _Weights(of_columns, of_rows, *on_grid(cupy, of_columns, of_rows))


def _norms(a: cupy.ndarray) -> cupy.ndarray:
    """Frobenius norms along the first axis, in float64."""
    numbers, before, after = _layout(a)
    terms, norms = len(a), cupy.empty(len(a))
    if not terms:
        return norms
    cells = 1 if before == 1 else after
    columns = terms * cells
    if before == 1:
        length, to_next_column, to_next_number, team = after, after, 1, min(WARP, power_of_two(after))
    else:
        length, to_next_column, to_next_number, team = before, 1, columns, 1
    threads = min(THREADS, max(WARP, power_of_two(columns * team)))
    blocks = -(-columns * team // threads)
    slices = clamp(RESIDENT * multiprocessors() // blocks, length // (team * WORTH_A_SLICE))
    parts = cupy.empty((slices, columns, 3))
    geometry = columns, length, to_next_column, to_next_number, _u32(team)
    _SOURCES.kernel("terms.cu", "sum_squares", a)((blocks, slices), (threads,), (numbers, parts, *geometry))
    grid = (-(-terms * WARP // THREADS),)
    _SOURCES.kernel("terms.cu", "norms", a)(grid, (THREADS,), (parts, norms, terms, _u32(cells), _u32(slices)))
    return norms


def _layout(a: cupy.ndarray) -> tuple[cupy.ndarray, int, int]:
    """The numbers of a matrix as they lie in memory: so many before each row, all rows, so many numbers of each.

    A complex item is two of them.
    """
    a = _in_order(a)
    real = np.finfo(a.dtype).dtype
    cells = a.itemsize // real.itemsize
    if a.flags.c_contiguous:
        return a.view(real), 1, a.shape[1] * cells
    return a.T.view(real), a.shape[1], cells


def _in_order(a: cupy.ndarray) -> cupy.ndarray:
    """The matrix itself where rows or columns follow one another in memory, else a copy."""
    return a if a.flags.f_contiguous else cupy.ascontiguousarray(a)


def _sample(x: cupy.ndarray, y: cupy.ndarray, weights: _Weights, rank: int, sampling: str, key: int) -> _Sample:
    drawn = draw(cupy, weights.grid, rank, sampling, _random(key))
    places = cupy.cumsum(drawn != 0, dtype=np.int64)
    indices, factors = cupy.zeros(rank, np.int64), cupy.zeros(rank)
    _SOURCES.launch("terms.cu", "fill_slots", x, len(drawn), drawn, places, indices, factors, len(drawn))
    if sampling == "topk_reweighted":
        factors = _best_factors(x, y, weights, indices, factors)
    factors = factors + weights.unless_finite()
    if factors.dtype.kind == "c":
        columns = _columns(x, indices) * factors.astype(x.dtype)
    else:
        columns = _columns(x, indices, factors)
    return _Sample(cupy.matmul(columns, _rows(y, indices)), indices, factors, places[-1])


def _best_factors(
    x: cupy.ndarray, y: cupy.ndarray, weights: _Weights, indices: cupy.ndarray, factors: cupy.ndarray
) -> cupy.ndarray:
    """Those that the terms in the slots are best multiplied by; empty slots, which are columns of zeros, keep 0."""
    used = weights.finite & (factors != 0)
    of_columns, of_rows = (cupy.where(used, norms[indices], 1.0) for norms in (weights.of_columns, weights.of_rows))
    columns, rows = (chosen(a, indices, used.astype(float)) for chosen, a in ((_columns, x), (_rows, y)))
    columns /= of_columns
    rows /= of_rows[:, None]
    return best_factors(x, y, columns, rows, cupy, SCRATCH // x.itemsize) / of_columns / of_rows


def _columns(x: cupy.ndarray, indices: cupy.ndarray, factors: cupy.ndarray | None = None) -> cupy.ndarray:
    return _rows(x.T, indices, factors).T


def _rows(y: cupy.ndarray, indices: cupy.ndarray, factors: cupy.ndarray | None = None) -> cupy.ndarray:
    """``y[indices] * factors[:, None]``, in the order of y."""
    numbers, before, after = _layout(y)
    slots = len(indices)
    factors = cupy.ones(slots) if factors is None else factors
    chosen = cupy.empty((slots, y.shape[1]) if before == 1 else (before, slots), y.dtype)
    blocks = -(-slots * after // THREADS)
    if blocks:
        grid = blocks, clamp(RESIDENT * multiprocessors() // blocks, before)
        arguments = numbers, indices, factors, chosen.view(numbers.dtype), before, len(y), slots, after
        _SOURCES.kernel("terms.cu", "take", y)(grid, (THREADS,), arguments)
    return chosen if before == 1 else chosen.T


def _info(
    x: cupy.ndarray, y: cupy.ndarray, weights: _Weights, sample: _Sample, rank: int, sampling: str, key: int
) -> CRInfo:
    count = int(cupy.where(weights.finite, sample.count, 0))
    indices, factors = sample.indices[:count], sample.factors[:count]
    kind = estimates.kind_of_error(sampling, rank)
    if kind == "unbiased":
        errors = _without_bias(weights, rank, sampling, sample.product)
    else:
        errors = estimates.from_probes(*_probed(x, y, sample.product, estimates.N_PROBES, key), estimates.N_PROBES)
    return CRInfo(sampling, rank, indices, factors, *errors, kind)


def _without_bias(weights: _Weights, rank: int, sampling: str, w: cupy.ndarray) -> tuple[float, float]:
    moment = mean_square(cupy, weights.of_columns * weights.of_rows, weights.grid, sampling)
    return estimates.without_bias(rank, float(moment), float(_norms(w.reshape(1, -1))[0]))


def _terms_needed(x: cupy.ndarray, y: cupy.ndarray, weights: _Weights, rtol: float, sampling: str, key: int) -> int:
    """All terms where sampling cannot pay."""
    most = _break_even(x, y, CALL + PILOT)
    if not most or not weights.finite:
        return len(y)
    needed = _prediction(x, y, weights, key).terms_needed(sampling, rtol)
    return needed if needed <= most else len(y)


def _break_even(x: cupy.ndarray, y: cupy.ndarray, fixed: float) -> int:
    (m, terms), n = x.shape, y.shape[1]
    per_term = m * n + GATHERED * (m + n)
    return estimates.break_even(terms, m * n * terms, fixed + ITEM * (m + n) * terms, per_term)


def _prediction(x: cupy.ndarray, y: cupy.ndarray, weights: _Weights, key: int) -> Prediction:
    draws = pilot(cupy, weights.grid, _random(key))
    overlap = cosines(_columns(x, draws), _rows(y, draws), cupy) + weights.unless_finite()
    return Prediction(*map(cupy.asnumpy, (weights.grid, draws, overlap)))


def cr_plan(x: cupy.ndarray, y: cupy.ndarray) -> CRPlan:
    if not len(y):
        return NO_TERMS
    x, y = _in_order(x), _in_order(y)
    return plan(_prediction(x, y, _weights(x, y), 0), _break_even(x, y, CALL))


def estimate_error(x: cupy.ndarray, y: cupy.ndarray, w: cupy.ndarray, probes: int, key: int) -> float:
    return estimates.from_probes(*_probed(x, y, w, probes, key), probes)[0]


def _probed(x: cupy.ndarray, y: cupy.ndarray, w: cupy.ndarray, probes: int, key: int) -> tuple[float, float]:
    """The sums of squares of what the probes make of ``w - x @ y`` and of ``x @ y``."""
    probe = _normal_matrix(y.shape[1], probes, key, PROBES).astype(x.dtype)
    product = cupy.matmul(x, cupy.matmul(y, probe))
    difference = cupy.matmul(w, probe) - product
    squares = cupy.stack([(_norms(image) ** 2).sum() for image in (difference, product)])
    return tuple(squares.tolist())


def randomized_svd(a: cupy.ndarray, rank: int, oversample: int, iterations: int, key: int) -> SVD:
    columns = min(rank + oversample, *a.shape)
    start = _normal_matrix(a.shape[1], columns, key, TEST_MATRIX).astype(a.dtype)
    return subspace.largest_singular(cupy, *subspace.products_with(a), start, min(rank, columns), iterations)


def _normal_matrix(rows: int, columns: int, key: int, use: int) -> cupy.ndarray:
    """The numbers of `normals.normal_matrix`."""
    result, pairs = cupy.empty((rows, columns)), -(-columns // 2)
    arguments = result, rows, columns, pairs, _u32(use), np.uint64(key)
    _SOURCES.launch("random.cu", "normals", result, rows * pairs, *arguments)
    return result


def _random(key: int) -> Random:
    def words(count: int, use: int) -> tuple[cupy.ndarray, ...]:
        result = cupy.empty((4, count), np.int64)
        _SOURCES.launch("random.cu", "words", result, count, result, count, _u32(use), np.uint64(key))
        return tuple(result)

    def counts(drawn: cupy.ndarray, length: int) -> cupy.ndarray:
        result = cupy.zeros(length, np.uint64)
        _SOURCES.launch("random.cu", "count", result, drawn.size, drawn, result, drawn.size)
        return result.view(np.int64)

    return Random(words, counts)
