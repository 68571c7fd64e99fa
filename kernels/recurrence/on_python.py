"""Recurrences in pure Python: one loop along time for each column, which is what one sequence and feature have."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

from kernels.nested import shape
from kernels.python_products import matmul
from kernels.recurrence import GatedSeries, ScanGradients
from kernels.recurrence.python_columns import Columns, Layout, numbers

__all__ = ["event_scan", "linear_scan", "linear_scan_vjp", "lru", "qrnn", "sru"]


def linear_scan(
    a: Any, b: Any, h0: Any, reverse: bool, lengths: Sequence[int] | None, return_final: bool, out: None
) -> Any:
    layout = Layout(shape(b), reverse, lengths)
    factors, inputs, states = numbers(a, b, h0)
    finals = layout.states(states)
    h = layout.series()
    _scan(layout, layout.broadcast(factors, shape(a)), layout.series(inputs), finals, h)
    return (h.nested(), layout.nested_states(finals)) if return_final else h.nested()


def _scan(layout: Layout, a: Columns, b: Columns, states: list[Any], h: Columns) -> None:
    """Scan every column from its state, which is replaced by its last one."""
    for place, column in enumerate(layout):
        h[column], states[place] = _scanned(a[column], b[column], states[place])


def _scanned(factors: list[Any], inputs: list[Any], state: Any) -> tuple[list[Any], Any]:
    h = []
    for factor, value in zip(factors, inputs, strict=True):
        state = factor * state + value
        h.append(state)
    return h, state


def linear_scan_vjp(
    a: Any, h: Any, g: Any, h0: Any, g_final: Any, reverse: bool, lengths: Sequence[int] | None
) -> ScanGradients:
    layout = Layout(shape(h), reverse, lengths)
    factors, results, gradients, before, after = numbers(a, h, g, h0, g_final)
    a_columns = layout.broadcast(factors, shape(a))
    h_columns, g_columns = layout.series(results), layout.series(gradients)
    da, db = layout.broadcast([0.0] * len(factors), shape(a)), layout.series()
    before, carries = layout.states(before), layout.states(after)
    for place, column in enumerate(layout):
        db[column], carries[place] = _carried_back(a_columns[column], g_columns[column], carries[place])
        previous = [before[place], *h_columns[column]]
        da.add(column, [state.conjugate() * v for state, v in zip(previous, db[column], strict=False)])
    return ScanGradients(da.nested(), db.nested(), layout.nested_states(carries))


def _carried_back(factors: list[Any], gradients: list[Any], carry: Any) -> tuple[list[Any], Any]:
    """The gradients of the inputs, and of the state before them; `carry` is that of the state after them."""
    result = []
    for factor, gradient in zip(reversed(factors), reversed(gradients), strict=True):
        v = gradient + carry
        result.append(v)
        carry = factor.conjugate() * v
    return result[::-1], carry


def event_scan(a: Any, b: Any) -> Any:
    layout = Layout(shape(b))
    factors, inputs = numbers(a, b)
    h = layout.series()
    _scan(layout, layout.broadcast(factors, shape(a)), layout.series(inputs), layout.states(), h)
    h.items = [state if value else 0.0 for state, value in zip(h.items, inputs, strict=True)]
    return h.nested()


def qrnn(z: Any, f: Any, o: Any, c0: Any) -> GatedSeries:
    layout = Layout(shape(z))
    candidates, gates, outputs, states = numbers(z, f, o, c0)
    kept = layout.series([1 - gate for gate in gates])
    new = layout.series([gate * value for gate, value in zip(gates, candidates, strict=True)])
    finals = layout.states(states)
    c, h = layout.series(), layout.series(outputs)
    _scan(layout, kept, new, finals, c)
    h.items = list(c.items) if o is None else [gate * state for gate, state in zip(h.items, c.items, strict=True)]
    return GatedSeries(c.nested(), h.nested(), layout.nested_states(finals))


def sru(x: Any, w: Any, b: Any, v: Any, c0: Any) -> GatedSeries:
    layout = Layout(shape(x))
    features = layout.features
    inputs, weights, biases, peepholes, states = numbers(x, w, b, v, c0)
    finals = layout.states(states)
    products = matmul(_rows(inputs, features), _rows(weights, 3 * features), 3 * features)
    candidates, forgets, resets = (
        layout.series([item for row in products for item in row[part * features : (part + 1) * features]])
        for part in range(3)
    )
    c = layout.series()
    for place, (sequence, feature) in enumerate(layout):
        column, pair = (sequence, feature), slice(feature, None, features)
        u, p, q = candidates[column], forgets[column], resets[column]
        seen = (0.0, 0.0) if v is None else peepholes[pair]
        c[column], resets[column], finals[place] = _gated(u, p, q, biases[pair], seen, finals[place])
    h = layout.series([r * c + (1 - r) * x for r, c, x in zip(resets.items, c.items, inputs, strict=True)])
    return GatedSeries(c.nested(), h.nested(), layout.nested_states(finals))


def _gated(
    candidates: list[float],
    forgets: list[float],
    resets: list[float],
    biases: Sequence[float],
    peepholes: Sequence[float],
    state: float,
) -> tuple[list[float], list[float], float]:
    """The states of a column, its reset gates, and its last state."""
    (forget_bias, reset_bias), (forget_sees, reset_sees) = biases, peepholes
    states, gates = [], []
    for u, p, q in zip(candidates, forgets, resets, strict=True):
        # Gates without peepholes do not depend on the state, even if it is infinite.
        f = _sigmoid(p + forget_bias + (forget_sees * state if forget_sees else 0.0))
        gates.append(_sigmoid(q + reset_bias + (reset_sees * state if reset_sees else 0.0)))
        state = f * state + (1 - f) * u
        states.append(state)
    return states, gates, state


def _sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    if x >= 0:
        return 1 / (1 + exp(-x))
    odds = exp(x)
    return odds / (1 + odds)


def _rows(items: list[float], width: int) -> list[list[float]]:
    return [items[at : at + width] for at in range(0, len(items), width or 1)]


def lru(lam: Any, u: Any, h0: Any) -> Any:
    return linear_scan(lam, u, h0, False, None, False, None)
