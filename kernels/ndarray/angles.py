"""The angle of two random directions: what every backend's density of it is multiplied by.

The ratio of gamma functions is a product of quotients times the ratio in a high dimension, where the asymptotic series
of Gamma(w + 3/4) / Gamma(w + 1/4), which has even powers of 1/w alone, has converged (NIST Handbook of Mathematical
Functions, 5.11.14). A difference of logarithms of gamma functions would lose a digit for each digit of the dimension.
"""

from __future__ import annotations

from math import pi, sqrt

__all__ = ["normaliser"]

HIGH = 100


def normaliser(dim: int) -> float:
    """Gamma(dim / 2) / (sqrt(pi) Gamma((dim - 1) / 2)), within a few units in the last place."""
    over, under = 1, 1
    while dim < HIGH:
        over, under, dim = over * (dim - 1), under * dim, dim + 2
    w = (2 * dim - 3) / 4
    square = 1 / w**2
    series = 1 + square * (1 / 64 - square * (19 / 8192 - square * (631 / 524288)))
    return over / under * sqrt(w / pi) * series
