"""Causal convolution as products of matrices (K. Chellapilla, S. Puri and P. Simard, IWFHR 2006), block by block.

What the taps meet of a block of rows is copied side by side into a buffer that stays in cache, so that one product with
the stacked taps gives the block's outputs and nothing of the size of the input is stored.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.blas import UNPACKED, one_thread, operand
from kernels.jit import jit, n_threads, parts_of, thread_map

__all__ = ["causal_conv1d"]

PACKED_ROWS = 256  # beyond UNPACKED: enough that the packing of the taps does not count
BUFFER = 2**19  # bytes: half of a usual L2
FILTER_ROWS = 4096  # two blocks of them lie in L1
WORTH_A_PIECE = 2 * 10**6  # multiplications that take longer than handing them to a thread


def causal_conv1d(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, dilation: int, state: np.ndarray | None
) -> np.ndarray:
    width, n_in, n_out = w.shape
    *lead, time, _ = shape = x.shape if x.ndim > 1 else (len(x), 1)
    batch = math.prod(lead)
    out = np.empty((*shape[:-1], n_out), x.dtype)
    if out.size:
        past = np.empty((batch, 0, n_in), x.dtype)
        if state is not None:
            past = state.reshape(batch, (width - 1) * dilation, n_in)
        if not past.shape[1]:
            dilation = min(dilation, time)  # farther taps meet nothing either
        series, past, w = operand(x.reshape(batch, time, n_in)), operand(past), operand(w)
        bias = operand(np.empty(0, x.dtype) if bias is None else bias)
        _run(series, past, w, bias, dilation, out.reshape(batch, time, n_out))
    return out.reshape(x.shape) if x.ndim == 1 else out


def _run(x: np.ndarray, past: np.ndarray, w: np.ndarray, bias: np.ndarray, dilation: int, out: np.ndarray) -> None:
    width, n_in, n_out = w.shape
    rows = out.shape[0] * out.shape[1]
    parts = min(4 * n_threads(), 1 + rows * w.size // WORTH_A_PIECE)
    pieces = parts_of(rows, parts)
    block = UNPACKED // max(w.size, 1)
    if block < 32:
        block = PACKED_ROWS
    block = max(16, min(block, BUFFER // max(width * n_in * x.itemsize, 1)) // 16 * 16)
    finite = bool(np.isfinite(w).all())

    def convolve(piece: tuple[int, int]) -> None:
        with one_thread():
            _convolve(x, past, w, bias, dilation, finite, block, *piece, out)

    def filtered(piece: tuple[int, int]) -> None:
        _filter(x, past, w, bias, dilation, *piece, out)

    thread_map(filtered if n_in == n_out == 1 else convolve, pieces)


@jit
def _convolve(
    x: np.ndarray,
    past: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    dilation: int,
    finite: bool,
    block: int,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """Outputs `start` to `stop` of all rows of the batch, counted through."""
    time = x.shape[1]
    width, n_in, n_out = w.shape
    taps = w.reshape(width * n_in, n_out)
    rows = out.reshape(-1, n_out)
    buffer = np.empty((block, width * n_in), x.dtype)
    reach = (width - 1) * dilation
    for first in range(start, stop, block):
        last = min(first + block, stop)
        series, now = divmod(first, time)
        for row in range(last - first):
            for tap in range(width):
                then = now - reach + tap * dilation
                if then >= 0:
                    for i in range(n_in):
                        buffer[row, tap * n_in + i] = x[series, then, i]
                elif past.shape[1] > 0:
                    for i in range(n_in):
                        buffer[row, tap * n_in + i] = past[series, past.shape[1] + then, i]
                else:
                    buffer[row, tap * n_in : (tap + 1) * n_in] = 0
            now += 1
            if now == time:
                series, now = series + 1, 0
        product = rows[first:last]
        np.dot(buffer[: last - first], taps, product)
        if not finite and past.shape[1] == 0:  # 0 * inf would be NaN: the taps that meet nothing are left out
            for row in range(last - first):
                missing = (reach - (first + row) % time + dilation - 1) // dilation
                if missing > 0:
                    np.dot(buffer[row, missing * n_in :], taps[missing * n_in :], product[row])
        if bias.size > 0:
            for row in range(last - first):
                for i in range(n_out):
                    product[row, i] += bias[i]


@jit
def _filter(
    x: np.ndarray,
    past: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    dilation: int,
    start: int,
    stop: int,
    out: np.ndarray,
) -> None:
    """The same for one feature in and out, where a product of matrices would be all copying."""
    time = x.shape[1]
    width = len(w)
    first = start
    while first < stop:
        series, now = divmod(first, time)
        length = min(FILTER_ROWS, stop - first, time - now)
        y = out[series, now : now + length, 0]
        y[:] = bias[0] if bias.size > 0 else 0
        for tap in range(width):
            back = (width - 1 - tap) * dilation
            factor = w[tap, 0, 0]
            met = min(max(back - now, 0), length)  # from there on the tap meets x
            if past.shape[1] > 0:
                for i in range(met):
                    y[i] += factor * past[series, past.shape[1] + now + i - back, 0]
            for i in range(met, length):
                y[i] += factor * x[series, now + i - back, 0]
        first += length
