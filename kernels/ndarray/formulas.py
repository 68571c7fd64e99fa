"""Array operations as their formulas, in one text for every library of the Python array API standard.

Nothing is assigned into an array, no value decides what is computed next, and the shapes are known beforehand: that is
as good for lazy arrays, in any chunks, as for parts of an array that a backend goes through. NumPy may warn of an
infinity or NaN; it is the caller who knows where the computing happens, and silences it there.
"""

from __future__ import annotations

from math import inf, pi, prod
from typing import Any

from array_api_compat import array_namespace

from kernels.ndarray import BatchNorm
from kernels.ndarray.angles import normaliser

__all__ = [
    "angle_pdf",
    "batch_norm",
    "capsule_routing",
    "logsumexp",
    "seq2seq_mask",
    "softmax",
]

STEEP = 64  # from this power of a sine on its rounding errors, multiplied by the power, would show


def softmax(x: Any, axis: int) -> Any:
    xp = array_namespace(x)
    if x.shape[axis] == 0:
        return xp.zeros_like(x)
    weights = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return weights / xp.sum(weights, axis=axis, keepdims=True)


def logsumexp(x: Any, axis: int) -> Any:
    xp = array_namespace(x)
    if x.shape[axis] == 0:
        return xp.sum(x, axis=axis) - inf
    top = xp.max(x, axis=axis, keepdims=True)
    shift = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    return xp.log(xp.sum(xp.exp(x - shift), axis=axis)) + xp.squeeze(shift, axis=axis)


def batch_norm(x: Any, gamma: Any, beta: Any, axes: tuple[int, ...], eps: float) -> BatchNorm:
    xp = array_namespace(x)
    shape = tuple(1 if axis in axes else length for axis, length in enumerate(x.shape))
    n = prod(x.shape[axis] for axis in axes) or float("nan")
    mean = xp.sum(x, axis=axes, keepdims=True) / n
    centred = x - mean
    var = xp.sum(centred * centred, axis=axes, keepdims=True) / n
    y = xp.reshape(gamma, shape) * centred / xp.sqrt(var + eps) + xp.reshape(beta, shape)
    return BatchNorm(y, xp.reshape(mean, gamma.shape), xp.reshape(var, gamma.shape))


def seq2seq_mask(rows: Any, columns: Any, n_source: int) -> Any:
    """Where rows may attend to columns: two arrays of positions that broadcast to the mask."""
    return (columns < n_source) | (columns <= rows)


def capsule_routing(votes: Any, iterations: int) -> Any:
    xp = array_namespace(votes)
    votes = xp.moveaxis(votes, -3, -2)  # (..., n_out, n_in, d): sums over n_in and over d are products of matrices
    logits = xp.zeros((*votes.shape[:-1], 1), dtype=votes.dtype)
    outputs = _squash(xp, xp.sum(votes, axis=-2, keepdims=True) / max(votes.shape[-3], 1))
    for _ in range(iterations - 1):
        logits = logits + votes @ xp.matrix_transpose(outputs)
        shares = softmax(logits, logits.ndim - 3)
        outputs = _squash(xp, xp.matrix_transpose(shares) @ votes)
    return outputs[..., 0, :]


def _squash(xp: Any, s: Any) -> Any:
    squares = xp.sum(s * s, axis=-1, keepdims=True)
    return s * (xp.sqrt(squares) / (1 + squares))


def angle_pdf(theta: Any, dim: int) -> Any:
    xp = array_namespace(theta)
    # The greatest number up to pi of the dtype: what pi is rounded to in single precision lies beyond it.
    outside = (theta < 0) | (theta > (pi if theta.dtype == xp.float64 else 3.1415925))
    if dim == 2:
        density = normaliser(dim) + 0 * theta
    elif dim - 2 < STEEP:
        density = normaliser(dim) * xp.sin(theta) ** (dim - 2)
    else:
        density = normaliser(dim) * xp.exp((dim - 2) / 2 * xp.log1p(-(xp.cos(theta) ** 2)))
    return xp.where(outside, 0.0, density)
