"""Attention over chunks of queries and of keys: partial results with their weights, which can be merged in any order.

A part is packed as (sum of exp(score - top) v, top, sum of exp(score - top)) along the features; see M. Milakov and
N. Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867. Scores exist for tiles alone.
"""

from __future__ import annotations

import numpy as np

__all__ = ["KEYS", "averages", "merged", "partial"]

QUERIES, KEYS = 256, 1024  # a tile of scores stays in the second-level cache


def partial(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None, *, scale: float) -> np.ndarray:
    """What queries (..., n, d) get from these keys: (..., 1, n, e + 2)."""
    *batch, n, _ = q.shape
    m, e = v.shape[-2:]
    result = np.zeros((*batch, n, e + 2), q.dtype)
    result[..., e] = -np.inf
    if mask is not None:
        mask = np.broadcast_to(mask, (*batch, n, m))
    for place in np.ndindex(*batch) if m else ():
        for start in range(0, n, QUERIES):
            rows = slice(start, start + QUERIES)
            tiles = []
            for first in range(0, m, KEYS):
                keys = slice(first, first + KEYS)
                allowed = None if mask is None else mask[place][rows, keys]
                tiles.append(_tile(q[place][rows], k[place][keys], v[place][keys], allowed, scale))
            result[place][rows] = merged(np.stack(tiles), (0,), keepdims=False)
    return result[..., None, :, :]


def _tile(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, scale: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        scores = q @ k.T
        scores *= scale
        if mask is not None:
            scores[~mask] = -np.inf
        top = scores.max(axis=-1, keepdims=True)
        scores -= _finite(top)
        weights = np.exp(scores, out=scores)
        return np.concatenate([weights @ v, top, weights.sum(axis=-1, keepdims=True)], axis=-1)


def merged(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    with np.errstate(all="ignore"):
        tops = parts[..., -2:-1]
        top = tops.max(axis=axis, keepdims=True)
        total = (parts * np.exp(tops - _finite(top))).sum(axis=axis, keepdims=True)
        total[..., -2:-1] = top
        return total if keepdims else total.squeeze(axis)


def _finite(top: np.ndarray) -> np.ndarray:
    """What to subtract: 0 where no key is allowed."""
    return np.where(top == -np.inf, top.dtype.type(0), top)


def averages(total: np.ndarray) -> np.ndarray:
    """(..., n, e) from (..., n, e + 2); zeros for a query that may attend to no key."""
    values, top, weight = total[..., :-2], total[..., -2:-1], total[..., -1:]
    with np.errstate(all="ignore"):
        return values / np.where(top == -np.inf, weight.dtype.type(1), weight)
