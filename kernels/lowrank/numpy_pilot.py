"""The sums that errors are predicted from, in NumPy."""

from __future__ import annotations

import numpy as np

__all__ = ["Sums"]


class Sums:
    """See `prediction.PilotSums`."""

    def __init__(self, weights: np.ndarray, draws: np.ndarray, cosines: np.ndarray, groups: int) -> None:
        ascending = np.sort(weights)
        self.descending = ascending[::-1]
        self.totals = [np.append(np.cumsum(ascending**power)[::-1], 0.0) for power in (1, 2, 3, 4)]
        self.drawn = weights[draws].tolist()
        self._groups = groups
        self._others = np.where(draws[:, None] == draws, 0.0, cosines)
        self._cosines = cosines

    def between_groups(self, factors: list[float]) -> list[list[float]]:
        products = self._others * np.outer(factors, factors)
        shape = (self._groups, len(factors) // self._groups) * 2
        return products.reshape(shape).sum(axis=(1, 3)).tolist()

    def concentration(self, factors: list[float]) -> float:
        total = sum(factors)
        if not total:
            return 0.0
        shares = np.array(factors) / total
        means = self._cosines @ shares
        centred = self._cosines - means - (means - shares @ means)[:, None]
        own = centred.diagonal() @ shares
        squares = shares @ centred**2 @ shares - centred.diagonal() ** 2 @ shares**2  # not those of a draw with itself
        weight = 1 - shares @ shares
        return float(squares / weight / own**2) if weight > 0 and own > 0 else 0.0
