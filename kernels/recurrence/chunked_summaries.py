"""What a chunk of a series does to the state before it, which is told without knowing that state.

A linear recurrence makes of the state before a chunk its product with all the factors, plus the state that the chunk
leads to from 0. Both are computed in pieces that stay in the processor's cache, so that a summary takes one reading of
the chunk, and writes nothing to memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels import recurrence
from kernels.chunk_tasks import blas_on_one_thread, single_threaded

__all__ = ["Linear", "Way", "state_after", "summary", "within"]

Linear = Callable[..., tuple[Any, np.ndarray]]  # of pieces of the operands, and the weights: a and b of a linear scan

PIECE = 1 << 20  # items, so many that calls take little of the time
STEPS = 64  # of a piece, at least


class Way(NamedTuple):
    """How a chunk is gone through: by which dense backend, in which direction, and how far in each sequence."""

    backend: str
    reverse: bool = False
    lengths: tuple[int, ...] | None = None


def within(lengths: Sequence[int] | None, start: int, size: int) -> tuple[int, ...] | None:
    """Lengths of sequences as they appear in `size` steps from `start`; None where all go beyond."""
    if lengths is None or all(length >= start + size for length in lengths):
        return None
    return tuple(min(max(length - start, 0), size) for length in lengths)


def summary(operands: list[Any], weights: list[np.ndarray], *, linear: Linear, way: Way) -> list[np.ndarray]:
    """The product of a chunk's factors, and the state that it leads to from 0."""
    return _through(operands, weights, None, linear, way)


@np.errstate(all="ignore")
def state_after(
    summary: list[np.ndarray],
    state: np.ndarray,
    operands: list[Any],
    weights: list[np.ndarray],
    *,
    linear: Linear,
    way: Way,
) -> np.ndarray:
    """The state after a chunk, from its summary.

    Where the factors overflow, or the state is infinite, 0 times infinity would make NaN of what is not: then the chunk
    is gone through once more.
    """
    product, final = summary
    if np.isfinite(product).all() and not np.isinf(state).any():
        return np.asarray(product * state + final)
    return _through(operands, weights, state, linear, way)[1]


@np.errstate(all="ignore")
def _through(
    operands: list[Any], weights: list[np.ndarray], state: np.ndarray | None, linear: Linear, way: Way
) -> list[np.ndarray]:
    """The product of a chunk's factors, and the state that it leads to; the first of the operands is the series."""
    ndim = operands[0].ndim
    operands = [_with_three_axes(operand, ndim) for operand in operands]
    batch, _, features = shape = operands[0].shape
    dtype = operands[0].dtype
    product = np.ones((batch, features), dtype)
    final = np.zeros_like(product) if state is None else np.array(state).reshape(product.shape)
    unused = np.empty(0, dtype)
    with single_threaded(way.backend), blas_on_one_thread(way.backend):
        for rows, steps in _pieces(shape, way.reverse):
            a, b = linear(*(_piece(operand, rows, steps) for operand in operands), *weights)
            lengths = within(way.lengths and way.lengths[rows], steps.start, b.shape[1])
            product[rows] *= _product(a, b, lengths)
            if unused.size < b.size:
                unused = np.empty(b.size, dtype)
            _, final[rows] = recurrence.linear_scan(
                a, b, final[rows],
                reverse=way.reverse, lengths=lengths, return_final=True,
                out=unused[: b.size].reshape(b.shape), backend=way.backend,
            )  # fmt: skip
    outside = (batch, features)[3 - ndim :] if ndim > 1 else ()
    return [product.reshape(outside), final.reshape(outside)]


def _with_three_axes(operand: Any, ndim: int) -> Any:
    """What goes with a series of `ndim` axes, as it would with the same series of one sequence more, or one feature."""
    if not hasattr(operand, "dtype"):
        return operand
    operand = np.asarray(operand)
    if ndim == 1:
        operand = operand[..., None]
    return operand.reshape((1,) * (3 - operand.ndim) + operand.shape)


def _pieces(shape: tuple[int, ...], reverse: bool) -> Iterator[tuple[slice, slice]]:
    """Sequences, several where they are short, and steps of these in the direction of the scan."""
    batch, time, features = shape
    together = max(PIECE // max(time * features, 1), 1)
    size = max(PIECE // max(min(together, batch) * features, 1), STEPS)
    for first in range(0, batch, together):
        for start in range(0, time, size)[:: -1 if reverse else 1]:
            yield slice(first, min(first + together, batch)), slice(start, min(start + size, time))


def _piece(operand: Any, rows: slice, steps: slice) -> Any:
    if not hasattr(operand, "dtype"):
        return operand
    every = slice(None)
    return operand[rows if len(operand) > 1 else every, steps if operand.shape[1] > 1 else every]


def _product(a: Any, b: np.ndarray, lengths: tuple[int, ...] | None) -> np.ndarray:
    """The product of the factors along time, of sequences of these lengths."""
    steps = b.shape[1]
    counts = steps if lengths is None else np.array(lengths)[:, None]
    if not hasattr(a, "dtype"):
        return _power(np.full((1, 1), a, b.dtype), counts, steps)
    if a.shape[1] == 1:
        return _power(a[:, 0], counts, steps)
    if lengths is not None:
        a = np.where((np.arange(steps) < counts)[..., None], a, b.dtype.type(1))
    return np.multiply.reduce(a, axis=1)


def _power(base: np.ndarray, exponents: Any, most: int) -> np.ndarray:
    """By repeated squaring: NumPy takes a logarithm of a complex number."""
    result = np.ones_like(base)
    for bit in range(most.bit_length()):
        result = np.where(exponents >> bit & 1, result * base, result)
        base = base * base
    return result
