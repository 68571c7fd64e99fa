"""Array operations in NumPy, block by block where each ufunc would carry the whole through memory once more.

Attention takes its queries in blocks, whose scores stay in the cache; the convolution takes a product of matrices for
each tap; routing does so for the sums over capsules and for the agreements.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from kernels.ndarray import formulas
from kernels.ndarray.numpy_angles import angles_from
from kernels.ndarray.numpy_blocks import BLOCK, Part, blocks, cuts, slabs
from kernels.ndarray.numpy_hsic import hsic
from kernels.ndarray.numpy_norm import batch_norm

__all__ = [
    "angle_pdf",
    "attention",
    "batch_norm",
    "capsule_routing",
    "causal_conv1d",
    "hsic",
    "log_gram",
    "logsumexp",
    "random_angles",
    "seq2seq_mask",
    "softmax",
]

WHOLE = 1 << 22  # bytes: so much is in the last-level cache, where blocks gain nothing
SHORT = 32  # items of an inner loop whose start costs more than they do

quiet = np.errstate(all="ignore")


@quiet
def log_gram(x: np.ndarray) -> np.ndarray:
    n, d = x.shape
    rows = max(BLOCK // x.itemsize // max(d, 1), 512)
    y = np.zeros((d, d), x.dtype)
    block = np.empty((min(rows, n), d), x.dtype)
    for start in range(0, n, rows):
        part = x[start : start + rows]
        logs = np.log(part, out=block[: len(part)])
        logs += 1
        if not logs.min(initial=0) > -np.inf:
            logs[part == 0] = 0
        y += part.T @ logs
    return y - y.sum(axis=0) / d


@quiet
def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    short = _has_short_loops(x, axis)
    if x.nbytes <= (BLOCK // 16 if short else WHOLE):
        return formulas.softmax(x, axis)
    result = np.empty_like(x)
    for slab in slabs(x, axis):
        if short:
            result[slab] = np.moveaxis(formulas.softmax(_axis_first(x[slab], axis), 0), 0, axis)
        else:
            _softmax(x[slab], axis, result[slab])
    return result


def _softmax(x: np.ndarray, axis: int, result: np.ndarray) -> None:
    top = x.max(axis=axis, keepdims=True)
    total = np.zeros_like(top)
    parts = [(part, _across(part, axis)) for part in blocks(x)]
    for part, across in parts:
        weights = np.subtract(x[part], top[across], out=result[part])
        total[across] += np.exp(weights, out=weights).sum(axis=axis, keepdims=True)
    np.divide(1, total, out=total)
    for part, across in parts:
        result[part] *= total[across]


@quiet
def logsumexp(x: np.ndarray, axis: int) -> Any:
    short = _has_short_loops(x, axis)
    if x.nbytes <= (BLOCK // 16 if short else WHOLE):
        return formulas.logsumexp(x, axis)
    sums = np.empty((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
    for slab in slabs(x, axis):
        if short:
            result = formulas.logsumexp(_axis_first(x[slab], axis), 0)
            sums[_across(slab, axis)] = np.expand_dims(result, axis)
        else:
            _logsumexp(x[slab], axis, sums[_across(slab, axis)])
    return sums.squeeze(axis)[()]


def _logsumexp(x: np.ndarray, axis: int, result: np.ndarray) -> None:
    top = x.max(axis=axis, keepdims=True)
    top[~np.isfinite(top)] = 0
    result[...] = 0
    for part in blocks(x):
        across = _across(part, axis)
        weights = x[part] - top[across]
        result[across] += np.exp(weights, out=weights).sum(axis=axis, keepdims=True)
    np.log(result, out=result)
    result += top


def _has_short_loops(x: np.ndarray, axis: int) -> bool:
    """Whether NumPy's inner loops would run over a few items alone: of the axis, or of those after it."""
    return (prod(x.shape[axis + 1 :]) if axis + 1 < x.ndim else x.shape[axis]) < SHORT


def _axis_first(x: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(x, axis, 0).copy()


def _across(part: Part, axis: int) -> Part:
    """The same part of an array that has one item along the axis."""
    return (*part[:axis], slice(None), *part[axis + 1 :])


@quiet
def causal_conv1d(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, dilation: int, state: np.ndarray | None
) -> np.ndarray:
    if x.ndim < 3:
        past = None if state is None else state.reshape(1, len(state), w.shape[1])
        y = causal_conv1d(x.reshape(1, len(x), w.shape[1]), w, bias, dilation, past)
        return y.reshape(y.shape[1:] if x.ndim == 2 else x.shape)
    (batch, time, n_in), (width, _, n_out) = x.shape, w.shape
    multiply: Any = np.multiply if n_in == 1 else np.matmul
    y = np.empty((batch, time, n_out), x.dtype)
    for series, times, _ in cuts((batch, time, max(n_in, n_out, 1)), (0, 1), BLOCK // x.itemsize):
        start, stop, _ = times.indices(time)
        result = multiply(x[series, times], w[-1], out=y[series, times])
        for back in range(1, width):
            delay, tap = back * dilation, w[width - 1 - back]
            if delay < stop:
                first = max(delay - start, 0)
                result[:, first:] += multiply(x[series, start + first - delay : stop - delay], tap)
            if state is not None and start < delay:
                until = min(delay, stop)
                skipped = state.shape[1] - delay
                result[:, : until - start] += multiply(state[series, skipped + start : skipped + until], tap)
        if bias is not None:
            result += bias
    return y


@quiet
def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, scale: float) -> np.ndarray:
    *batch, n, _ = q.shape
    m = k.shape[-2]
    y = np.zeros((*batch, n, v.shape[-1]), q.dtype)
    allowed = None if mask is None else np.broadcast_to(mask, (*batch, n, m))
    if not m:
        return y
    keys = np.swapaxes(k, -1, -2)
    for *heads, rows, _ in cuts((*batch, n, m), range(len(batch) + 1), max(2 * BLOCK // q.itemsize, 16 * m)):
        head, part = tuple(heads), (*heads, rows)
        scores = (scale * q[part]) @ keys[head]
        if allowed is not None:
            np.copyto(scores, -np.inf, where=~allowed[part])
        top = scores.max(axis=-1, keepdims=True)
        top[top == -np.inf] = 0
        scores -= top
        np.exp(scores, out=scores)
        total = scores.sum(axis=-1, keepdims=True)
        total[total == 0] = 1
        np.divide(scores @ v[head], total, out=y[part])
    return y


def seq2seq_mask(n_source: int, n_target: int) -> np.ndarray:
    at = np.arange(n_source + n_target, dtype=np.int32)
    return formulas.seq2seq_mask(at[:, None], at, n_source)


@quiet
def capsule_routing(votes: np.ndarray, iterations: int) -> np.ndarray:
    *batch, _, n_out, d = votes.shape
    outputs = np.empty((*batch, n_out, d), votes.dtype)
    for part in cuts(votes.shape, range(len(batch)), BLOCK // votes.itemsize):
        outputs[part[:-3]] = formulas.capsule_routing(votes[part], iterations)
    return outputs


def random_angles(dim: int, size: int, key: int) -> np.ndarray:
    return angles_from(0, dim, size, key)


@quiet
def angle_pdf(theta: np.ndarray, dim: int) -> Any:
    theta = np.asarray(theta)
    if theta.nbytes <= WHOLE:
        return formulas.angle_pdf(theta, dim)[()]
    density = np.empty_like(theta)
    for part in blocks(theta):
        density[part] = formulas.angle_pdf(theta[part], dim)
    return density
