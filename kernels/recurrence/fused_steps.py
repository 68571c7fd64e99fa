"""The steps of one sequence: those of many features row by row, those of a few features composed in vectors.

A grid is the memory of a series; what is to be gone through starts at a place in it. Where there are few features,
series are contiguous, and factors are as well, but for those that are the same at all steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.jit import jit
from kernels.recurrence.fused_composition import after, is_sound, lanes_of, last, load, product, store

__all__ = ["Few", "Grid", "advance", "few_features", "summarise"]

FEW = 8  # More fill vectors at each step.

Few = tuple[int, ...] | None


class Grid(NamedTuple):
    """Contiguous memory, and how far apart sequences, steps and features lie in it; 0 where there is one for all."""

    items: np.ndarray
    sequence: int
    step: int
    feature: int


def few_features(count: int) -> Few:
    """What tells compiled code of few features, and how many: a tuple, whose length is part of its type."""
    return (lanes_of(count),) * count if count <= FEW else None


@jit
def advance(
    a: Grid,
    a_at: int,
    b: Grid,
    b_at: int,
    h: Grid,
    h_at: int,
    state: np.ndarray,
    steps: int,
    back: bool,
    few: Few,
) -> None:
    """Write all states into h, and leave the last one in `state`."""
    if few is None:
        _by_rows(a, a_at, b, b_at, h, h_at, state, steps, back)
    else:
        _by_vectors(a, a_at, b, b_at, h, h_at, state, steps, back, few)


@jit(fastmath={"contract"})
def _by_rows(
    a: Grid, a_at: int, b: Grid, b_at: int, h: Grid, h_at: int, state: np.ndarray, steps: int, back: bool
) -> None:
    width = len(state)
    for k in range(steps):
        t = steps - 1 - k if back else k
        row, start, place = a_at + t * a.step, b_at + t * b.step, h_at + t * h.step
        inputs, states = b.items[start : start + width], h.items[place : place + width]
        if a.feature:
            factors = a.items[row : row + width]
            for i in range(width):
                following = factors[i] * state[i] + inputs[i]
                state[i] = following
                states[i] = following
        else:
            factor = a.items[row]
            for i in range(width):
                following = factor * state[i] + inputs[i]
                state[i] = following
                states[i] = following


@jit
def _by_vectors(
    a: Grid,
    a_at: int,
    b: Grid,
    b_at: int,
    h: Grid,
    h_at: int,
    state: np.ndarray,
    steps: int,
    back: bool,
    few: tuple[int, ...],
) -> None:
    at_once = few[0] // len(few)
    vectors = steps // at_once
    rest = steps - vectors * at_once
    first, left = (rest, 0) if back else (0, vectors * at_once)
    constant = _same_in_lanes(a.items, a_at, a.feature, few)
    before = _same_in_lanes(state, 0, 1, few)
    for k in range(vectors):
        t = first + (vectors - 1 - k if back else k) * at_once
        factors = load(a.items, a_at + t * a.step, few) if a.step else constant
        inputs = load(b.items, b_at + t * b.step, few)
        if back:
            states = after(factors, inputs, before, True)
            following = last(states, True)
        else:
            states = after(factors, inputs, before, False)
            following = last(states, False)
        if is_sound(states, before):
            store(states, h.items, h_at + t * h.step)
        else:
            _first_lanes(before, state, few)
            _by_rows(a, a_at + t * a.step, b, b_at + t * b.step, h, h_at + t * h.step, state, at_once, back)
            following = _same_in_lanes(state, 0, 1, few)
        before = following
    _first_lanes(before, state, few)
    _by_rows(a, a_at + left * a.step, b, b_at + left * b.step, h, h_at + left * h.step, state, rest, back)


@jit
def _same_in_lanes(x: np.ndarray, at: int, feature: int, few: tuple[int, ...]) -> np.ndarray:
    """A vector of one step, again and again."""
    lanes = np.empty(few[0], x.dtype)
    for lane in range(len(lanes)):
        lanes[lane] = x[at + lane % len(few) * feature]
    return load(lanes, 0, few)


@jit
def _first_lanes(vector: np.ndarray, result: np.ndarray, few: tuple[int, ...]) -> None:
    lanes = np.empty(few[0], result.dtype)
    store(vector, lanes, 0)
    result[:] = lanes[: len(few)]


@jit
def summarise(
    a: Grid,
    a_at: int,
    b: Grid,
    b_at: int,
    factor: np.ndarray,
    state: np.ndarray,
    steps: int,
    back: bool,
    few: Few,
) -> None:
    """What all steps compose to: multiply `factor` by all factors, and advance `state`, but write no states."""
    if few is None:
        _summarise_rows(a, a_at, b, b_at, factor, state, steps, back)
    else:
        _summarise_vectors(a, a_at, b, b_at, factor, state, steps, back, few)


@jit(fastmath={"contract"})
def _summarise_rows(
    a: Grid, a_at: int, b: Grid, b_at: int, factor: np.ndarray, state: np.ndarray, steps: int, back: bool
) -> None:
    width = len(state)
    for k in range(steps):
        t = steps - 1 - k if back else k
        row, start = a_at + t * a.step, b_at + t * b.step
        inputs = b.items[start : start + width]
        if a.feature:
            factors = a.items[row : row + width]
            for i in range(width):
                state[i] = factors[i] * state[i] + inputs[i]
                factor[i] *= factors[i]
        else:
            same = a.items[row]
            for i in range(width):
                state[i] = same * state[i] + inputs[i]
                factor[i] *= same


@jit
def _summarise_vectors(
    a: Grid,
    a_at: int,
    b: Grid,
    b_at: int,
    factor: np.ndarray,
    state: np.ndarray,
    steps: int,
    back: bool,
    few: tuple[int, ...],
) -> None:
    at_once = few[0] // len(few)
    vectors = steps // at_once
    rest = steps - vectors * at_once
    first, left = (rest, 0) if back else (0, vectors * at_once)
    constant = _same_in_lanes(a.items, a_at, a.feature, few)
    before = _same_in_lanes(state, 0, 1, few)
    ones = np.ones(few[0], factor.dtype)
    total = load(ones, 0, few)
    for k in range(vectors):
        t = first + (vectors - 1 - k if back else k) * at_once
        factors = load(a.items, a_at + t * a.step, few) if a.step else constant
        inputs = load(b.items, b_at + t * b.step, few)
        total = product(total, factors)
        if back:
            before = last(after(factors, inputs, before, True), True)
        else:
            before = last(after(factors, inputs, before, False), False)
    _first_lanes(before, state, few)
    store(total, ones, 0)
    for lane in range(len(ones)):
        factor[lane % len(few)] *= ones[lane]
    _summarise_rows(a, a_at + left * a.step, b, b_at + left * b.step, factor, state, rest, back)
