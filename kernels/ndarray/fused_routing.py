"""Capsule routing that goes through the votes once a round, while a few rows of them are in the cache.

The logits of a round are the products of the votes with the sum of the capsules of all rounds before, so that they need
not be kept: agreement, softmax and the weighted sum of a tile of votes follow each other.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from kernels.jit import jit, n_threads, thread_map
from kernels.ndarray.lanes import LANES, add_product, load, splat, store, totals
from kernels.vector_math import exp

__all__ = ["capsule_routing"]

TILE = 1 << 15  # bytes of votes
THREADED = 1 << 20  # items of votes from which a thread saves more than it costs


def capsule_routing(votes: np.ndarray, iterations: int) -> np.ndarray:
    *batch, n_in, n_out, d = votes.shape
    capsules = np.zeros((*batch, n_out, d), votes.dtype)
    if votes.size:
        flat, results = np.ascontiguousarray(votes).reshape(-1, n_in * n_out * d), capsules.reshape(-1, n_out, d)
        parts = n_threads() if votes.size >= THREADED else 1
        bounds = pairwise(len(flat) * part // parts for part in range(parts + 1))
        thread_map(partial(_route, flat, iterations, results), bounds)
    return capsules


@jit
def _route(votes: np.ndarray, iterations: int, capsules: np.ndarray, part: tuple[int, int]) -> None:
    """Route one batch element after the other."""
    _, n_out, d = capsules.shape
    row = n_out * d
    tile = max(4, TILE // (row * votes.itemsize) // 4 * 4)
    tiles = -(-votes.shape[1] // (tile * row))
    weights = np.empty((n_out, tile), votes.dtype)
    aim = np.empty(row, votes.dtype)
    for element in range(part[0], part[1]):
        capsule = capsules[element].reshape(-1)
        for iteration in range(iterations):
            if iteration == 0:
                aim[:] = 0
                weights[:] = 1 / n_out
            else:
                aim += capsule
            capsule[:] = 0
            for step in range(tiles):
                # To and fro, so that a round begins with what the one before it has left in the cache.
                start = (step if iteration % 2 == 0 else tiles - 1 - step) * tile * row
                rows = votes[element, start : start + tile * row]
                if iteration > 0:
                    _agree(rows, aim, d, weights)
                    _softmax(weights)
                _add_weighted(rows, weights, d, capsule)
            _squash(capsules[element])


@jit
def _agree(rows: np.ndarray, aim: np.ndarray, d: int, logits: np.ndarray) -> None:
    """The logits of each row, four rows at a time; rows beyond the last are the last again."""
    row = len(aim)
    last = len(rows) - row
    zero = load(aim, 0, 0)
    logits[:] = 0
    for j in range(len(logits)):
        for f in range(0, d, LANES):
            at, count = j * d + f, d - f
            towards = load(aim, at, count)
            for i in range(0, -(-len(rows) // row), 4):
                first = i * row
                p = load(rows, min(first, last) + at, count)
                q = load(rows, min(first + row, last) + at, count)
                r = load(rows, min(first + 2 * row, last) + at, count)
                s = load(rows, min(first + 3 * row, last) + at, count)
                p_sum, q_sum, r_sum, s_sum = totals(
                    add_product(zero, p, towards),
                    add_product(zero, q, towards),
                    add_product(zero, r, towards),
                    add_product(zero, s, towards),
                )
                logits[j, i] += p_sum
                logits[j, i + 1] += q_sum
                logits[j, i + 2] += r_sum
                logits[j, i + 3] += s_sum


@jit
def _softmax(logits: np.ndarray) -> None:
    """Over the first axis, in place."""
    n_out, width = logits.shape
    top, total = logits[0].copy(), np.zeros_like(logits[0])
    for j in range(1, n_out):
        for i in range(width):
            top[i] = max(top[i], logits[j, i])
    for j in range(n_out):
        for i in range(width):
            logits[j, i] = exp(logits[j, i] - top[i])
            total[i] += logits[j, i]
    for i in range(width):
        total[i] = logits.dtype.type(1) / total[i]
    for j in range(n_out):
        for i in range(width):
            logits[j, i] *= total[i]


@jit
def _add_weighted(rows: np.ndarray, weights: np.ndarray, d: int, sums: np.ndarray) -> None:
    """Add the rows times their weights; even and odd rows apart, so that one addition need not wait for the other."""
    row = len(sums)
    n_in = len(rows) // row
    one = splat(weights.dtype.type(1), load(sums, 0, 0))
    for j in range(len(weights)):
        for f in range(0, d, LANES):
            at, count = j * d + f, d - f
            even, odd = load(sums, at, count), load(sums, 0, 0)
            for i in range(0, n_in - 1, 2):
                even = add_product(even, splat(weights[j, i], even), load(rows, i * row + at, count))
                odd = add_product(odd, splat(weights[j, i + 1], odd), load(rows, (i + 1) * row + at, count))
            if n_in % 2:
                i = n_in - 1
                even = add_product(even, splat(weights[j, i], even), load(rows, i * row + at, count))
            store(add_product(even, one, odd), sums, at, count)


@jit
def _squash(sums: np.ndarray) -> None:
    """Shorten each vector s to s |s| / (1 + |s|²)."""
    for j in range(len(sums)):
        square = 0.0
        for f in range(sums.shape[1]):
            square += float(sums[j, f]) ** 2
        factor = np.sqrt(square) / (1 + square)
        for f in range(sums.shape[1]):
            sums[j, f] *= factor
