"""Series as compiled code wants them: the work cut into blocks for threads, with copies where memory does not fit.

A block is some sequences and features, gone through in pieces of some steps. An array is given as the grid of its own
memory where it has the dtype that is computed in and features lie side by side, else as that of a copy, a piece at a
time, so that the copy stays in cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kernels.jit import limit_threads, n_threads, parts_of, thread_map
from kernels.recurrence.fused_steps import Grid, few_features

__all__ = [
    "NARROW",
    "TILE",
    "Block",
    "Piece",
    "are_ready",
    "as_factors",
    "as_series",
    "as_states",
    "by_blocks",
    "carried_in",
    "grid",
    "lengths_of",
    "part_of",
    "pieces",
    "states_of",
    "threads_for",
]

WORTH_A_THREAD = 1 << 19  # items
NARROW = 128  # Fewer features a thread would be fetched from far apart.
WIDE = 2048  # States of more features would leave the first-level cache.
COPY = 1 << 15  # items that are put in order at once
TILE = 1 << 12  # items that are gone through once more while they are in the first-level cache


class Block(NamedTuple):
    """What one thread goes through."""

    sequences: slice
    features: slice


class Piece(NamedTuple):
    """Some steps of a block: the grids of arrays that are read, and of those that are written."""

    start: int
    stop: int
    inputs: list[Grid]
    results: list[Grid]


def as_series(x: np.ndarray) -> np.ndarray:
    """A view with axes of sequences, steps and features."""
    return x[np.newaxis, :, np.newaxis] if x.ndim == 1 else x[(np.newaxis,) * (3 - x.ndim)]


def as_factors(a: Any, b: np.ndarray) -> np.ndarray:
    """A view that broadcasts against the series of b."""
    a = a if isinstance(a, np.ndarray) else np.asarray(a, carried_in(b.dtype))
    a = a[(np.newaxis,) * (b.ndim - a.ndim)]
    return as_series(a)


def as_states(state: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A copy of the states of series of that shape, with axes of sequences and features."""
    if state is None:
        return np.zeros((shape[0], shape[2]), dtype)
    return np.array(state, dtype, order="C").reshape(shape[0], shape[2])


@np.errstate(all="ignore")
def states_of(states: np.ndarray, series: np.ndarray) -> np.ndarray:
    """The other way: with the dtype of the series, and its axes without that of steps."""
    shape = series.shape[:-2] + series.shape[-1:] if series.ndim > 1 else ()
    return states.reshape(shape).astype(series.dtype, copy=False)


def lengths_of(lengths: Sequence[int] | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape[0], shape[1]) if lengths is None else np.array(lengths, np.int64)


def carried_in(dtype: np.dtype) -> np.dtype:
    """The dtype of states."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def threads_for(size: int) -> int:
    return max(1, min(n_threads(), size // WORTH_A_THREAD))


def by_blocks(function: Callable[[Block], Any], shape: tuple[int, ...], copied: bool) -> None:
    """Apply the function to blocks that make up the shape, on threads; to smaller ones where parts are copied."""
    sequences, steps, features = shape
    size = sequences * steps * features
    threads = threads_for(size)
    of_sequences = min(threads, sequences)
    of_features = max(-(-features // WIDE), min(-(-threads // of_sequences), features // NARROW), 1)
    if copied:
        of_sequences = max(of_sequences, min(sequences, size // of_features // COPY))
    blocks = product(parts_of(sequences, of_sequences), parts_of(features, of_features))
    with limit_threads(threads):
        thread_map(function, [Block(slice(*own), slice(*columns)) for own, columns in blocks])


def pieces(
    inputs: Sequence[np.ndarray], results: Sequence[np.ndarray], block: Block, dtype: np.dtype, back: bool
) -> Iterator[Piece]:
    """The block from its first step to its last, or the other way if `back`."""
    own = [part_of(array, block) for array in inputs]
    targets = [part_of(array, block) for array in results]
    sequences, steps, features = targets[0].shape
    copied = not are_ready([*own, *targets], dtype, features)
    length = max(1, COPY // (sequences * features)) if copied else steps
    starts = range(0, steps, length)
    for start in reversed(starts) if back else starts:
        stop = min(start + length, steps)
        read = [
            _readable(array if array.shape[1] == 1 else array[:, start:stop], dtype, features, stop - start)
            for array in own
        ]
        parts = [array[:, start:stop] for array in targets]
        written = [part if are_ready([part], dtype, features) else np.empty(part.shape, dtype) for part in parts]
        yield Piece(start, stop, [grid(array) for array in read], [grid(array, write=True) for array in written])
        for part, result in zip(parts, written, strict=True):
            if part is not result:
                with np.errstate(all="ignore"):
                    np.copyto(part, result, casting="same_kind")


def part_of(x: np.ndarray, block: Block) -> np.ndarray:
    """The part that is the block's: of an axis along which there is one for all, that one."""
    parts = (block.sequences, slice(None), block.features)
    return x[tuple(part if length > 1 else slice(None) for part, length in zip(parts, x.shape, strict=True))]


def _readable(x: np.ndarray, dtype: np.dtype, features: int, steps: int) -> np.ndarray:
    if are_ready([x], dtype, features):
        return x
    if few_features(features) and x.shape[1:] != (1, 1):
        x = np.broadcast_to(x, (x.shape[0], steps, features))
    return np.ascontiguousarray(x, dtype)


def are_ready(arrays: Sequence[np.ndarray], dtype: np.dtype, features: int) -> bool:
    """Whether compiled code can be given the memory of all of them, for that number of features."""
    return all(_is_ready(array, dtype, features) for array in arrays)


def _is_ready(x: np.ndarray, dtype: np.dtype, features: int) -> bool:
    used = [stride for stride, length in zip(x.strides, x.shape, strict=True) if length > 1]
    if x.dtype != dtype or not x.flags.aligned or any(stride < 0 or stride % x.itemsize for stride in used):
        return False
    if x.shape[2] > 1 and x.strides[2] != x.itemsize:
        return False
    if not few_features(features) or x.shape[1] == 1:
        return True
    return x.shape[2] == features and x.strides[1] == features * x.itemsize


def grid(x: np.ndarray, write: bool = False) -> Grid:
    """Of an array that is ready."""
    steps = [stride // x.itemsize if length > 1 else 0 for stride, length in zip(x.strides, x.shape, strict=True)]
    size = 1 + sum(step * (length - 1) for step, length in zip(steps, x.shape, strict=True))
    return Grid(as_strided(x, (size,), (x.itemsize,), writeable=write), *steps)
