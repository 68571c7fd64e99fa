"""Recurrences in NumPy, all but the one with peepholes as linear scans of views of shape (batch, time, features)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.recurrence import GatedSeries, ScanGradients
from kernels.recurrence.numpy_scan import scan, spans

__all__ = ["event_scan", "linear_scan", "linear_scan_vjp", "lru", "qrnn", "sru"]

Lengths = Sequence[int] | None

quiet = np.errstate(all="ignore")


@quiet
def linear_scan(
    a: Any,
    b: np.ndarray,
    h0: np.ndarray | None,
    reverse: bool,
    lengths: Lengths,
    return_final: bool,
    out: np.ndarray | None,
) -> Any:
    if out is None:
        out = np.empty_like(b, subok=False)
    elif out.dtype != b.dtype:
        raise TypeError(f"out must be of {b.dtype}, the dtype of the result, not of {out.dtype}")
    half = b.dtype == np.float16
    h = np.empty_like(b, _carried(b), subok=False) if half or _is_shifted(out, a) or _is_shifted(out, b) else out
    final = _scan(a, b, h0, reverse, lengths, h)
    if h is not out:
        out[...] = h
    return (out, final.astype(b.dtype)[()]) if return_final else out


def _carried(x: np.ndarray) -> np.dtype:
    """The dtype in which a scan is computed."""
    return np.result_type(x.dtype, np.float32)


def _is_shifted(out: np.ndarray, x: Any) -> bool:
    """Whether an item of `out` may be written before one of `x` in its place is read."""
    if not isinstance(x, np.ndarray) or not np.may_share_memory(out, x):
        return False
    return (out.ctypes.data, out.strides, out.shape) != (x.ctypes.data, x.strides, x.shape)


def _scan(a: Any, b: np.ndarray, h0: np.ndarray | None, reverse: bool, lengths: Lengths, h: np.ndarray) -> np.ndarray:
    """Write the scan to `h`, and return the states after the last steps."""
    series = _batch(h)
    factors, inputs, states = _factors(a, h), _batch(np.asarray(b, h.dtype)), _states(h0, h)
    for sequences, times in spans(series.shape[1], lengths, reverse):
        given = _part(inputs, sequences, times, reverse)
        result = _part(series, sequences, times, reverse)
        state = states[sequences]
        scan(np.broadcast_to(_part(factors, sequences, times, reverse), given.shape), given, state, result)
        _put(series, sequences, times, reverse, result)
        states[sequences] = state
    _clear_beyond(series, lengths)
    return _without_time(states, h)


def _batch(series: np.ndarray) -> np.ndarray:
    """A view of shape (batch, time, features)."""
    return series[None, :, None] if series.ndim == 1 else series[(None,) * (3 - series.ndim)]


def _factors(a: Any, series: np.ndarray) -> np.ndarray:
    """The factors as an array that is broadcast against the series as a batch."""
    a = np.asarray(a, series.dtype)
    return _batch(a.reshape((1,) * (series.ndim - a.ndim) + a.shape))


def _states(given: Any, series: np.ndarray) -> np.ndarray:
    batch, _, features = _batch(series).shape
    states = np.zeros((batch, features), series.dtype)
    if given is not None:
        states[...] = np.reshape(given, states.shape)
    return states


def _without_time(states: np.ndarray, series: np.ndarray) -> np.ndarray:
    """States in the shape of the series but for its time."""
    return states.reshape(series.shape[:-2] + series.shape[-1:] if series.ndim > 1 else ())


def _part(x: np.ndarray, sequences: Any, times: slice, reverse: bool) -> np.ndarray:
    """A piece of a series in the order of its scan; axes along which it is broadcast stay."""
    part = x[:, times] if x.shape[1] > 1 else x
    part = part[sequences] if x.shape[0] > 1 else part
    return part[:, ::-1] if reverse else part


def _put(x: np.ndarray, sequences: Any, times: slice, reverse: bool, part: np.ndarray) -> None:
    """Write back a piece that is a copy."""
    if not isinstance(sequences, slice):
        x[sequences, times] = part[:, ::-1] if reverse else part


def _clear_beyond(series: np.ndarray, lengths: Lengths) -> None:
    for sequence, length in enumerate(lengths or ()):
        series[sequence, length:] = 0


@quiet
def linear_scan_vjp(
    a: Any,
    h: np.ndarray,
    g: np.ndarray,
    h0: np.ndarray | None,
    g_final: np.ndarray | None,
    reverse: bool,
    lengths: Lengths,
) -> ScanGradients:
    v = np.empty(h.shape, _carried(h))
    dh0 = _scan_back(a, g, g_final, reverse, lengths, v)
    da = _factor_gradients(h, h0, v, reverse, lengths)
    summed = tuple(axis for axis, length in enumerate(_factors(a, v).shape) if length != da.shape[axis])
    if summed:
        da = da.sum(axis=summed, dtype=np.result_type(v.dtype, np.float64))
    da, db, dh0 = (x.astype(h.dtype, copy=False) for x in (da.reshape(np.shape(a)), v, dh0))
    return ScanGradients(da[()], db, dh0[()])


def _scan_back(
    a: Any, g: np.ndarray, g_final: np.ndarray | None, reverse: bool, lengths: Lengths, v: np.ndarray
) -> np.ndarray:
    """Write the gradients of the inputs to `v`, and return those of the states before the first steps."""
    series, back = _batch(v), not reverse
    factors, gradients, carries = _factors(np.conj(a), v), _batch(np.asarray(g, v.dtype)), _states(g_final, v)
    for sequences, times in spans(series.shape[1], lengths, back):
        given, result = (_part(x, sequences, times, back) for x in (gradients, series))
        factor = np.broadcast_to(_part(factors, sequences, times, back), given.shape)
        # A factor belongs to the step from the state before it: what is carried to the last step has none.
        state = given[:, 0] + carries[sequences]
        result[:, 0] = state
        scan(factor[:, :-1], given[:, 1:], state, result[:, 1:])
        carries[sequences] = factor[:, -1] * state
        _put(series, sequences, times, back, result)
    _clear_beyond(series, lengths)
    return _without_time(carries, v)


def _factor_gradients(
    h: np.ndarray, h0: np.ndarray | None, v: np.ndarray, reverse: bool, lengths: Lengths
) -> np.ndarray:
    """The gradients of the factors, one for each step: as a batch."""
    series, gradients = _batch(h), _batch(v)
    batch, time, _ = series.shape
    da = np.empty(series.shape, v.dtype)
    if not time:
        return da
    later, earlier = slice(1, None), slice(None, -1)
    to, previous = (earlier, later) if reverse else (later, earlier)
    np.conjugate(series[:, previous], out=da[:, to])
    sequences = np.arange(batch)
    first = (np.asarray(lengths, int) if lengths is not None else time) - 1 if reverse else 0
    da[sequences, first] = _states(h0, v).conj()
    da *= gradients
    _clear_beyond(da, lengths)
    return da


@quiet
def event_scan(a: Any, b: np.ndarray) -> np.ndarray:
    h = np.empty_like(b, subok=False)
    _scan(a, b, None, False, None, h)
    np.copyto(h, 0, where=b == 0)
    return h


@quiet
def qrnn(z: np.ndarray, f: np.ndarray, o: np.ndarray | None, c0: np.ndarray | None) -> GatedSeries:
    c = np.multiply(f, z, subok=False)
    final = _scan(1 - f, c, c0, False, None, c)
    return GatedSeries(c, c.copy() if o is None else o * c, final[()])


@quiet
def sru(x: np.ndarray, w: np.ndarray, b: np.ndarray, v: np.ndarray | None, c0: np.ndarray | None) -> GatedSeries:
    u, forget, reset = np.split(x @ w, 3, axis=-1)
    forget += b[0]
    reset += b[1]
    if v is None:
        _sigmoid(forget)
        c = np.subtract(1, forget)
        c *= u
        final = _scan(forget, c, c0, False, None, c)
        _sigmoid(reset)
    else:
        c = np.empty_like(x, subok=False)
        final = _with_peepholes(u, forget, reset, v, c0, c)
    return GatedSeries(c, reset * c + (1 - reset) * x, final)


def _sigmoid(x: np.ndarray) -> None:
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    np.reciprocal(x, out=x)


def _with_peepholes(
    u: np.ndarray, forget: np.ndarray, reset: np.ndarray, v: np.ndarray, c0: np.ndarray | None, c: np.ndarray
) -> np.ndarray:
    """Write the states to `c`, turn the inputs of the reset gate into the gate, and return the last states."""
    state = _without_time(_states(c0, c), c)
    gate = np.empty_like(state)
    for t in range(c.shape[-2]):
        np.multiply(v[0], state, out=gate)
        gate += forget[..., t, :]
        _sigmoid(gate)
        reset[..., t, :] += v[1] * state
        state = np.add(gate * state, (1 - gate) * u[..., t, :], out=c[..., t, :])
    _sigmoid(reset)
    return state.copy()


def lru(lam: Any, u: np.ndarray, h0: np.ndarray | None) -> np.ndarray:
    return linear_scan(lam, u, h0, False, None, False, None)
