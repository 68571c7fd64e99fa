"""Layers of gates around a linear scan: gates, scan and highway, a tile after the other, which stays in cache.

With peepholes the gates see the state before, and all is done step by step.
"""

from __future__ import annotations

import numpy as np

from kernels.jit import jit
from kernels.recurrence import GatedSeries
from kernels.recurrence.fused_blocks import TILE, Block, are_ready, as_series, as_states, by_blocks, pieces, states_of
from kernels.recurrence.fused_steps import Few, Grid, advance, few_features
from kernels.vector_math import exp

__all__ = ["highway", "pool"]


def pool(z: np.ndarray, f: np.ndarray, o: np.ndarray | None, c0: np.ndarray | None) -> GatedSeries:
    """The layer whose gates are given."""
    c = np.empty(z.shape, z.dtype)
    h = c if o is None else np.empty(z.shape, z.dtype)
    inputs = [as_series(x) for x in (z, f, o) if x is not None]
    results = [as_series(c)] if o is None else [as_series(c), as_series(h)]
    final = as_states(c0, inputs[0].shape, z.dtype)
    few = few_features(final.shape[1])

    def of_block(block: Block) -> None:
        states = np.ascontiguousarray(final[block])
        for piece in pieces(inputs, results, block, z.dtype, False):
            output = None if o is None else (piece.inputs[2], piece.results[1])
            _pool_all(*piece.inputs[:2], piece.results[0], output, states, piece.stop - piece.start, few)
        final[block] = states

    if z.size:
        by_blocks(of_block, inputs[0].shape, not are_ready([*inputs, *results], z.dtype, final.shape[1]))
    return GatedSeries(c, h, states_of(final, z))


@jit(fastmath={"contract"})
def _pool_all(
    z: Grid, f: Grid, c: Grid, output: tuple[Grid, Grid] | None, states: np.ndarray, steps: int, few: Few
) -> None:
    width = states.shape[1]
    tile = TILE // width + 1
    kept, inputs = np.empty(tile * width, states.dtype), np.empty(tile * width, states.dtype)
    one = states.dtype.type(1)
    for sequence in range(len(states)):
        for start in range(0, steps, tile):
            count = min(tile, steps - start)
            rows, length = (count, width) if few is None else (1, count * width)
            z_at, f_at = sequence * z.sequence + start * z.step, sequence * f.sequence + start * f.step
            c_at = sequence * c.sequence + start * c.step
            for row in range(rows):
                candidates = z.items[z_at + row * z.step : z_at + row * z.step + length]
                gates = f.items[f_at + row * f.step : f_at + row * f.step + length]
                factors, products = kept[row * width : row * width + length], inputs[row * width : row * width + length]
                for i in range(length):
                    factors[i] = one - gates[i]
                    products[i] = gates[i] * candidates[i]
            a, b = Grid(kept, 0, width, 1), Grid(inputs, 0, width, 1)
            advance(a, 0, b, 0, c, c_at, states[sequence], count, False, few)
            if output is not None:
                o, h = output
                o_at, h_at = sequence * o.sequence + start * o.step, sequence * h.sequence + start * h.step
                for row in range(rows):
                    own = c.items[c_at + row * c.step : c_at + row * c.step + length]
                    gates = o.items[o_at + row * o.step : o_at + row * o.step + length]
                    result = h.items[h_at + row * h.step : h_at + row * h.step + length]
                    for i in range(length):
                        result[i] = gates[i] * own[i]


