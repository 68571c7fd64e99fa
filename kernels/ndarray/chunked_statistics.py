"""What is known of a row from its parts: greatest item and sum of exponentials; number, mean and squared deviations.

The first are merged as in M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867;
the others as in T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance: analysis and
recommendations", The American Statistician 37 (1983). A part is packed along a new first axis, in double precision.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = [
    "exponentials",
    "mean_of",
    "merged_exponentials",
    "merged_moments",
    "moments",
    "normalised",
    "scaled",
    "variance_of",
]


def exponentials(x: np.ndarray, shares: np.ndarray, axis: int) -> np.ndarray:
    """(top, sum of exp(x - top)) of a chunk and its softmax, of which the greatest item is 1 / sum."""
    with np.errstate(all="ignore"):
        top, share = (array.max(axis=axis, keepdims=True, initial=-np.inf).astype(float) for array in (x, shares))
        return np.stack([top, np.where(top == -np.inf, 0, 1 / share)])


def merged_exponentials(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    with np.errstate(all="ignore"):
        tops, sums = parts
        top = np.max(tops, axis=axis[0] - 1, keepdims=True)
        return np.stack([top, (sums * np.exp(tops - _finite(top))).sum(axis=axis[0] - 1, keepdims=True)])


def scaled(shares: np.ndarray, part: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The softmax of a chunk times the chunk's share; that is the result where all of the chunk are -inf."""
    with np.errstate(all="ignore"):
        (top, sums), (total_top, total_sums) = part, total
        share = (sums * np.exp(top - _finite(total_top)) / total_sums).astype(shares.dtype)
        result = shares * share
        nothing = top == -np.inf
        return np.where(nothing, share, result) if nothing.any() else result


def _finite(top: np.ndarray) -> np.ndarray:
    """What to subtract: 0 where all are -inf. Where it is inf the differences are NaN, and so are all the shares."""
    return np.where(top == -np.inf, 0, top)


def moments(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """(number, mean, sum of squared deviations) of a chunk; the mean of nothing counts as 0."""
    with np.errstate(all="ignore"):
        number = math.prod(x.shape[axis] for axis in axes)
        mean = x.sum(axis=axes, keepdims=True, dtype=float) / max(number, 1)
        deviations = x - mean
        squares = np.multiply(deviations, deviations, out=deviations).sum(axis=axes, keepdims=True)
        return np.stack([np.full_like(mean, number), mean, squares])


def merged_moments(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    axes = tuple(place - 1 for place in axis)
    with np.errstate(all="ignore"):
        numbers, means, squares = parts
        number = numbers.sum(axis=axes, keepdims=True)
        mean = (means * (numbers / np.maximum(number, 1))).sum(axis=axes, keepdims=True)
        between = (numbers * (means - mean) ** 2).sum(axis=axes, keepdims=True)
        total = np.stack([number, mean, squares.sum(axis=axes, keepdims=True) + between])
        return total if keepdims else total.squeeze(axis)


def mean_of(total: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.where(total[0] > 0, total[1], np.nan).astype(dtype)


def variance_of(total: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(all="ignore"):
        return (total[2] / total[0]).astype(dtype)


def normalised(x: np.ndarray, *by_channel: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    """gamma * (x - mean) / sqrt(var + eps) + beta."""
    mean, var, gamma, beta = (np.expand_dims(array, axes) for array in by_channel)
    with np.errstate(all="ignore"):
        result = x - mean
        result *= gamma / np.sqrt(var + np.asarray(eps, x.dtype))
        return np.add(result, beta, out=result)
