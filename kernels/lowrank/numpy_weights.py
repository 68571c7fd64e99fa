"""The weights of the terms in NumPy, and what the error of a sample follows from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kernels.lowrank import CRInfo
from kernels.lowrank.sampling import on_grid

__all__ = ["Weights", "exact_info", "weights_of"]


class Weights(NamedTuple):
    of_columns: np.ndarray
    of_rows: np.ndarray
    grid: np.ndarray
    finite: bool

    @np.errstate(all="ignore")
    def moment(self, sampling: str) -> float:
        """What the squared norm of one draw is on average: the sum of ``w**2 / p`` for weights w and chances p."""
        norms, grid = self.of_columns * self.of_rows, self.grid
        if sampling == "uniform":
            return float(len(norms) * (norms @ norms))
        drawn = grid > 0
        return float((norms[drawn] ** 2 / grid[drawn]).sum() * grid.sum())


@np.errstate(all="ignore")
def weights_of(
    of_columns: np.ndarray, of_rows: np.ndarray, grid_of: Callable[[Any, Any], Any] | None = None
) -> Weights:
    grid, finite = (grid_of or partial(on_grid, np))(of_columns, of_rows)
    return Weights(of_columns, of_rows, grid, bool(finite))


def exact_info(terms: int) -> CRInfo:
    return CRInfo("exact", terms, np.arange(terms), np.ones(terms), 0.0, 0.0, "exact")
