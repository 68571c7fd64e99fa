"""The weights of the terms in NumPy, and what the error of a sample follows from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kernels.lowrank import CRInfo
from kernels.lowrank.sampling import mean_square, on_grid

__all__ = ["Weights", "exact_info", "weights_of"]


class Weights(NamedTuple):
    of_columns: np.ndarray
    of_rows: np.ndarray
    grid: np.ndarray
    finite: bool

    @np.errstate(all="ignore")
    def moment(self, sampling: str) -> float:
        """Of one draw: see `mean_square`."""
        return float(mean_square(np, self.of_columns * self.of_rows, self.grid, sampling))


@np.errstate(all="ignore")
def weights_of(
    of_columns: np.ndarray, of_rows: np.ndarray, grid_of: Callable[[Any, Any], Any] | None = None
) -> Weights:
    grid, finite = (grid_of or partial(on_grid, np))(of_columns, of_rows)
    return Weights(of_columns, of_rows, grid, bool(finite))


def exact_info(terms: int) -> CRInfo:
    return CRInfo("exact", terms, np.arange(terms), np.ones(terms), 0.0, 0.0, "exact")
