"""Errors of a sampled product, worked out from sums that each backend has: plain floats, one text for all of them."""

from __future__ import annotations

from math import inf, isfinite, nan, sqrt

__all__ = ["N_PROBES", "break_even", "from_probes", "kind_of_error", "without_bias"]

N_PROBES = 8  # of what `cr_matmul` tells beside its product


def kind_of_error(sampling: str, rank: int) -> str:
    """How `CRInfo.error` is found for a sample."""
    return "unbiased" if sampling in ("importance", "uniform") and rank > 1 else "probes"


def without_bias(draws: int, moment: float, norm: float) -> tuple[float, float]:
    """Error and relative error of a product of that Frobenius norm, from two or more terms drawn with replacement.

    `moment` is the sum over all terms of ``w**2 / p`` for their weights and probabilities: what the squared norm of one
    draw is on average. The average over the draws has the variance ``(moment - norm(x @ y)**2) / draws``.
    """
    squared_norm = norm * norm  # which may be infinite, where a power would raise
    squared = (moment - squared_norm) / (draws - 1)
    return _roots(squared, squared_norm - squared)


def from_probes(differences: float, products: float, probes: int) -> tuple[float, float]:
    """The same from the sums of squares of ``(w - x @ y) @ g`` and of ``x @ y @ g`` over all probes g."""
    return _roots(differences / probes, products / probes)


def _roots(squared_error: float, squared_norm: float) -> tuple[float, float]:
    if not isfinite(squared_error):
        return nan, nan
    error, norm = sqrt(max(squared_error, 0.0)), sqrt(max(squared_norm, 0.0))
    return error, error / norm if norm else (inf if error else 0.0)


def break_even(terms: int, exact: float, fixed: float, per_term: float) -> int:
    """The largest number of terms that takes less time than the exact product, the times being in any one unit."""
    return min(max(int((exact - fixed) / per_term), 0), max(terms - 1, 0)) if per_term else 0
