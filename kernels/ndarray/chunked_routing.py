"""Routing by agreement where the votes for a sample are in several chunks: sums over chunks of inputs, in trees.

The logits need not be stored: after each round they are the votes times the sum of the outputs until then.
"""

from __future__ import annotations

import dask.array as da
import numpy as np

from kernels.dask_arrays import blocks, tree, whole

__all__ = ["routed"]


def routed(votes: da.Array, iterations: int) -> da.Array:
    """The votes of an input for all outputs, which the result must fit into memory with, are in one chunk."""
    votes = whole(votes, votes.ndim - 2, votes.ndim - 1)
    places = tuple(range(votes.ndim))
    *batch, n_in, n_out, d = places
    agreed: tuple[da.Array, ...] = ()
    for _ in range(iterations):
        known = (sum(agreed[1:], agreed[0]), (*batch, n_out, d)) if agreed else ()
        parts = blocks(_weighted, places, votes, places, *known, adjust_chunks={n_in: lambda size: 1})
        agreed += (tree(parts, _squashed, n_in, keepdims=False),)
    return agreed[-1]


def _weighted(votes: np.ndarray, agreed: np.ndarray | None = None) -> np.ndarray:
    """The sum over these inputs (..., 1, n_out, d) of their votes, each in proportion to its share."""
    with np.errstate(all="ignore"):
        if agreed is None:
            return votes.sum(axis=-3, keepdims=True) / max(votes.shape[-2], 1)
        shares = np.einsum("...ijd,...jd->...ij", votes, agreed)
        shares -= shares.max(axis=-1, keepdims=True, initial=-np.inf)
        np.exp(shares, out=shares)
        shares /= shares.sum(axis=-1, keepdims=True)
        return np.einsum("...ij,...ijd->...jd", shares, votes)[..., None, :, :]


def _squashed(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The sum, and at the tree's root, which has no use for the axis any more, the output capsules."""
    with np.errstate(all="ignore"):
        s = parts.sum(axis=axis, keepdims=keepdims)
        if keepdims:
            return s
        squares = (s * s).sum(axis=-1, keepdims=True)
        return s * (np.sqrt(squares) / (1 + squares))
