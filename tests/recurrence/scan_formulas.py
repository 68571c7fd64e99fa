"""What the functions promise as loops in NumPy and double precision, with bounds for the rounding errors of others.

A state is a sum of products. In whatever order these are taken, in a dtype of unit roundoff u, the state is off by no
more than u times the sum of their absolute values, each multiplied by its number of factors, but for a small factor.
That sum is a scan of the scan of absolute values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

FACTOR = 8


class Bounded(NamedTuple):
    """An exact value, and how far others may be off, in units of roundoff."""

    value: Any
    bound: Any

    def tolerance(self, dtype: Any) -> Any:
        """float16 is carried in float32, and rounded once."""
        carried = np.finfo(np.result_type(dtype, np.float32))
        rounded = np.finfo(dtype)
        last = float(rounded.eps) * np.abs(self.value) + float(rounded.smallest_subnormal)
        return FACTOR * (float(carried.eps) * self.bound + float(carried.tiny)) + last


class Backward(NamedTuple):
    da: Bounded
    db: Bounded
    dh0: Bounded


class Gated(NamedTuple):
    c: Bounded
    h: Bounded
    final: Bounded


def double(value: Any) -> Any:
    value = np.asarray(value)
    return value.astype(complex if value.dtype.kind == "c" else float)


def linear_scan(a: Any, b: Any, h0: Any = None, reverse: bool = False, lengths: Any = None) -> tuple[Bounded, Bounded]:
    """The states and the final one."""
    h, final = _states(a, b, h0, reverse, lengths)
    sizes, _ = _states(*_absolute(a, b, h0), reverse, lengths)
    bounds, bound = _states(*_absolute(a, sizes, h0), reverse, lengths)
    return Bounded(h, bounds), Bounded(final, bound)


@np.errstate(all="ignore")
def _states(a: Any, b: Any, h0: Any, reverse: bool, lengths: Any) -> tuple[Any, Any]:
    a, b, state = _as_series(a, b, h0)
    h = np.zeros(b.shape, np.result_type(a, b, state))
    for at, inside in _steps(b.shape, reverse, lengths):
        state = _where(inside, a[at] * state + b[at], state)
        h[at] = _where(inside, state, 0)
    return h, state


def _where(inside: Any, value: Any, otherwise: Any) -> Any:
    return value if inside is True else np.where(inside, value, otherwise)


def _as_series(a: Any, b: Any, h0: Any) -> tuple[Any, Any, Any]:
    b = double(b)
    return np.broadcast_to(double(a), b.shape), b, state_of(b) if h0 is None else double(h0)


def state_of(b: Any) -> Any:
    """A state of zeros."""
    return np.zeros(b.shape[:-2] + b.shape[-1:] if b.ndim > 1 else (), b.dtype)


def _steps(shape: tuple[int, ...], reverse: bool, lengths: Any) -> Any:
    """The place of each step, and where it counts."""
    time = shape[max(len(shape) - 2, 0)]
    for t in reversed(range(time)) if reverse else range(time):
        at = (..., t, slice(None)) if len(shape) > 1 else (t,)
        yield at, True if lengths is None else (t < np.asarray(lengths))[:, np.newaxis]


def _absolute(*values: Any) -> list[Any]:
    return [None if value is None else np.abs(double(value)) for value in values]


def linear_scan_vjp(
    a: Any, h: Any, g: Any, h0: Any = None, g_final: Any = None, reverse: bool = False, lengths: Any = None
) -> Backward:
    exact = _backward(a, h, g, h0, g_final, reverse, lengths)
    sizes = _backward(*_absolute(a, h, g, h0, g_final), reverse, lengths)
    bounds = _backward(*_absolute(a, h, sizes[1], h0, g_final), reverse, lengths)
    shape = np.shape(a)
    terms = (exact[0].size / max(np.prod(shape), 1)) ** 0.5
    da = Bounded(_summed(exact[0], shape), _summed(bounds[0] + terms * sizes[0], shape))
    return Backward(da, Bounded(exact[1], bounds[1]), Bounded(exact[2], bounds[2]))


@np.errstate(all="ignore")
def _backward(a: Any, h: Any, g: Any, h0: Any, g_final: Any, reverse: bool, lengths: Any) -> tuple[Any, Any, Any]:
    """Gradients with respect to the factor of each item, to the inputs, and to the state before the first step."""
    a, h, h0 = _as_series(a, h, h0)
    g = double(g)
    carried = state_of(h) if g_final is None else double(g_final)
    da, db = np.zeros((2, *h.shape), np.result_type(a, h, h0, g, carried))
    before = _states_before(h, h0, reverse, lengths)
    for at, inside in _steps(h.shape, not reverse, lengths):
        v = g[at] + carried
        db[at] = _where(inside, v, 0)
        da[at] = _where(inside, before[at].conj() * v, 0)
        carried = _where(inside, a[at].conj() * v, carried)
    return da, db, carried


def _states_before(h: Any, h0: Any, reverse: bool, lengths: Any) -> Any:
    before, last = np.zeros(h.shape, np.result_type(h, h0)), h0
    for at, inside in _steps(h.shape, reverse, lengths):
        before[at] = last
        last = _where(inside, h[at], last)
    return before


def _summed(x: Any, shape: tuple[int, ...]) -> Any:
    """Over the axes along which an array of that shape is broadcast."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    return x.sum(axis=tuple(place for place, length in enumerate(shape) if length == 1), keepdims=True)


