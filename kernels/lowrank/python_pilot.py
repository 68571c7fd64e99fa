"""The sums that errors are predicted from, in pure Python."""

from __future__ import annotations

from itertools import accumulate
from operator import mul

__all__ = ["Sums"]

Matrix = list[list[float]]


class Sums:
    """See `prediction.PilotSums`."""

    def __init__(self, weights: list[float], draws: list[int], cosines: Matrix, groups: int) -> None:
        ascending = sorted(weights)
        self.descending = ascending[::-1]
        self.totals = [[*reversed([*accumulate(weight**power for weight in ascending)]), 0.0] for power in (1, 2, 3, 4)]
        self.drawn = [weights[draw] for draw in draws]
        self._groups = groups
        self._cosines = cosines
        self._others = [
            [0.0 if i == j else cosine for j, cosine in zip(draws, row, strict=True)]
            for i, row in zip(draws, cosines, strict=True)
        ]

    def between_groups(self, factors: list[float]) -> Matrix:
        size = len(factors) // self._groups
        starts = range(0, len(factors), size)
        result = [[0.0] * self._groups for _ in starts]
        for i, (factor, row) in enumerate(zip(factors, self._others, strict=True)):
            products = [*map(mul, row, factors)]
            sums = result[i // size]
            for group, start in enumerate(starts):
                sums[group] += factor * sum(products[start : start + size])
        return result

    def concentration(self, factors: list[float]) -> float:
        total = sum(factors)
        if not total:
            return 0.0
        shares = [factor / total for factor in factors]
        means = [sum(map(mul, row, shares)) for row in self._cosines]
        mean = sum(map(mul, means, shares))
        own = squares = 0.0
        for i, (share, row) in enumerate(zip(shares, self._cosines, strict=True)):
            offset = mean - means[i]
            centred = [cosine - other + offset for cosine, other in zip(row, means, strict=True)]
            own += share * centred[i]
            squares += share * (sum(map(mul, map(mul, centred, centred), shares)) - share * centred[i] ** 2)
        weight = 1 - sum(map(mul, shares, shares))
        return squares / weight / own**2 if weight > 0 and own > 0 else 0.0
