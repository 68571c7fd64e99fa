"""The error of a sampled product before it is made, from the weights of all terms and the overlap of a few.

The squared error of a systematic sample is, on average and nearly, ``sum(c_i |v_i / p_i - b|**2)`` for the terms v_i,
their probabilities p_i, ``c_i = p_i (1 - p_i)`` and b the mean of ``v_i / p_i`` weighted by c_i (J. Hájek, Annals of
Mathematical Statistics 35, 1964, 1491-1523). Of this only the square of ``sum((1 - p_i) v_i)`` does not follow from the
weights; like that of ``x @ y`` itself it is the mean over pairs of independent draws, which a pilot gives without bias.

All weights are relative to the largest one. One text for lists and arrays, which differ in `PilotSums` alone.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from math import inf, nan, sqrt
from typing import Any, NamedTuple, Protocol

from kernels.lowrank import CRPlan
from kernels.lowrank.sampling import grid_bits

__all__ = ["NO_TERMS", "Prediction", "plan"]

NO_TERMS = CRPlan((), (), (), 0, 0, "use the exact product: there are no terms", None)

Z = 2.05  # of a standard normal number, 98 % are less
T = 2.52  # of one divided by a deviation of 7 degrees of freedom, likewise
MARGIN = 1.08  # of the squared error: what simulated families were off by
UNEVEN = 0.25  # over the rank: how far the squares of few terms are from those of a normal vector, likewise
GROUPS = 8  # of draws, each of which is left out once to see how far the pilot is to be trusted


class PilotSums(Protocol):
    """What is worked out over all terms, or over all pairs of draws."""

    descending: Any  # weights, the largest first
    totals: list[Any]  # for the powers 1 to 4, the sums of those of each weight and all smaller ones; then 0
    drawn: list[float]  # the weights of the draws

    def between_groups(self, factors: list[float]) -> list[list[float]]:
        """Sums over the pairs of draws of two groups, but for pairs of one term: ``d_a d_b cos_ab``."""

    def concentration(self, factors: list[float]) -> float:
        """Mean squared inner product of two draws, centred, over the squared mean of one with itself."""


class Prediction:
    """Predicts errors of the Frobenius norm relative to that of ``x @ y``.

    Parameters
    ----------
    grid : list of int, or NumPy array of int64
        The weights of all terms, from `sampling.on_grid`.
    draws : list of int, or array
        The terms drawn by `sampling.pilot`.
    cosines : nested list, or array
        Between the terms drawn, from `overlap.cosines`.
    """

    def __init__(self, grid: Any, draws: Any, cosines: Any) -> None:
        self.terms = len(grid)
        unit = 2.0 ** -grid_bits(self.terms)
        self.sums: PilotSums
        if isinstance(grid, list):
            from kernels.lowrank.python_pilot import Sums as PythonSums

            self.sums = PythonSums([weight * unit for weight in grid], draws, cosines, GROUPS)
        else:
            from kernels.lowrank.numpy_pilot import Sums as NumpySums

            self.sums = NumpySums(grid * unit, draws, cosines, GROUPS)
        ones = [1.0] * len(self.sums.drawn)
        self.squared_norms = self._squared_sums(ones, self._total(1, 0), self._total(2, 0))

    def _total(self, power: int, first: int) -> float:
        return float(self.sums.totals[power - 1][first])

    def _squared_sums(self, factors: list[float], total: float, diagonal: float, unknown: float = 0.0) -> list[float]:
        """Estimates of ``|sum(d_i v_i)|**2`` from all draws, and from those without each group.

        Over all terms, `total` is the sum of ``d_i |v_i|`` and `diagonal` that of its squares, so that nothing but the
        mean cosine of two different terms is left to the draws; it is `unknown` where they tell nothing.
        """
        between = self.sums.between_groups(factors)
        pairs = self._pairs(factors)
        whole, count = sum(map(sum, between)), sum(map(sum, pairs))
        sums = [(whole, count)] + [
            (whole - 2 * sum(row) + row[group], count - 2 * sum(of) + of[group])
            for group, (row, of) in enumerate(zip(between, pairs, strict=True))
        ]
        return [diagonal + total**2 * (cosines / weights if weights > 0 else unknown) for cosines, weights in sums]

    def _pairs(self, factors: list[float]) -> list[list[float]]:
        """Sums of ``d_a d_b`` over the pairs of draws of two groups."""
        size = len(factors) // GROUPS
        groups = [factors[start : start + size] for start in range(0, len(factors), size)]
        sums = [sum(group) for group in groups]
        products = [[one * other for other in sums] for one in sums]
        for group, own in enumerate(groups):
            products[group][group] -= sum(factor**2 for factor in own)
        return products

    def error(self, sampling: str, rank: int) -> float:
        """The root of the mean squared relative error."""
        if rank >= self.terms:
            return 0.0
        return _root(self._squared_errors(sampling, rank).squares[0], self.squared_norms[0])

    def bound(self, rank: int) -> float:
        """What the norms alone say of importance sampling, apart from how large the product is."""
        return _root(self._total(1, 0) ** 2 / rank, self.squared_norms[0])

    def error_in_most_runs(self, sampling: str, rank: int) -> float:
        """What the relative error is less than in 98 % of runs, with allowance for what the pilot does not know."""
        squares, factors = self._squared_errors(sampling, rank)
        ratios = [_root(square, norm) ** 2 for square, norm in zip(squares, self.squared_norms, strict=True)]
        if not ratios[0] < inf:
            return ratios[0]
        deviation = sqrt((GROUPS - 1) / GROUPS * sum((ratio - ratios[0]) ** 2 for ratio in ratios[1:]))
        concentration = self.sums.concentration(factors) if factors else 0.0
        return sqrt(MARGIN * (ratios[0] + T * deviation) * _quantile(concentration + UNEVEN / rank))

    def terms_needed(self, sampling: str, rtol: float) -> int:
        """The smallest rank that keeps to a relative error; that of the exact product where there is no smaller one."""
        ranks = range(1, self.terms)
        needed = bisect_left(ranks, True, key=lambda rank: self.error_in_most_runs(sampling, rank) <= rtol)
        return needed + 1

    def _squared_errors(self, sampling: str, rank: int) -> _Errors:
        if sampling == "systematic":
            return self._systematic(rank)
        if sampling in ("importance", "uniform"):
            moment = self._total(1, 0) ** 2 if sampling == "importance" else self.terms * self._total(2, 0)
            squares = [max(moment - norm, 0.0) / rank for norm in self.squared_norms]
            factors = [1.0] * len(self.sums.drawn) if sampling == "importance" else self.sums.drawn
            return _Errors(squares, factors)
        return self._largest(rank)

    def _largest(self, rank: int) -> _Errors:
        """What the terms of the smallest weights add up to; of equal weights, some are taken."""
        least = self.sums.descending[rank - 1]
        above, below = self._place(least), self._place(least, after=True)
        taken = (rank - above) / (below - above)
        factors = [float(weight < least) + (1 - taken) * (weight == least) for weight in self.sums.drawn]
        total, diagonal = (
            self._total(power, below) + (1 - taken) ** power * (self._total(power, above) - self._total(power, below))
            for power in (1, 2)
        )
        return _Errors([max(square, 0.0) for square in self._squared_sums(factors, total, diagonal, 1.0)])

    def _place(self, weight: float, *, after: bool = False) -> int:
        """How many weights are larger than this one, or (`after`) not smaller."""
        return bisect_left(
            range(self.terms),
            True,
            key=lambda i: self.sums.descending[i] < weight if after else self.sums.descending[i] <= weight,
        )

    def _systematic(self, rank: int) -> _Errors:
        certain = bisect_left(range(rank), True, key=lambda k: (rank - k) * self.sums.descending[k] < self._total(1, k))
        left = rank - certain
        first, second, third, fourth = (self._total(power, certain) for power in (1, 2, 3, 4))
        if not left or not first:
            return _Errors([0.0] * len(self.squared_norms))
        rate = left / first
        chance = [min(rate * weight, 1.0) for weight in self.sums.drawn]
        factors = [1 - p for p in chance]
        diagonal = second - 2 * rate * third + rate**2 * fourth
        missing = self._squared_sums(factors, first - rate * second, diagonal)
        own = first**2 / left - second
        spread = left - rate**2 * second
        squares = [max(own - max(square, 0.0) / spread, 0.0) if spread > 0 else 0.0 for square in missing]
        return _Errors(squares, factors)


class _Errors(NamedTuple):
    """Mean squared errors by all draws, and without each group; and by what the draws count in a sample's own error.

    An error that is the same for each sample has no such factors.
    """

    squares: list[float]
    factors: list[float] | None = None


def _root(square: float, norm: float) -> float:
    if square != square or norm != norm:
        return nan
    return sqrt(max(square, 0.0) / norm) if norm > 0 else (inf if square > 0 else 0.0)


def _quantile(concentration: float) -> float:
    """98 % of the squares of a normal vector are less than this times their mean (Wilson and Hilferty, 1931).

    The vector has as many equal components as give its squared length the variance ``2 * concentration``.
    """
    ninth = 2 * min(concentration, 1.0) / 9
    return max(1 - ninth + Z * sqrt(ninth), 1.0) ** 3


def plan(prediction: Prediction, break_even: int) -> CRPlan:
    """The errors over the ranks, and what to do."""
    terms, error = prediction.terms, partial(prediction.error, "systematic")
    ranks = (*(1 << i for i in range((terms - 1).bit_length())), terms)
    errors, bounds = tuple(map(error, ranks)), tuple(map(prediction.bound, ranks))
    known = bounds[0] == bounds[0]
    worse = bisect_left(range(1, terms), True, key=lambda rank: error(rank) <= 1) if known else 0
    warning = None
    if not known:
        advice = "use the exact product: an item is not finite, so that a sample tells nothing"
    elif not break_even:
        advice = "use the exact product: no sample takes less time here"
    elif worse >= break_even:
        advice = "use the exact product: the ranks that save time are worse than returning zeros"
        warning = (
            f"up to {worse} of {terms} terms, a sample is expected to be further off than an array of zeros; with more "
            f"than {break_even} it takes longer than the exact product"
        )
    else:
        advice = (
            f"with {worse + 1} to {break_even} of {terms} terms, a sample saves time and is better than zeros: its "
            f"relative error falls from {error(worse + 1):.2g} to {error(break_even):.2g}; for less, use the exact one"
        )
    return CRPlan(ranks, errors, bounds, break_even, worse, advice, warning)
