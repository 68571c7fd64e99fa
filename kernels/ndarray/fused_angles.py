"""Angles of random directions, one at a time from a counter to the angle, in loops that LLVM can vectorise.

The sine on half a turn, and the arctangent up to tan(pi/8), to which others are reduced by their addition theorem, are
minimax polynomials.
"""

from __future__ import annotations

from functools import partial
from math import pi, sqrt
from typing import Any

import numpy as np

from kernels.compiled_philox import philox4x32, uniforms
from kernels.jit import jit, n_threads, parts_of, thread_map
from kernels.ndarray.angles import normaliser
from kernels.philox import MASK
from kernels.vector_math import exp, fma, log, polynomial, select

__all__ = ["angle_pdf", "angles_from", "random_angles", "seq2seq_mask"]

THREADED = 1 << 16  # items from which a thread saves more than it costs
BLOCK = 1024
PI_LOW = 1.2246467991473532e-16  # by how much pi exceeds the double
EIGHTH = 2**0.5 - 1  # tan(pi / 8)
# (sin(x) / x - 1) / x² for |x| <= pi / 2, by powers of x²
SINE = (
    -0.16666666666666666,
    0.008333333333333316,
    -0.00019841269841254966,
    2.7557319219160833e-06,
    -2.505210761669045e-08,
    1.6058977292642743e-10,
    -7.643969663988074e-13,
    2.7314368769379893e-15,
)
# (atan(x) / x - 1) / x² for |x| <= tan(pi / 8), by powers of x²
ARCTANGENT = (
    -0.3333333333333333,
    0.1999999999999552,
    -0.14285714284666542,
    0.11111111015256361,
    -0.09090904578123903,
    0.07692183190826087,
    -0.06664511447381948,
    0.0585814891280221,
    -0.0508544973794026,
    0.03923165829558719,
    -0.01917688711906226,
)


def random_angles(dim: int, size: int, key: int) -> np.ndarray:
    return angles_from(0, dim, size, key)


def angles_from(first: int, dim: int, size: int, key: int) -> np.ndarray:
    """Those of so many counters, from the first on."""
    angles = np.empty(size)
    thread_map(partial(_fill_angles, angles, first, -2 / (dim - 1), key & MASK, key >> 32), _parts(size, size))
    return angles


def angle_pdf(theta: np.ndarray, dim: int) -> Any:
    theta = np.asarray(theta)
    flat = np.ascontiguousarray(theta).reshape(-1)
    densities = np.empty_like(flat)
    thread_map(partial(_fill_densities, flat, float(dim - 2), normaliser(dim), densities), _parts(flat.size, flat.size))
    return densities.reshape(theta.shape)[()]


def seq2seq_mask(n_source: int, n_target: int) -> np.ndarray:
    mask = np.empty((n_source + n_target,) * 2, np.bool_)
    thread_map(partial(_fill_mask, mask, n_source), _parts(len(mask), mask.size))
    return mask


def _parts(count: int, size: int) -> list[tuple[int, int]]:
    """Bounds that divide a count among threads."""
    return parts_of(count, n_threads() if size >= THREADED else 1)


@jit
def _fill_mask(mask: np.ndarray, n_source: int, part: tuple[int, int]) -> None:
    for i in range(part[0], part[1]):
        allowed = max(i + 1, n_source)
        mask[i, :allowed] = True
        mask[i, allowed:] = False


@jit
def _fill_angles(angles: np.ndarray, first: int, factor: float, k0: int, k1: int, part: tuple[int, int]) -> None:
    turns = np.empty(BLOCK)
    for start in range(part[0], part[1], BLOCK):
        own = angles[start : min(start + BLOCK, part[1])]
        for i in range(len(own)):
            counter = first + start + i
            r0, r1, r2, r3 = philox4x32(counter & MASK, counter >> 32, 0, 0, k0, k1)
            own[i], turns[i] = uniforms(r0, r1, r2, r3)
        for i in range(len(own)):
            own[i] = _arccot(sqrt(_expm1(factor * log(own[i]))) * _sine(2 * pi * (abs(turns[i] - 0.5) - 0.25)))


@jit
def _fill_densities(
    theta: np.ndarray, power: float, factor: float, densities: np.ndarray, part: tuple[int, int]
) -> None:
    start, stop = part
    angles, own = theta[start:stop], densities[start:stop]
    for i in range(len(own)):
        angle = float(angles[i])
        inside = factor * exp(power * _log_of_sine(angle)) if power > 0 else factor
        outside = 0.0 if angle == angle else angle
        own[i] = inside if 0 <= angle <= pi else outside


@jit(forceinline=True)
def _log_of_sine(angle: float) -> float:
    """For an angle from 0 to pi: the cosine tells what the sine has lost by rounding where it is nearly 1."""
    rest = (pi - angle) + PI_LOW
    sine, cosine = _sine(angle if angle < rest else rest), _sine((pi / 2 - angle) + PI_LOW / 2)
    return log(sine) + ((1 - sine) * (1 + sine) - cosine * cosine) / 2


@jit(forceinline=True)
def _sine(x: float) -> float:
    """For an angle from -pi/2 to pi/2."""
    square = x * x
    return fma(x * square, polynomial(square, SINE), x)


@jit(forceinline=True)
def _arccot(x: float) -> float:
    """The angle from 0 to pi that has this cotangent."""
    size = abs(x)
    small, large = (size, 1.0) if size < 1 else (1.0, size)
    beyond = small > EIGHTH * large
    t = (small - large) / (small + large) if beyond else small / large
    square = t * t
    arctangent = fma(t * square, polynomial(square, ARCTANGENT), t) + (pi / 4 if beyond else 0.0)
    acute = pi / 2 - arctangent if size < 1 else arctangent
    return acute if x >= 0 else pi - acute


@jit(forceinline=True)
def _expm1(x: float) -> float:
    """exp(x) - 1 by W. Kahan's way, in which the rounding errors of the exponential and of its logarithm cancel."""
    power = exp(x)
    return select(power != 1, (power - 1) * x / log(power), x)
