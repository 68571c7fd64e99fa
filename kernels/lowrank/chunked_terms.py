"""The terms of a product of arrays in chunks: their norms, the draw, and the product of those that are drawn.

What tells one step from the next is a vector of one item a term, in one chunk: norms, or factors, which are 0 for terms
that are not drawn. Each block gets its own part of that, so that x and y may be cut along l as they like: of each, only
the drawn columns or rows travel, ascending, and both in the same order. How many a block has is known to its task
alone; meanwhile chunks are said to be as large as what they were chosen from.

Of y, whatever is not the product itself looks at the transpose, whose columns are what the columns of x are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize

from kernels.chunk_tasks import single_threaded
from kernels.dask_arrays import blocks, chunk_bytes, layers_on, meta, resized, tree
from kernels.lowrank import numpy_terms
from kernels.lowrank.chunked_passes import after
from kernels.lowrank.chunked_products import adjoint_times, merged_norms, times
from kernels.lowrank.numpy_random import random
from kernels.lowrank.reweighting import minimum_norm_solution
from kernels.lowrank.sampling import draw, on_grid

__all__ = ["Terms", "best_factors", "cosines", "drawn", "product", "terms_of"]


class Terms(NamedTuple):
    """A product and the norms of its columns of x and rows of y, with the dense backend that tasks call."""

    x: da.Array
    y: da.Array
    of_columns: da.Array
    of_rows: da.Array
    backend: str


def terms_of(x: da.Array, y: da.Array, backend: str) -> Terms:
    return Terms(x, y, _norms(x, backend), _norms(y.T, backend), backend)


def _norms(x: da.Array, backend: str) -> da.Array:
    sizes = ((1,) * x.numblocks[0], x.chunks[1])
    parts = da.map_blocks(_column_norms, x, backend, chunks=sizes, meta=np.empty((0, 0)))
    return tree(parts, merged_norms, 0, keepdims=False).rechunk(-1)


def _column_norms(x: np.ndarray, backend: str) -> np.ndarray:
    with single_threaded(backend):
        return _dense(backend).column_norms(x)[None]


def _dense(backend: str) -> Any:
    if backend == "numba":
        from kernels.lowrank import fused_terms

        return fused_terms
    return numpy_terms


def drawn(terms: Terms, rank: int, sampling: str, key: int) -> da.Array:
    """The factors of all terms. One that is NaN makes all of the product so."""
    return da.map_blocks(_drawn, terms.of_columns, terms.of_rows, rank, sampling, key, meta=np.empty(0))


@np.errstate(all="ignore")
def _drawn(of_columns: np.ndarray, of_rows: np.ndarray, rank: int, sampling: str, key: int) -> np.ndarray:
    grid, finite = on_grid(np, of_columns, of_rows)
    if finite:
        return draw(np, grid, rank, sampling, random(key))
    factors = np.zeros(len(grid))
    factors[0] = np.nan
    return factors


def product(terms: Terms, factors: da.Array, rank: int) -> da.Array:
    """The sum of the terms times their factors, of which `rank` at most are not 0.

    Where so many columns would outgrow a chunk they are put together in groups, by where they come from.
    """
    x, y = (after(factors, array) for array in (terms.x, terms.y))
    bounds = _bounds(x, y, rank)
    c = _together(_chosen(_columns, x, "ik", factors, terms.backend), 1, bounds)
    r = _together(_chosen(_rows, _cut(y, bounds), "kj", factors, terms.backend), 0, bounds)
    return times(c, r, terms.backend)


def _bounds(x: da.Array, y: da.Array, rank: int) -> list[int]:
    """Ends of the groups along l: such of x's chunks."""
    size = rank * max(*x.chunks[0], *y.chunks[1]) * x.itemsize
    ends = np.cumsum(x.chunks[1])
    wanted = np.linspace(0, ends[-1], max(1, -(-size // chunk_bytes())) + 1)[1:]
    return np.unique(ends[np.searchsorted(ends, wanted)]).tolist()


def _cut(y: da.Array, bounds: list[int]) -> da.Array:
    """`y` with chunks divided where a group ends."""
    sizes = tuple(np.diff(bounds, prepend=0).tolist())
    return y.rechunk({0: _common(y.chunks[0], sizes)}) if len(bounds) > 1 else y


def _chosen(task: Any, array: da.Array, axes: str, factors: da.Array, backend: str) -> da.Array:
    own = factors.rechunk((array.chunks[axes.index("k")],))
    return blocks(task, axes, array, axes, own, "k", backend=backend)


@np.errstate(all="ignore")
def _columns(x: np.ndarray, factors: np.ndarray, backend: str) -> np.ndarray:
    indices = np.flatnonzero(factors)
    with single_threaded(backend):
        return _dense(backend).columns(x, indices, factors[indices])


def _rows(y: np.ndarray, factors: np.ndarray, backend: str) -> np.ndarray:
    with single_threaded(backend):
        return _dense(backend).rows(y, np.flatnonzero(factors))


def _together(parts: da.Array, axis: int, bounds: list[int]) -> da.Array:
    """The chosen columns or rows from each group of neighbouring chunks along `axis`."""
    starts = np.cumsum((0, *parts.chunks[axis][:-1]))
    groups = np.searchsorted(bounds[:-1], starts, side="right").tolist()
    name = f"terms-{tokenize(parts.name, axis, bounds)}"
    neighbours: dict[Any, list[Any]] = {}
    for index in np.ndindex(parts.numblocks):
        place = (*index[:axis], groups[index[axis]], *index[axis + 1 :])
        neighbours.setdefault((name, *place), []).append((parts.name, *index))
    graph = {key: (_concatenated, keys, axis) for key, keys in neighbours.items()}
    chunks = list(parts.chunks)
    chunks[axis] = tuple(np.diff(bounds, prepend=0).tolist())
    return da.Array(layers_on(name, graph, parts), name, tuple(chunks), meta=meta(parts))


def _concatenated(parts: list[np.ndarray], axis: int) -> np.ndarray:
    return np.concatenate(parts, axis) if len(parts) > 1 else parts[0]


def cosines(terms: Terms, chosen: np.ndarray) -> da.Array:
    """Between some terms, which the indices are of, ascending, and whose weights are finite and not 0."""
    factors = da.from_array(np.bincount(chosen, minlength=len(terms.y)), chunks=-1)
    overlaps = _overlaps(*_directions(terms, factors), terms.backend)
    return da.map_blocks(_real, overlaps, meta=np.empty((0, 0)))


def _real(overlaps: np.ndarray) -> np.ndarray:
    return overlaps.real.astype(float)


def _directions(terms: Terms, factors: da.Array) -> tuple[da.Array, da.Array]:
    """The columns of x, and those of y transposed, with factors other than 0, divided by their norms."""
    x, y = (after(factors, array) for array in (terms.x, terms.y.T))
    return _divided(x, terms.of_columns, factors, terms.backend), _divided(y, terms.of_rows, factors, terms.backend)


def _divided(x: da.Array, norms: da.Array, factors: da.Array, backend: str) -> da.Array:
    of_drawn = da.map_blocks(_of_drawn, norms, factors, meta=np.empty(0))
    return _together(_chosen(_unit_columns, x, "ik", of_drawn, backend), 1, [x.shape[1]])


def _of_drawn(norms: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return np.where(factors != 0, norms, 0)


@np.errstate(all="ignore")
def _unit_columns(x: np.ndarray, norms: np.ndarray, backend: str) -> np.ndarray:
    """Divided in float64, where norms do not overflow; their inverses do, where columns are subnormal."""
    indices = np.flatnonzero(norms)
    with single_threaded(backend):
        columns = _dense(backend).columns(x, indices, None)
    return np.divide(columns, norms[indices], out=columns, casting="same_kind")


def _overlaps(c: da.Array, r: da.Array, backend: str) -> da.Array:
    """Inner products of terms, from their columns of x, and of y transposed."""
    return da.map_blocks(np.multiply, adjoint_times(c, c, backend), adjoint_times(r, r, backend), meta=meta(c))


def best_factors(terms: Terms, factors: da.Array, rank: int) -> da.Array:
    """Those that make the drawn terms come nearest to the product: the solution of their normal equations.

    The right sides are the diagonal of ``c.conj().T @ x @ y @ r.conj()`` for the columns c and r. The products from the
    left and from the right are summed over blocks of rows of x, and of columns of y, for a part of l at a time.
    """
    c, r = _directions(terms, factors)
    gram = _overlaps(c, r, terms.backend)
    sizes = resized(_common(terms.x.chunks[1], terms.y.chunks[0]), most=chunk_bytes() // (rank * terms.x.itemsize))
    x, y = (after(gram, array).rechunk({1: sizes}) for array in (terms.x, terms.y.T))
    left, right = adjoint_times(c, x, terms.backend), adjoint_times(r, y, terms.backend)
    parts = blocks(_row_products, "ks", left, "sk", right, "sk", adjust_chunks={"k": lambda size: 1})
    sides = tree(parts, _sum, 0, keepdims=False)
    norms = terms.of_columns, "k", terms.of_rows, "k"
    return blocks(_solution, "k", gram, "ab", sides, "a", *norms, factors, "k")


def _common(*chunks: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of chunks that end wherever one of these does."""
    ends = np.unique(np.concatenate([np.cumsum(sizes) for sizes in chunks]))
    return tuple(np.diff(ends, prepend=0).tolist())


@np.errstate(all="ignore")
def _row_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("sk,sk->s", left, right, dtype=np.result_type(left, np.float64))[None]


def _sum(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    return parts.sum(axis=axis, keepdims=keepdims)


def _solution(
    gram: np.ndarray, sides: np.ndarray, of_columns: np.ndarray, of_rows: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    drawn = np.flatnonzero(factors)
    if not np.isfinite(factors).all():
        return factors
    result = np.zeros(len(factors), sides.dtype)
    result[drawn] = minimum_norm_solution(gram, sides) / of_columns[drawn] / of_rows[drawn]
    return result
