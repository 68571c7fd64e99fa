"""Each function as its formula, in NumPy and double precision, with a bound for the rounding errors of any other form.

A function returns (expected, scale): a right result in a dtype of unit roundoff u differs from `expected` by no more
than u times `scale`, but for a small factor. `scale` is the formula with absolute values, which is how far rounding the
terms can move the result, times the number of terms (Higham, Accuracy and Stability of Numerical Algorithms, section
3.1).
"""

from __future__ import annotations

import math

import numpy as np


def log_gram(x):
    x = x.astype(float)
    logs = np.where(x == 0, 0, np.log(np.where(x == 0, 1, x)) + 1)
    y = x.T @ logs
    scale = (len(x) + 4) * np.abs(x).T @ (np.abs(logs) + 1)
    if x.shape[1] == 0:
        return y, scale
    return y - y.mean(axis=0), scale + (x.shape[1] + 2) * scale.mean(axis=0)


def _tiny(x):
    """Where the numbers of a dtype begin to be further apart than its roundoff, in units of that."""
    kind = np.finfo(x.dtype if x.dtype.kind == "f" else "float64")
    return float(kind.tiny) / float(kind.eps)


def _shifted(x, axis):
    x = x.astype(float)
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return x - np.where(np.isinf(top), 0, top), top


def softmax(x, axis):
    shifted, _ = _shifted(x, axis)
    weights = np.exp(shifted)
    total = np.sum(weights, axis=axis, keepdims=True)
    broken = np.isinf(x).any(axis=axis, keepdims=True) & ((x == np.inf).any(axis=axis, keepdims=True) | (total == 0))
    expected = np.where(broken, np.nan, weights / total)
    finite = np.where(np.isfinite(shifted), np.abs(shifted), 0)
    return expected, expected * (x.shape[axis] + 4 + finite) + _tiny(x)


def logsumexp(x, axis):
    shifted, top = _shifted(x, axis)
    expected = np.log(np.sum(np.exp(shifted), axis=axis)) + np.where(np.isinf(top), 0, top).squeeze(axis)
    return expected, x.shape[axis] + 4 + 3 * np.abs(expected) + np.abs(top).squeeze(axis)


def batch_norm(x, gamma, beta, *, axis=0, eps=1e-5):
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    kept = [place for place in range(x.ndim) if place not in {each % x.ndim for each in axes}]
    x = x.astype(float)
    shape = [x.shape[place] if place in kept else 1 for place in range(x.ndim)]
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    deviation = np.sqrt(var + eps).reshape(shape)
    centred = (x - mean.reshape(shape)) / deviation
    gamma, beta = gamma.astype(float).reshape(shape), beta.astype(float).reshape(shape)
    terms = x.size / max(math.prod(shape), 1) + 8
    size = np.abs(x).mean(axis=axes)
    moved = terms * size.reshape(shape) / deviation
    scales = (
        np.abs(gamma) * (np.abs(centred) * (moved + terms + 8) + moved + np.abs(x) / deviation) + np.abs(beta) * 4,
        terms * size,
        terms * (var + np.sqrt(var) * size * 4),
    )
    return (gamma * centred + beta, mean, var), scales


def causal_conv1d(x, w, bias=None, *, dilation=1, state=None):
    def convolve(x, w, bias, state):
        series = x if x.ndim == 3 else x[None] if x.ndim == 2 else x[None, :, None]
        batch, time, features = series.shape
        reach = (len(w) - 1) * dilation
        past = np.zeros((batch, reach, features), x.dtype) if state is None else state.reshape(batch, reach, features)
        whole = np.concatenate([past, series], axis=1)
        y = sum(whole[:, k * dilation : k * dilation + time] @ tap for k, tap in enumerate(w))
        return (y if bias is None else y + bias).reshape(*x.shape[: max(x.ndim - 1, 1)], *w.shape[2:][: x.ndim > 1])

    double = complex if x.dtype.kind == "c" else float
    x, w = x.astype(double), w.astype(double)
    sizes = [array if array is None else np.abs(array) for array in (x, w, bias, state)]
    return convolve(x, w, bias, state), (w.shape[0] * w.shape[1] + 4) * convolve(*sizes)


def attention(q, k, v, mask=None, *, scale=None):
    q, k, v = q.astype(float), k.astype(float), v.astype(float)
    scale = (q.shape[-1] or 1) ** -0.5 if scale is None else scale
    scores = scale * q @ np.swapaxes(k, -1, -2)
    reach = scale * np.abs(q) @ np.swapaxes(np.abs(k), -1, -2) * (q.shape[-1] + 4)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
        reach = np.where(mask, reach, 0)
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(top == -np.inf, 0, top))
    total = weights.sum(axis=-1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    error = 2 * np.max(reach, axis=-1, keepdims=True, initial=0) + 2 * k.shape[-2] + 8
    return weights @ v, weights @ np.abs(v) * error


def seq2seq_mask(n_source, n_target):
    n = n_source + n_target
    allowed = np.tril(np.ones((n, n), bool))
    allowed[:, :n_source] = True
    return allowed


def hsic(x, y, *, sigma_x=None, sigma_y=None):
    def kernel(x, sigma):
        rows = x.reshape(len(x), -1).astype(float)
        distances = np.sqrt(((rows[:, None] - rows) ** 2).sum(axis=-1))
        if sigma is None:
            sigma = np.median(distances[np.triu_indices(len(x), 1)])
        return np.exp(-((distances / sigma) ** 2) / 2) if sigma > 0 else np.where(distances == 0, 1.0, 0.0)

    n = len(x)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.nan, 0.0
    of_x, of_y, h = kernel(x, sigma_x), kernel(y, sigma_y), np.eye(n) - 1 / n
    return np.trace(of_x @ h @ of_y @ h) / (n - 1) ** 2, 64 * (of_x * of_y).sum() / (n - 1) ** 2 + 64


def capsule_routing(votes, iterations=3):
    votes = votes.astype(float)
    logits = np.zeros(votes.shape[:-1])
    for _ in range(iterations):
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-1e300))
        shares /= shares.sum(axis=-1, keepdims=True)
        sums = np.einsum("...ij,...ijd->...jd", shares, votes)
        squares = (sums**2).sum(axis=-1, keepdims=True)
        outputs = sums * np.sqrt(squares) / (1 + squares)
        logits = logits + np.einsum("...ijd,...jd->...ij", votes, outputs)
    sizes = np.abs(votes).sum(axis=(-1, -3), keepdims=True)[..., 0, :, :]
    spread = (1 + np.abs(votes).max(initial=0)) ** (2 * iterations - 2)
    return outputs, (votes.shape[-3] + votes.shape[-1] + 8) * iterations * spread * (1 + sizes) + 0 * outputs


def angle_pdf(theta, dim):
    tiny, theta = _tiny(theta), theta.astype(float)
    factor = math.exp(math.lgamma(dim / 2) - math.lgamma((dim - 1) / 2)) / math.sqrt(math.pi)
    inside = (theta >= 0) & (theta <= np.pi)
    density = factor * np.sin(np.where(inside, theta, 1)) ** (dim - 2)
    return np.where(np.isnan(theta), np.nan, np.where(inside, density, 0)), (dim + 16) * density + tiny
