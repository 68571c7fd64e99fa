"""Linear recurrences of pydata/sparse arrays, whose inputs are read where they are stored.

- event_scan: from event to event of each feature, the pauses by powers of its factor; sparse;
- linear_scan, lru: a dense result, written once, on which what is stored is added row by row;
- qrnn: the same, since an input that is not stored stays 0 behind any gate, for gates that are dense by nature;
- sru: products of what is stored with the weights, from which a dense scan goes on; with peepholes, a dense backend;
- linear_scan_vjp: states and gradients are dense by nature, and a dense backend's task.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import sparse

from kernels import recurrence
from kernels.dispatch import default_backend
from kernels.made_dense import dense
from kernels.recurrence import GatedSeries, ScanGradients
from kernels.recurrence.stored_events import StoredSeries, event_states, scan

__all__ = ["event_scan", "linear_scan", "linear_scan_vjp", "lru", "qrnn", "sru"]


@np.errstate(all="ignore")
def event_scan(a: Any, b: sparse.SparseArray) -> sparse.COO:
    if b.fill_value != 0:
        raise ValueError(f"b must have the fill value 0, for no event, not {b.fill_value}")
    b = b.asformat("coo")
    h = event_states(np.atleast_1d(_dense(a, b.dtype)), StoredSeries.of(b))
    return sparse.COO(b.coords, h, b.shape, has_duplicates=False, sorted=True, fill_value=b.fill_value)


def linear_scan(
    a: Any,
    b: sparse.SparseArray,
    h0: Any,
    reverse: bool,
    lengths: tuple[int, ...] | None,
    return_final: bool,
    out: None,
) -> Any:
    h, final = _scan(a, b, h0, reverse, lengths)
    return (h, final) if return_final else h


@np.errstate(all="ignore")
def _scan(
    a: Any, b: sparse.SparseArray, h0: Any, reverse: bool = False, lengths: tuple[int, ...] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """float16 is carried in float32."""
    dtype = np.result_type(b.dtype, np.float32)
    series = StoredSeries.of(b.astype(dtype))
    factors, (batch, _, features) = _dense(a, dtype), series.shape
    if b.ndim == 1:
        factors = factors.reshape(-1, 1)
    factors = factors.reshape((1,) * (3 - factors.ndim) + factors.shape)
    start = np.zeros((batch, features), dtype) if h0 is None else _dense(h0, dtype).reshape(batch, features)
    h, final = scan(factors, series, start, reverse, lengths)
    shape = b.shape[:-2] + b.shape[-1:] if b.ndim > 1 else ()
    return h.reshape(b.shape).astype(b.dtype, copy=False), final.reshape(shape).astype(b.dtype, copy=False)


def _dense(x: Any, dtype: Any = None) -> np.ndarray:
    """A sparse array or a number as NumPy's."""
    return np.asarray(dense(x) if isinstance(x, sparse.SparseArray) else x, dtype)


def linear_scan_vjp(
    a: Any, h: Any, g: Any, h0: Any, g_final: Any, reverse: bool, lengths: tuple[int, ...] | None
) -> ScanGradients:
    a, h, g, h0, g_final = (dense(x) if isinstance(x, sparse.SparseArray) else x for x in (a, h, g, h0, g_final))
    backend = default_backend(recurrence.linear_scan_vjp, a, h, g)
    return recurrence.linear_scan_vjp(a, h, g, h0, g_final=g_final, reverse=reverse, lengths=lengths, backend=backend)


def lru(lam: Any, u: sparse.SparseArray, h0: Any) -> np.ndarray:
    return _scan(lam, u, h0)[0]


@np.errstate(all="ignore")
def qrnn(z: sparse.SparseArray, f: sparse.SparseArray, o: sparse.SparseArray | None, c0: Any) -> GatedSeries:
    gates = dense(f)
    c, final = _scan(1 - gates, _gated(z.asformat("coo"), gates), c0)
    return GatedSeries(c, c if o is None else dense(o) * c, final)


def _gated(z: sparse.COO, gates: np.ndarray) -> sparse.COO:
    """The product with gates, of the same coordinates; of all if what is not stored is not 0."""
    if z.fill_value != 0:
        return sparse.COO.from_numpy(dense(z) * gates)
    values = z.data * gates[tuple(z.coords)]
    return sparse.COO(z.coords, values, z.shape, has_duplicates=False, sorted=True, fill_value=z.fill_value)


@np.errstate(all="ignore")
def sru(x: sparse.SparseArray, w: Any, b: Any, v: Any, c0: Any) -> GatedSeries:
    w, b, v, c0 = (None if each is None else dense(each) for each in (w, b, v, c0))
    x = x.asformat("coo")
    finite = np.isfinite(x.data).all() and np.isfinite(w).all()  # else what is not stored would meet an infinity
    if v is not None or x.fill_value != 0 or not finite:
        arguments = dense(x), w, b, v, c0
        return recurrence.sru(*arguments, backend=default_backend(recurrence.sru, *arguments))
    candidates, forget, reset = np.split(_product(x, w), 3, axis=-1)
    f, r = _sigmoid(forget + b[0]), _sigmoid(reset + b[1])
    inputs = (1 - f) * candidates
    backend = default_backend(recurrence.linear_scan, f, inputs)
    c, final = recurrence.linear_scan(f, inputs, c0, return_final=True, backend=backend)
    h, stored = r * c, tuple(x.coords)
    h[stored] += (1 - r[stored]) * x.data
    return GatedSeries(c, h, final)


def _product(x: sparse.COO, w: np.ndarray) -> np.ndarray:
    rows = x.reshape((prod(x.shape[:-1]), x.shape[-1]))
    return (rows @ w).reshape((*x.shape[:-1], w.shape[1]))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
