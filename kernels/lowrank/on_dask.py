"""Sampled products on Dask: norms by blocks, one small draw, and of each block the chosen columns or rows alone.

No array has to fit into a worker's memory, nor is one rechunked along l: see `chunked_terms`. As all norms have to be
known before anything is drawn, and a basis before the next product, blocks are read anew then: see `chunked_passes`.
An array that takes long to compute, and fits into memory, had better be persisted first.

What depends on values is computed at once: with `rtol` the norms and the overlap of some terms, with `return_info` the
norms, the draw and the error. The product itself stays lazy, but for one that its error is told from and that is no
larger than a chunk: it is kept.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np

from kernels import lowrank
from kernels.dask_arrays import chunk_bytes, resized, without_empty_chunks
from kernels.dispatch import default_backend
from kernels.lowrank import SVD, CRInfo, CRPlan, chunked_svd, estimates
from kernels.lowrank.chunked_passes import after
from kernels.lowrank.chunked_products import frobenius_norm, normals, times
from kernels.lowrank.chunked_terms import Terms, best_factors, cosines, drawn, product, terms_of
from kernels.lowrank.numpy_random import random
from kernels.lowrank.numpy_weights import exact_info, weights_of
from kernels.lowrank.prediction import NO_TERMS, Prediction, plan
from kernels.lowrank.sampling import PROBES, pilot


class _Costs(NamedTuple):
    """What else takes time, in multiply-adds of the exact product."""

    item: float  # of x and y: its norm, and to choose from it
    gathered: float  # an item of the chosen columns and rows
    chunk: float  # of x and y: the tasks that it takes more than the exact product, on Dask's own threads
    call: float


_COSTS = _Costs(item=60, gathered=500, chunk=5e7, call=1e9)  # multiply-adds of 1/150 ns on two threads, float32


def cr_matmul(
    x: da.Array, y: da.Array, rank: int | None, rtol: float | None, sampling: str, key: int, return_info: bool
) -> Any:
    x, y = _cut_for_product(without_empty_chunks(x), without_empty_chunks(y))
    if rank is not None and rank >= len(y):
        return _exact(x, y, return_info)
    terms = terms_of(x, y, default_backend(lowrank.cr_matmul, x, y))
    if rtol is not None or return_info:
        terms = _with_norms_known(terms)
    if rtol is not None:
        rank = _terms_needed(terms, rtol, sampling, key)
    assert rank is not None, "the contract gives one of the two"
    if rank >= len(y):
        return _exact(x, y, return_info)
    factors = drawn(terms, rank, sampling, key)
    if sampling == "topk_reweighted":
        factors = best_factors(terms, factors, rank)
    return _with_info(terms, factors.persist(), rank, sampling, key) if return_info else product(terms, factors, rank)


def cr_plan(x: da.Array, y: da.Array) -> CRPlan:
    if not len(y):
        return NO_TERMS
    x, y = without_empty_chunks(x), without_empty_chunks(y)
    terms = _with_norms_known(terms_of(x, y, default_backend(lowrank.cr_plan, x, y)))
    return plan(_prediction(terms, *_grid(terms), 0), _break_even(x, y))


def estimate_error(x: da.Array, y: da.Array, w: da.Array, probes: int, key: int) -> float:
    backend = default_backend(lowrank.estimate_error, x, y, w)
    x, y, w = (without_empty_chunks(array) for array in (x, y, w))
    probe = normals(y.chunks[1], probes, key, PROBES, y.dtype)
    image = times(y, probe, backend)
    total = times(after(image, x), image, backend)
    return _from_probes(times(w, probe, backend) - total, total)[0]


def randomized_svd(a: da.Array, rank: int, oversample: int, iterations: int, key: int) -> SVD:
    columns = min(rank + oversample, *a.shape)
    if columns:
        a = without_empty_chunks(a)
        backend = default_backend(lowrank.randomized_svd, a, rank)
        return chunked_svd.largest_singular(a, min(rank, columns), columns, iterations, key, backend)
    u, s, vh = (da.zeros(shape, dtype=a.dtype) for shape in ((len(a), 0), 0, (0, a.shape[1])))
    return SVD(u, s.real, vh)


def _cut_for_product(x: da.Array, y: da.Array) -> tuple[da.Array, da.Array]:
    """Rows of x and columns of y divided where a block of the product would outgrow a chunk."""
    most = max(chunk_bytes() // x.itemsize, 1)
    rows, columns = (max(sizes) for sizes in (x.chunks[0], y.chunks[1]))
    if rows * columns <= most:
        return x, y
    side = math.isqrt(most)
    x = x.rechunk({0: resized(x.chunks[0], most=max(side, most // columns))})
    return x, y.rechunk({1: resized(y.chunks[1], most=max(side, most // rows))})


def _exact(x: da.Array, y: da.Array, return_info: bool) -> Any:
    w = da.matmul(x, y)
    return (w, exact_info(len(y))) if return_info else w


def _with_norms_known(terms: Terms) -> Terms:
    of_columns, of_rows = dask.persist(terms.of_columns, terms.of_rows)
    return terms._replace(of_columns=of_columns, of_rows=of_rows)


def _grid(terms: Terms) -> tuple[np.ndarray, bool]:
    weights = weights_of(*dask.compute(terms.of_columns, terms.of_rows))
    return weights.grid, weights.finite


def _terms_needed(terms: Terms, rtol: float, sampling: str, key: int) -> int:
    """All terms where sampling cannot pay."""
    grid, finite = _grid(terms)
    most = _break_even(terms.x, terms.y, readings=2) if finite else 0
    if not most:
        return len(grid)
    needed = _prediction(terms, grid, finite, key).terms_needed(sampling, rtol)
    return needed if needed <= most else len(grid)


def _break_even(x: da.Array, y: da.Array, readings: int = 1) -> int:
    """`readings` of the arrays before the one that is for the product itself."""
    (m, length), n = x.shape, y.shape[1]
    tasks = _COSTS.chunk * (x.npartitions + y.npartitions) + _COSTS.call
    fixed = readings * (_COSTS.item * (m + n) * length + tasks)
    return estimates.break_even(length, m * n * length, fixed, m * n + _COSTS.gathered * (m + n))


def _prediction(terms: Terms, grid: np.ndarray, finite: bool, key: int) -> Prediction:
    draws = pilot(np, grid, random(key))
    if not finite or not grid.any():
        return Prediction(grid, draws, np.full((len(draws),) * 2, 0.0 if finite else np.nan))
    different, places = np.unique(draws, return_inverse=True)
    return Prediction(grid, draws, cosines(terms, different).compute()[np.ix_(places, places)])


def _with_info(terms: Terms, factors: da.Array, rank: int, sampling: str, key: int) -> tuple[da.Array, CRInfo]:
    w = product(terms, factors, rank)
    weights = factors.compute()
    kind = estimates.kind_of_error(sampling, rank)
    if np.isnan(weights).any():
        return w, CRInfo(sampling, rank, np.zeros(0, np.int64), np.zeros(0), math.nan, math.nan, kind)
    if kind == "unbiased":
        if w.nbytes <= chunk_bytes():
            w = w.persist()
        errors = estimates.without_bias(rank, _moment(terms, sampling), float(frobenius_norm(w)))
    else:
        errors = _probed(terms, factors, key)
    indices = np.flatnonzero(weights)
    return w, CRInfo(sampling, rank, indices, weights[indices], *errors, kind)


def _moment(terms: Terms, sampling: str) -> float:
    return weights_of(*dask.compute(terms.of_columns, terms.of_rows)).moment(sampling)


def _probed(terms: Terms, factors: da.Array, key: int) -> tuple[float, float]:
    """Each term of ``w - x @ y`` is one of ``x @ y``, times its factor less 1: the product itself is not asked for."""
    x, y, backend = terms.x, terms.y, terms.backend
    image = times(y, normals(y.chunks[1], estimates.N_PROBES, key, PROBES, y.dtype), backend)
    both = da.concatenate([image * (factors[:, None] - 1), image], axis=1).astype(x.dtype)
    products = times(after(image, x), both.rechunk({1: -1}), backend)
    return _from_probes(products[:, : estimates.N_PROBES], products[:, estimates.N_PROBES :])


@np.errstate(all="ignore")
def _from_probes(difference: da.Array, total: da.Array) -> tuple[float, float]:
    error, norm = dask.compute(frobenius_norm(difference), frobenius_norm(total))
    return estimates.from_probes(float(error * error), float(norm * norm), total.shape[1])
