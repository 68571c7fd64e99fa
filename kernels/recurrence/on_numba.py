"""Recurrences on Numba: one pass of compiled code in vectors of features or of steps, blocks on threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.recurrence import GatedSeries, ScanGradients, fused_gates, fused_gradient, fused_linear


def linear_scan(
    a: Any,
    b: np.ndarray,
    h0: np.ndarray | None,
    reverse: bool,
    lengths: tuple[int, ...] | None,
    return_final: bool,
    out: np.ndarray | None,
) -> Any:
    h, final = fused_linear.scan(a, b, h0, reverse, lengths, out)
    return (h, final) if return_final else h


def linear_scan_vjp(
    a: Any,
    h: np.ndarray,
    g: np.ndarray,
    h0: np.ndarray | None,
    g_final: np.ndarray | None,
    reverse: bool,
    lengths: tuple[int, ...] | None,
) -> ScanGradients:
    return fused_gradient.gradients(a, h, g, h0, g_final, reverse, lengths)


def event_scan(a: Any, b: np.ndarray) -> np.ndarray:
    return fused_linear.scan_at_events(a, b)


def qrnn(z: np.ndarray, f: np.ndarray, o: np.ndarray | None, c0: np.ndarray | None) -> GatedSeries:
    return fused_gates.pool(z, f, o, c0)


def sru(x: np.ndarray, w: np.ndarray, b: np.ndarray, v: np.ndarray | None, c0: np.ndarray | None) -> GatedSeries:
    return fused_gates.highway(x, w, b, v, c0)


def lru(lam: Any, u: np.ndarray, h0: np.ndarray | None) -> np.ndarray:
    return fused_linear.scan(lam, u, h0, False, None, None)[0]
