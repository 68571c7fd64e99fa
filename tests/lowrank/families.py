"""Kinds of products that sampling is good or bad at, and the errors of samples of them without a single product.

A sample multiplies the term v_i by the factor f_i, and is off by the sum of ``(f_i - 1) v_i``: all that its error
depends on are the inner products of the terms. ``PYTHONPATH=.:tests python -m lowrank.families`` tells how the ranks
fare that `rtol` leads to.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from kernels.lowrank import SAMPLINGS
from kernels.lowrank import sampling as samplers
from lowrank.product_formulas import draw, grid, inner_products, norms, random, reweighted

RTOLS = (0.5, 0.2, 0.1, 0.05)
KEPT = 0.98  # the share of products that shall keep to rtol

Draw = Callable[[Any, int, str, int], Any]


def flat(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Terms of nearly one weight, and nearly orthogonal: a sample is worse than zeros."""
    return rng.normal(size=(n, n)), rng.normal(size=(n, n))


def falling(exponent: float) -> Callable[[int, np.random.Generator], tuple[Any, Any]]:
    """Terms in random directions, whose weights fall as a power of their number."""

    def family(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
        x, y = flat(n, rng)
        roots = np.arange(1, n + 1) ** (exponent / 2)
        return x / np.linalg.norm(x, axis=0) * roots, y / np.linalg.norm(y, axis=1)[:, None] * roots[:, None]

    return family


def positive(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Terms that all point nearly the same way."""
    return rng.random((n, n)), rng.random((n, n))


def tall_gram(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """``a.T @ a`` of few features that are not centred, the sizes of the rows being lognormal."""
    sizes = [math.exp(NormalDist().inv_cdf((i + 0.5) / n)) for i in range(n)]  # few of them would vary by far too much
    a = rng.normal(1.2, 1, size=(n, 64)) * np.array(sizes)[:, None]
    return a.T.copy(), a


FAMILIES = {
    "flat": flat,
    "i^-1/2": falling(-0.5),
    "1/i": falling(-1),
    "U[0, 1)": positive,
    "tall Gram": tall_gram,
}


class Terms:
    """The terms of a product ``x @ y`` by their inner products."""

    def __init__(self, x: Any, y: Any) -> None:
        self.inner = inner_products(x, y)
        self.weights = norms(x, 0) * norms(y, 1)
        self.grid = grid(x, y)
        self.squared_norm = float(self.inner.sum().real)

    def __len__(self) -> int:
        return len(self.weights)

    def errors(self, factors: Any) -> Any:
        """The relative Frobenius errors of samples, each given by its factors in a row."""
        off = np.atleast_2d(factors) - 1
        squares = np.einsum("ij,ij->i", off.conj() @ self.inner, off).real
        return np.sqrt(np.maximum(squares, 0) / self.squared_norm)

    def draws(self, rank: int, sampling: str, keys: Iterable[int], draw: Draw = draw) -> Any:
        factors = np.array([draw(self.grid, rank, sampling, key) for key in keys])
        if sampling == "topk_reweighted":
            drawn = np.flatnonzero(factors[0])  # the same for each key
            factors = factors.astype(self.inner.dtype)
            factors[:, drawn] = reweighted(self.inner, drawn)
        return factors

    def cosines(self, drawn: Any) -> Any:
        """The real inner products of terms of length 1."""
        return (self.inner[np.ix_(drawn, drawn)] / np.outer(self.weights[drawn], self.weights[drawn])).real

    def smallest_rank(self, rtol: float, sampling: str, keys: Iterable[int]) -> int:
        """The smallest rank that keeps to `rtol` often enough; l where none does but the exact product."""
        low, high = 0, len(self)
        while high - low > 1:
            rank = (low + high) // 2
            kept = np.mean(self.errors(self.draws(rank, sampling, keys)) <= rtol)
            low, high = (low, rank) if kept >= KEPT else (rank, high)
        return high


class Kept(NamedTuple):
    """How the ranks fare that a tolerance leads to: those of all keys, and the share of products that keep to it."""

    kept: float
    ranks: Any
    smallest: int

    @property
    def generous(self) -> float:
        """The share of keys with more than twice the smallest rank that does."""
        return float(np.mean(self.ranks > 2 * self.smallest))


def keep_to(terms: Terms, rtol: float, sampling: str, keys: Iterable[int]) -> Kept:
    """Choose a rank by the pilot of each key, and draw so many terms by the same key."""
    from kernels.lowrank.prediction import Prediction

    ranks, factors = [], []
    for key in keys:
        drawn = samplers.pilot(np, terms.grid, random(key))
        rank = Prediction(terms.grid, drawn, terms.cosines(drawn)).terms_needed(sampling, rtol)
        ranks.append(rank)
        factors.append(terms.draws(rank, sampling, [key])[0])
    kept = np.mean(terms.errors(factors) <= rtol)
    return Kept(float(kept), np.array(ranks), terms.smallest_rank(rtol, sampling, keys))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lowrank.families", description=__doc__)
    parser.add_argument("-n", type=int, default=1024)
    parser.add_argument("--keys", type=int, default=500)
    parser.add_argument("--sampling", default="systematic", choices=SAMPLINGS)
    parser.add_argument("--family", action="append", choices=FAMILIES)
    options = parser.parse_args()
    for name in options.family or FAMILIES:
        terms = Terms(*FAMILIES[name](options.n, np.random.default_rng(5)))
        for rtol in RTOLS:
            found = keep_to(terms, rtol, options.sampling, range(1, options.keys + 1))
            quantiles = np.quantile(found.ranks, [0, 0.5, 1]).astype(int)
            print(
                f"{name:10} rtol {rtol:<5} kept {found.kept:6.1%}; smallest rank {found.smallest:5}, chosen "
                f"{'/'.join(map(str, quantiles))} (least/median/most), more than twice as many: {found.generous:6.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
