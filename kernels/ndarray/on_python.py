"""Array operations in pure Python: plain loops over flat lists of floats, which PyPy compiles well.

What is summed along axes is summed in one loop over all items, each of which knows its group: inner loops along an axis
would be too short to be fast.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import atan2, cos, exp, expm1, inf, isfinite, isnan, log, log1p, nan, pi, prod, sin, sqrt
from typing import Any

from kernels.ndarray import BatchNorm
from kernels.ndarray.angles import normaliser
from kernels.ndarray.python_hsic import hsic
from kernels.nested import flat, nested, shape
from kernels.philox import MASK, uniforms
from kernels.python_philox import philox4x32
from kernels.python_products import matmul

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

BLOCK = 512  # rows at a time: their columns stay in the first-level cache


def log_gram(x: Any) -> list[Any]:
    n, d = shape(x)
    y = [[0.0] * d for _ in range(d)]
    for start in range(0, n, BLOCK):
        values = _floats(x[start : start + BLOCK])
        logs = [_log_plus_1(value) for value in values]
        columns = [values[j::d] for j in range(d)]
        part = matmul(columns, [logs[at : at + d] for at in range(0, len(logs), d or 1)], d)
        for i in range(d):
            y[i] = [total + more for total, more in zip(y[i], part[i], strict=True)]
    means = [sum([row[j] for row in y]) / d for j in range(d)]
    return nested([row[j] - means[j] for row in y for j in range(d)], (d, d))


def _log_plus_1(value: float) -> float:
    if value > 0:
        return log(value) + 1
    return 0.0 if value == 0 else nan


def softmax(x: Any, axis: int) -> list[Any]:
    items, lengths = _floats(x), shape(x)
    kept, group = _groups(lengths, (axis,))
    tops = _tops(items, group, prod(kept))
    totals = [0.0] * len(tops)
    for i in range(len(items)):
        # Where the greatest is infinite or NaN, the difference from it is NaN, and so is all that follows.
        weight = exp(items[i] - tops[group[i]])
        items[i] = weight
        totals[group[i]] += weight
    return nested([items[i] / totals[group[i]] for i in range(len(items))], lengths)


def logsumexp(x: Any, axis: int) -> Any:
    items, lengths = _floats(x), shape(x)
    kept, group = _groups(lengths, (axis,))
    tops = _tops(items, group, prod(kept))
    totals = [0.0] * len(tops)
    for i in range(len(items)):
        totals[group[i]] += exp(items[i] - tops[group[i]])
    sums = [top + log(total) if isfinite(top) else top for top, total in zip(tops, totals, strict=True)]
    return nested(sums, kept) if kept else sums[0]


def _tops(items: list[float], group: list[int], n_groups: int) -> list[float]:
    """The greatest of each group; NaN if there is one in it."""
    tops = [-inf] * n_groups
    for i in range(len(items)):
        if items[i] > tops[group[i]] or items[i] != items[i]:
            tops[group[i]] = items[i]
    return tops


def batch_norm(x: Any, gamma: Any, beta: Any, axes: tuple[int, ...], eps: float) -> BatchNorm:
    items, lengths = _floats(x), shape(x)
    kept, group = _groups(lengths, axes)
    size = prod(lengths[axis] for axis in axes)
    means = _means(items, group, prod(kept), size)
    centred = [items[i] - means[group[i]] for i in range(len(items))]
    # What is left of the mean when it was rounded.
    rests = _means(centred, group, prod(kept), size)
    means = [mean + rest if isfinite(rest) else mean for mean, rest in zip(means, rests, strict=True)]
    centred = [items[i] - means[group[i]] for i in range(len(items))]
    variances = _means([difference * difference for difference in centred], group, prod(kept), size)
    factors = [
        scale / sqrt(variance + eps) if variance + eps else scale * inf
        for scale, variance in zip(_floats(gamma), variances, strict=True)
    ]
    offsets = _floats(beta)
    y = [factors[group[i]] * centred[i] + offsets[group[i]] for i in range(len(items))]
    return BatchNorm(nested(y, lengths), nested(means, kept), nested(variances, kept))


def _means(items: list[float], group: list[int], n_groups: int, size: int) -> list[float]:
    totals = [0.0] * n_groups
    for i in range(len(items)):
        totals[group[i]] += items[i]
    return [total / size for total in totals] if size else [nan] * n_groups


def causal_conv1d(x: Any, w: Any, bias: Any, dilation: int, state: Any) -> list[Any]:
    lengths = shape(x)
    batch, time, n_in = (1, *lengths, 1) if len(lengths) == 1 else (1, *lengths)[-3:]
    width, _, n_out = shape(w)
    taps = _rows(w, width * n_in, n_out)
    series = _rows(x, batch * time, n_in)
    reach = (width - 1) * dilation if state is not None else 0
    past = _rows(state, batch * reach, n_in) if state is not None else []
    y: list[Any] = []
    for item in range(batch):
        steps = past[item * reach : (item + 1) * reach] + series[item * time : (item + 1) * time]
        for t in range(reach, reach + time):
            known = min(width, t // dilation + 1)  # taps that look at no time before the first
            row: list[Any] = []
            for back in range(known - 1, -1, -1):
                row += steps[t - back * dilation]
            y += matmul([row], taps[(width - known) * n_in :], n_out)[0]
    if bias is not None:
        offsets = _numbers(bias)
        y = [y[i] + offsets[i % n_out] for i in range(len(y))]
    return nested(y, lengths if len(lengths) == 1 else (*lengths[:-1], n_out))


def attention(q: Any, k: Any, v: Any, mask: Any, scale: float) -> list[Any]:
    *batch, n, d = shape(q)
    *_, m, e = shape(v)
    queries, keys, values = _floats(q), _floats(k), _floats(v)
    allowed = _broadcast(mask, (*batch, n, m)) if mask is not None else None
    y: list[float] = []
    for head in range(prod(batch)):
        head_keys = keys[head * m * d : (head + 1) * m * d]
        features = [head_keys[j::d] for j in range(d)]
        head_values = [values[j * e : (j + 1) * e] for j in range(head * m, (head + 1) * m)]
        for i in range(head * n, (head + 1) * n):
            query = [scale * feature for feature in queries[i * d : (i + 1) * d]]
            scores = matmul([query], features, m)[0]
            if allowed is not None:
                at = i * m
                scores = [scores[j] if allowed[at + j] else -inf for j in range(m)]
            weights = _softmax(scores) if scores.count(-inf) < m else [0.0] * m
            y += matmul([weights], head_values, e)[0]
    return nested(y, (*batch, n, e))


def _softmax(row: list[float]) -> list[float]:
    top = max(row, default=0.0)
    weights = [exp(value - top) for value in row]
    total = sum(weights)
    return [weight / total for weight in weights]


def _broadcast(mask: Any, lengths: Sequence[int]) -> list[bool]:
    """The items of the mask, repeated along the axes that it lacks or has one item of."""
    given = (1,) * (len(lengths) - len(shape(mask))) + shape(mask)
    steps = [prod(given[axis + 1 :]) if given[axis] > 1 else 0 for axis in range(len(given))]
    items = flat(mask)
    return [items[place] for place in _places(lengths, steps)]


def seq2seq_mask(n_source: int, n_target: int) -> list[Any]:
    size = n_source + n_target
    rows = [[True] * max(i + 1, n_source) + [False] * min(size - i - 1, n_target) for i in range(size)]
    return rows or nested([], (0, 0))


def capsule_routing(votes: Any, iterations: int) -> list[Any]:
    *batch, n_in, n_out, d = shape(votes)
    items, size = _floats(votes), n_in * n_out * d
    y: list[float] = []
    for start in range(0, prod(batch) * size, size) if size else ():
        y += _route(items[start : start + size], n_in, n_out, d, iterations)
    return nested(y or [0.0] * (prod(batch) * n_out * d), (*batch, n_out, d))


def _route(votes: list[float], n_in: int, n_out: int, d: int, iterations: int) -> list[float]:
    logits = [[0.0] * n_out for _ in range(n_in)]
    capsules: list[float] = []
    for iteration in range(iterations):
        if iteration:
            for i in range(n_in):
                row, at = logits[i], i * n_out * d
                for j in range(n_out):
                    agreement = 0.0
                    for k in range(j * d, (j + 1) * d):
                        agreement += votes[at + k] * capsules[k]
                    row[j] += agreement
        capsules = [0.0] * (n_out * d)
        for i in range(n_in):
            shares, at = _softmax(logits[i]), i * n_out * d
            for j in range(n_out):
                share = shares[j]
                for k in range(j * d, (j + 1) * d):
                    capsules[k] += share * votes[at + k]
        for j in range(0, n_out * d, d):
            capsules[j : j + d] = _squash(capsules[j : j + d])
    return capsules


def _squash(s: list[float]) -> list[float]:
    square = sum([value * value for value in s])
    factor = sqrt(square) / (1 + square)
    return [factor * value for value in s]


def random_angles(dim: int, size: int, key: int) -> array[float]:
    k0, k1, nu = key & MASK, key >> 32, dim - 1
    angles = array("d", bytes(8 * size))
    for i in range(size):
        u1, u2 = uniforms(*philox4x32(i & MASK, i >> 32, 0, 0, k0, k1))
        angles[i] = atan2(1.0, sqrt(expm1(-2 / nu * log(u1))) * cos(2 * pi * u2))
    return angles


def angle_pdf(theta: Any, dim: int) -> Any:
    factor = normaliser(dim)
    if isinstance(theta, (int, float)):
        return factor * _sine_power(float(theta), dim - 2)
    return nested([factor * _sine_power(angle, dim - 2) for angle in _floats(theta)], shape(theta))


def _sine_power(angle: float, power: int) -> float:
    """sin(angle) ** power from 0 to pi, without the loss of a digit for each digit of the power."""
    if not 0 <= angle <= pi:
        return nan if isnan(angle) else 0.0
    if power < 64:
        return sin(angle) ** power
    cosine = cos(angle)
    return exp(power / 2 * log1p(-cosine * cosine)) if abs(cosine) < 1 else 0.0


def _groups(lengths: Sequence[int], axes: Sequence[int]) -> tuple[list[int], list[int]]:
    """The lengths of the other axes, and for each item the position of its group in an array of those lengths."""
    kept = [axis for axis in range(len(lengths)) if axis not in axes]
    steps = [
        prod(lengths[other] for other in kept if other > axis) if axis in kept else 0 for axis in range(len(lengths))
    ]
    return [lengths[axis] for axis in kept], _places(lengths, steps)


def _places(lengths: Sequence[int], steps: Sequence[int]) -> list[int]:
    """For each item of an array its place in another one, where a step along each axis leads so much further."""
    places = [0] * prod(lengths)
    for axis, (length, step) in enumerate(zip(lengths, steps, strict=True)):
        if step:
            after = prod(lengths[axis + 1 :])
            for i in range(len(places)):
                places[i] += i // after % length * step
    return places


def _floats(x: Any) -> list[float]:
    return list(map(float, flat(x)))


def _numbers(x: Any) -> list[Any]:
    """As `_floats`, with complex numbers where there is one."""
    items = flat(x)
    return [complex(value) if isinstance(value, complex) else float(value) for value in items]


def _rows(x: Any, n_rows: int, width: int) -> list[list[Any]]:
    items = _numbers(x)
    return [items[i * width : (i + 1) * width] for i in range(n_rows)]
