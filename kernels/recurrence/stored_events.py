"""Linear recurrences of stored entries, in the order in which they are stored: by sequence, time and feature.

In a scan of events a feature remembers its last one, and its state is multiplied by a power of the factor, found by
repeated squaring. It is applied in two halves, so that no power overflows or vanishes where the state does not.

A dense result is written once, row by row: the state before times the factor, and what is stored on top.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import sparse

from kernels.jit import jit, n_threads, parts_of, thread_map

__all__ = ["StoredSeries", "event_states", "scan"]

MANY = 1 << 18


class StoredSeries(NamedTuple):
    """Stored entries of a series as one of three axes; `rows` counts the times of all sequences."""

    shape: tuple[int, int, int]
    rows: np.ndarray
    features: np.ndarray
    values: np.ndarray
    fill: np.generic

    @classmethod
    def of(cls, x: sparse.SparseArray) -> StoredSeries:
        x = x.asformat("coo")
        shape = (1, *x.shape, 1) if x.ndim == 1 else (1,) * (3 - x.ndim) + x.shape
        coords = x.coords.astype(np.int64, copy=False)
        rows = coords[max(x.ndim - 2, 0)]
        if x.ndim == 3:
            rows = rows + coords[0] * shape[1]
        features = coords[-1] if x.ndim > 1 else np.zeros_like(rows)
        return cls(shape, rows, features, x.data, x.data.dtype.type(x.fill_value))


def event_states(a: np.ndarray, b: StoredSeries) -> np.ndarray:
    """The state at each entry; the factors are one, or one a feature."""
    numbers, features = b.features, b.shape[2]
    if features > 4 * len(b.values):  # more of them than one wants to remember
        used, numbers = np.unique(numbers, return_inverse=True)
        a, features = (a[used] if len(a) > 1 else a), len(used)
    h = np.empty_like(b.values)
    step_to_entries(a, b.shape[1], features, b.rows, numbers, b.values, h)
    return h


@jit
def step_to_entries(a, time, features, rows, numbers, values, h):
    """Write the state at each entry to `h`; before the first one of a sequence it is 0."""
    states = np.zeros(features, values.dtype)
    last = np.full(features, -1)
    for entry in range(len(values)):
        number, row = numbers[entry], rows[entry]
        factor = a[number if len(a) > 1 else 0]
        start = row - row % time
        if last[number] < start:
            states[number] = 0
            last[number] = start - 1
        if states[number] != 0 or not np.isfinite(factor):
            pause = row - last[number]
            half = power(factor, pause // 2)
            states[number] *= half
            states[number] *= half * factor if pause % 2 else half
        states[number] += values[entry]
        last[number] = row
        h[entry] = states[number]


@jit
def power(base, exponent):
    result = base if exponent & 1 else base * 0 + 1
    while exponent > 1:
        base *= base
        exponent >>= 1
        if exponent & 1:
            result *= base
    return result


def scan(
    a: np.ndarray, b: StoredSeries, h0: np.ndarray, reverse: bool, lengths: tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The states at all times, and the final ones; factors of three axes, each of length 1 or that of the series."""
    batch, time, _ = b.shape
    h, final = np.empty(b.shape, b.values.dtype), np.array(h0)
    bounds = np.zeros(batch * time + 1, np.int64)
    np.cumsum(np.bincount(b.rows, minlength=batch * time), out=bounds[1:])
    last = np.full(batch, time) if lengths is None else np.array(lengths, np.int64)

    def work(part: tuple[int, int]) -> None:
        scan_rows(*part, a, bounds, b.features, b.values, b.fill, last, reverse, h, final)

    thread_map(work, parts_of(batch, min(n_threads(), batch) if h.size > MANY else 1))
    return h, final


@jit
def decay(factor, state, fill, row):
    """Write what becomes of a state where nothing is stored; apart from the rest, so that it is vectorized."""
    if len(factor) == 1:
        common = factor[0]
        for feature in range(len(row)):
            row[feature] = common * state[feature] + fill
    else:
        for feature in range(len(row)):
            row[feature] = factor[feature] * state[feature] + fill


@jit
def scan_rows(first, stop, a, bounds, features, values, fill, lengths, reverse, h, final):
    """Scan the sequences from `first` to `stop`, from the states in `final`, which become those after the last step."""
    time = h.shape[1]
    for sequence in range(first, stop):
        state, factors = final[sequence], a[sequence if len(a) > 1 else 0]
        for step in range(time):
            t = time - 1 - step if reverse else step
            row = h[sequence, t]
            if t >= lengths[sequence]:
                row[:] = 0
                continue
            factor = factors[t if len(factors) > 1 else 0]
            decay(factor, state, fill, row)
            for entry in range(bounds[sequence * time + t], bounds[sequence * time + t + 1]):
                feature = features[entry]
                row[feature] = factor[feature if len(factor) > 1 else 0] * state[feature] + values[entry]
            state = row
        final[sequence] = state
