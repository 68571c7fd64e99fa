"""Independence of two samples from tiles of pairs of rows, on and above the diagonal, in a few passes over all pairs.

With r and s the row sums of the kernel matrices K and L, and a bar for their means,
    trace(K H L H) = sum(K * L) - mean(r) mean(s) - 2/n sum((r - mean(r)) (s - mean(s))).
A median is selected as in `median`: every tile gives some of its distances to a sample, and in another pass, that
counts all of them, those which lie close to the median of the sample. Of N pairs, some N^(2/3) are held at once.

The samples, in double precision, are kept in the memory of the workers, which they must fit into together, since each
block of rows meets all the others; beyond that a task takes what the dense backend does with two blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations_with_replacement
from types import ModuleType
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from kernels import ndarray
from kernels.chunk_tasks import on_one_thread, single_threaded
from kernels.dask_arrays import chunk_bytes, whole
from kernels.dispatch import default_backend
from kernels.ndarray.median import middle, sample_size
from kernels.registry import BUILT_IN

__all__ = ["independence"]

LEAST = 4000  # rows whose pairs are worth more than one task
FAN_IN = 8

Around = tuple[int, int, np.ndarray, int]
Sums = tuple[float, dict[int, np.ndarray]]


def independence(x: da.Array, y: da.Array, sigma_x: float | None, sigma_y: float | None) -> float:
    backend = default_backend(ndarray.hsic, x, y)
    x, y = _blocks_of_rows(x, y)
    if x.npartitions == 1:
        name = f"hsic-{tokenize(x, y, sigma_x, sigma_y)}"
        blocks = [(rows.name, 0, 0) for rows in (x, y)]
        return _compute({(name, 0): (_at_once, *blocks, sigma_x, sigma_y, backend)}, (name, 0), [x, y])
    if not all(dask.compute(*(da.isfinite(rows).all() for rows in (x, y)))):
        return math.nan
    n = len(x)
    sigmas = [_median(rows, backend) if sigma is None else sigma for rows, sigma in ((x, sigma_x), (y, sigma_y))]
    product, by_block = _over_tiles(_sums, _added, [x, y], *sigmas, backend)
    r, s = np.concatenate([by_block[i] for i in sorted(by_block)], axis=1)
    between = np.dot(r - r.mean(), s - s.mean())
    return float((product - r.mean() * s.mean() - 2 / n * between) / (n - 1) ** 2)


def _at_once(x: np.ndarray, y: np.ndarray, sigma_x: float | None, sigma_y: float | None, backend: str) -> float:
    return on_one_thread(backend, ndarray.hsic, x, y, sigma_x=sigma_x, sigma_y=sigma_y)


def _blocks_of_rows(x: da.Array, y: da.Array) -> list[da.Array]:
    """All features of the same rows: so few that a tile, were it stored, would be a chunk, and threads have tiles."""
    samples = [whole(array[:, None] if array.ndim == 1 else array, 1) for array in (x, y)]
    size = max(1, *(array.shape[1] for array in samples)) * 8
    threads = BUILT_IN["dask"].threads() or 1
    most = min(math.isqrt(chunk_bytes() // 8), chunk_bytes() // size, max(LEAST, len(x) // math.isqrt(8 * threads)))
    rows = -(-len(x) // -(-len(x) // max(most, 1)))
    return list(dask.persist(*(array.rechunk((rows, -1)).astype(float) for array in samples)))


def _median(rows: da.Array, backend: str) -> float:
    """The median of the distances of any two rows."""
    pairs = len(rows) * (len(rows) - 1) // 2
    size = sample_size(pairs)
    sample = _over_tiles(_sampled, np.concatenate, [rows], size / pairs) if size else np.empty(0)
    squares = middle(
        pairs, np.sort(sample), lambda low, high: _over_tiles(_around, _joined, [rows], low, high, backend)
    )
    return float(np.mean(np.sqrt(squares)))


def _over_tiles(task: Callable[..., Any], merge: Callable[..., Any], samples: list[da.Array], *arguments: Any) -> Any:
    """`task` of each two blocks of rows of the samples, merged in a tree."""
    name = f"{task.__name__}-{tokenize(samples, arguments)}"
    graph: dict[Any, Any] = {}
    for tile in combinations_with_replacement(range(samples[0].numblocks[0]), 2):
        blocks = [[(rows.name, i, 0) for i in dict.fromkeys(tile)] for rows in samples]
        graph[name, 0, len(graph)] = (task, [*tile], *blocks, *arguments)
    keys, level = list(graph), 0
    while len(keys) > 1 or not level:
        level += 1
        groups = [keys[first : first + FAN_IN] for first in range(0, len(keys), FAN_IN)]
        keys = [(name, level, place) for place in range(len(groups))]
        graph |= {key: (merge, group) for key, group in zip(keys, groups, strict=True)}
    return _compute(graph, keys[0], samples)


def _compute(graph: dict[Any, Any], key: Any, samples: list[Any]) -> Any:
    graph["result-" + tokenize(key)] = key
    layers = HighLevelGraph.from_collections(str(key[0]), graph, samples)
    return Delayed("result-" + tokenize(key), layers, layer=str(key[0])).compute()


def _sampled(tile: list[int], blocks: list[np.ndarray], share: float) -> np.ndarray:
    """Squared distances of random pairs of the tile, which are such a share of all."""
    rows, split = _together(blocks)
    n = len(rows)
    size = math.ceil(share * (split * (n - split) if split else n * (n - 1) // 2))
    rng = np.random.default_rng(tile)
    one = rng.integers(0, split or n, size)
    other = rng.integers(split, n, size) if split else (one + rng.integers(1, max(n, 2), size)) % n
    squares = np.zeros(size)
    with np.errstate(over="ignore"):
        for feature in rows.T:
            squares += (feature[one] - feature[other]) ** 2
    return squares


def _around(tile: list[int], blocks: list[np.ndarray], low: float, high: float, backend: str) -> Around:
    with single_threaded(backend):
        return _dense(backend).pairs_around(*_together(blocks), low, high)


def _joined(parts: list[Around]) -> Around:
    below, at_low, between, at_high = zip(*parts, strict=True)
    return sum(below), sum(at_low), np.sort(np.concatenate(between)), sum(at_high)


def _sums(
    tile: list[int], x: list[np.ndarray], y: list[np.ndarray], sigma_x: float, sigma_y: float, backend: str
) -> Sums:
    """Of a tile, and of its mirror image: the sum of K * L, and by blocks of rows the row sums of K and of L."""
    rows, split = _together(x)
    with single_threaded(backend):
        product, *sums = _dense(backend).pair_sums(rows, _together(y)[0], split, sigma_x, sigma_y)
    parts = np.split(np.stack(sums), [split] if split else [], axis=1)
    return product, dict(zip(dict.fromkeys(tile), parts, strict=True))


def _added(parts: list[Sums]) -> Sums:
    total: dict[int, np.ndarray] = {}
    for _, by_block in parts:
        for i, sums in by_block.items():
            total[i] = total[i] + sums if i in total else sums
    return sum(product for product, _ in parts), total


def _together(blocks: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """The rows of a tile, and the end of its first block where there is a second."""
    return np.ascontiguousarray(np.concatenate(blocks)), len(blocks[0]) if len(blocks) > 1 else 0


def _dense(backend: str) -> ModuleType:
    """The dense backend's functions of pairs of rows."""
    if backend == "numba":
        from kernels.ndarray import pairwise

        return pairwise
    from kernels.ndarray import numpy_hsic

    return numpy_hsic