def event_scan(a: Any, b: Any) -> Bounded:
    h, _ = linear_scan(a, b)
    return Bounded(*(np.where(double(b) != 0, each, 0) for each in h))


def lru(lam: Any, u: Any, h0: Any = None) -> Bounded:
    return linear_scan(lam, u, h0)[0]


def qrnn(z: Any, f: Any, o: Any = None, c0: Any = None) -> Gated:
    f = double(f)
    c, final = linear_scan(1 - f, f * double(z), c0)
    o = 1.0 if o is None else double(o)
    return Gated(c, Bounded(o * c.value, np.abs(o) * (c.bound + np.abs(c.value))), final)


def sru(x: Any, w: Any, b: Any, v: Any = None, c0: Any = None) -> Gated:
    """Errors of the products go through the gates, which are never steeper than 1 / 4, and on along time."""
    x, w, b = double(x), double(w), double(b)
    v = np.zeros_like(b) if v is None else double(v)
    u, p, q = np.split(x @ w, 3, axis=-1)
    off, off_p, off_q = np.split(2 * x.shape[-1] ** 0.5 * np.abs(x) @ np.abs(w), 3, axis=-1)
    c, h, bounds, bounds_of_h = np.zeros((4, *x.shape))
    state = state_of(x) if c0 is None else double(c0)
    bound = np.abs(state)
    for at, _ in _steps(x.shape, False, None):
        gates = []
        for place, part, off_part in ((0, p, off_p), (1, q, off_q)):
            seen = part[at] + v[place] * state + b[place]
            terms = np.abs(part[at]) + np.abs(v[place] * state) + np.abs(b[place])
            gates.append((_sigmoid(seen), 2 + (off_part[at] + np.abs(v[place]) * bound + 2 * terms) / 4))
        (f, off_f), (r, off_r) = gates
        previous, state = state, f * state + (1 - f) * u[at]
        bound = f * bound + (np.abs(previous) + np.abs(u[at])) * (off_f + 2) + (1 - f) * off[at]
        c[at], bounds[at] = state, bound
        h[at] = r * state + (1 - r) * x[at]
        bounds_of_h[at] = r * bound + (np.abs(state) + np.abs(x[at])) * (off_r + 2)
    return Gated(Bounded(c, bounds), Bounded(h, bounds_of_h), Bounded(state, bound))


@np.errstate(over="ignore")
def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))