def highway(x: np.ndarray, w: np.ndarray, bias: np.ndarray, v: np.ndarray | None, c0: np.ndarray | None) -> GatedSeries:
    """The layer of gates, scan and highway whose three products are those of x and w, side by side."""
    features = x.shape[-1]
    c, h = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    series, results = as_series(x), [as_series(c), as_series(h)]
    final = as_states(c0, series.shape, x.dtype)
    if x.size:
        with np.errstate(all="ignore"):
            products = (x.reshape(-1, features) @ w).reshape(*series.shape[:2], 3, features)
        inputs = [*(products[:, :, part] for part in range(3)), series]

        def of_block(block: Block) -> None:
            states = np.ascontiguousarray(final[block])
            biases = np.ascontiguousarray(bias[:, block.features])
            weights = None if v is None else np.ascontiguousarray(v[:, block.features])
            few = few_features(states.shape[1])
            for piece in pieces(inputs, results, block, x.dtype, False):
                steps = piece.stop - piece.start
                if weights is None:
                    _highway_all(*piece.inputs, *piece.results, biases, states, steps, few)
                else:
                    _peephole_all(*piece.inputs, *piece.results, biases, weights, states, steps)
            final[block] = states

        by_blocks(of_block, series.shape, not are_ready([*inputs, *results], x.dtype, features))
    return GatedSeries(c, h, states_of(final, x))


@jit(fastmath={"contract"})
def _highway_all(
    u: Grid,
    p: Grid,
    q: Grid,
    x: Grid,
    c: Grid,
    h: Grid,
    bias: np.ndarray,
    states: np.ndarray,
    steps: int,
    few: Few,
) -> None:
    width = states.shape[1]
    tile = TILE // width + 1
    kept, inputs = np.empty(tile * width, states.dtype), np.empty(tile * width, states.dtype)
    one = states.dtype.type(1)
    for sequence in range(len(states)):
        for start in range(0, steps, tile):
            count = min(tile, steps - start)
            for row in range(count):
                u_row, p_row = _row(u, sequence, start + row, width), _row(p, sequence, start + row, width)
                factors, products = kept[row * width : (row + 1) * width], inputs[row * width : (row + 1) * width]
                for i in range(width):
                    gate = one / (one + exp(-(p_row[i] + bias[0, i])))
                    factors[i] = gate
                    products[i] = (one - gate) * u_row[i]
            a, b = Grid(kept, 0, width, 1), Grid(inputs, 0, width, 1)
            c_at = sequence * c.sequence + start * c.step
            advance(a, 0, b, 0, c, c_at, states[sequence], count, False, few)
            for row in range(count):
                q_row, x_row = _row(q, sequence, start + row, width), _row(x, sequence, start + row, width)
                c_row, h_row = _row(c, sequence, start + row, width), _row(h, sequence, start + row, width)
                for i in range(width):
                    gate = one / (one + exp(-(q_row[i] + bias[1, i])))
                    h_row[i] = gate * c_row[i] + (one - gate) * x_row[i]


@jit(fastmath={"contract"})
def _peephole_all(
    u: Grid,
    p: Grid,
    q: Grid,
    x: Grid,
    c: Grid,
    h: Grid,
    bias: np.ndarray,
    weights: np.ndarray,
    states: np.ndarray,
    steps: int,
) -> None:
    width = states.shape[1]
    one = states.dtype.type(1)
    for sequence in range(len(states)):
        state = states[sequence]
        for t in range(steps):
            u_row, p_row, q_row = _row(u, sequence, t, width), _row(p, sequence, t, width), _row(q, sequence, t, width)
            x_row, c_row, h_row = _row(x, sequence, t, width), _row(c, sequence, t, width), _row(h, sequence, t, width)
            for i in range(width):
                before = state[i]
                forget = one / (one + exp(-(p_row[i] + weights[0, i] * before + bias[0, i])))
                reset = one / (one + exp(-(q_row[i] + weights[1, i] * before + bias[1, i])))
                after = forget * before + (one - forget) * u_row[i]
                state[i] = after
                c_row[i] = after
                h_row[i] = reset * after + (one - reset) * x_row[i]


@jit
def _row(x: Grid, sequence: int, step: int, width: int) -> np.ndarray:
    at = sequence * x.sequence + step * x.step
    return x.items[at : at + width]
