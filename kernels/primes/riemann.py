"""Riemann's approximation R(x) to the number of primes up to x, and its inverse, in floating point.

Gram's series, R(x) = 1 + sum over n >= 1 of log(x)^n / (n! n zeta(n + 1)): H. Riesel, "Prime Numbers and Computer
Methods for Factorization", 2nd ed., 1994, ch. 2. As far as anyone has looked, |pi(x) - R(x)| is near sqrt(x) / log(x).
"""

from __future__ import annotations

from math import log, sqrt

__all__ = ["riemann_r", "riemann_r_inverse"]


def _zeta(s: int) -> float:
    # Euler-Maclaurin from the tenth term on: off by less than 1e-6 at s = 2, by nothing from s = 10 on.
    return sum(n**-s for n in range(1, 10)) + 10.0**-s * (10 / (s - 1) + 0.5 + s / 120)


_ZETA = [_zeta(n + 1) for n in range(1, 60)]  # later ones are 1 to the last bit


def riemann_r(x: float) -> float:
    """R(x) for x > 1."""
    log_x = log(x)
    total, power, n = 1.0, 1.0, 0
    while n < log_x or power > 1e-16 * total:
        n += 1
        power *= log_x / n
        total += power / (n * _ZETA[n - 1] if n <= len(_ZETA) else n)
    return total


def riemann_r_inverse(k: float) -> float:
    """The x > 1 with R(x) = k, for k >= 2, to well within the distance by which R misses the count of primes."""
    x = k * log(k) + 2
    step = x
    while abs(step) > 1 + 1e-3 * sqrt(x) + 1e-14 * x:  # the last term: what floats can resolve
        step = (k - riemann_r(x)) * log(x)
        x += step
    return x
