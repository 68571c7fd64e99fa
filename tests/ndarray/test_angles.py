"""Angles of random directions: whether the samples have the density, and whether the density is right."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

np = pytest.importorskip("numpy", reason="NumPy is not installed")

import kernels  # noqa: E402
from kernels import ndarray  # noqa: E402
from kernels.ndarray.angles import normaliser  # noqa: E402

SIZE = 20_000
FALSE_ALARM = 1e-6  # how often a test by chance would fail for another key
SIGMAS = 4.9  # which a normal number exceeds as rarely
GRID = np.linspace(0, np.pi, 1 << 16)


def density(dim, backend="numpy"):
    return kernels.to_numpy(ndarray.angle_pdf(GRID, dim, backend=backend))


def integral(values):
    """Of the density, up to each point of the grid."""
    steps = (values[1:] + values[:-1]) / 2 * (GRID[1] - GRID[0])
    return np.concatenate([[0], np.cumsum(steps)])


def sample(dim, size, key, backend):
    return kernels.to_numpy(ndarray.random_angles(dim, size, rng=key, backend=backend))


def distance(angles, dim):
    """Of the sample's distribution from that of the density, by Kolmogorov and Smirnov."""
    expected = integral(density(dim))
    found = np.interp(np.sort(angles), GRID, expected / expected[-1])
    ranks = np.arange(len(angles) + 1) / len(angles)
    return max((found - ranks[:-1]).max(), (ranks[1:] - found).max())


def excess(angles, dim):
    """Of the mean of cos² over its expectation 1/dim, in its standard deviations."""
    deviation = math.sqrt(2 * (dim - 1) / (dim + 2) / len(angles)) / dim
    return (np.mean(np.cos(angles) ** 2) - 1 / dim) / deviation


# By the inequality of Dvoretzky, Kiefer and Wolfowitz, with Massart's constant
FARTHEST = math.sqrt(math.log(2 / FALSE_ALARM) / (2 * SIZE))


@pytest.mark.parametrize("key", [0, 2**64 - 1])
@pytest.mark.parametrize("dim", [2, 3, 10, 1000])
def test_samples_have_the_density(backend, dim, key):
    angles = sample(dim, SIZE, key, backend)
    assert angles.dtype == np.float64
    assert angles.min() >= 0
    assert angles.max() <= np.pi
    assert distance(angles, dim) < FARTHEST
    assert abs(excess(angles, dim)) < SIGMAS


@pytest.mark.parametrize(("dim", "wrong"), [(2, 3), (3, 2), (3, 4), (10, 9), (10, 11), (1000, 900), (1000, 1100)])
def test_samples_of_another_dimension_would_not_pass(dim, wrong):
    assert abs(excess(sample(wrong, SIZE, 0, "numpy"), dim)) > SIGMAS


@pytest.mark.parametrize("wrong", [lambda angles: np.pi - 0.05 - angles, lambda angles: np.minimum(angles, 1.7)])
def test_samples_of_another_shape_would_not_pass(wrong):
    assert distance(wrong(sample(3, SIZE, 0, "numpy")), 3) > FARTHEST


@pytest.mark.parametrize(("dim", "key"), [(2, 5), (7, 2**63 + 2**31 + 1), (10**9, 2**64 - 1)])
def test_the_same_key_gives_the_same_angles(backend, dim, key):
    """Over the bounds of blocks and chunks."""
    angles = sample(dim, 70_001, key, backend)
    np.testing.assert_allclose(angles, sample(dim, 70_001, key, "python"), rtol=1e-9)
    assert len(np.unique(angles)) == len(angles)


def test_keys_differ_in_either_word(backend):
    samples = [sample(3, 100, key, backend) for key in (1, 2, 2**32, 2**32 + 1)]
    assert len(np.unique(samples)) == 400


@pytest.mark.parametrize("dim", [2, 3, 10, 1000, 100_000])
def test_the_density_integrates_to_one(backend, dim):
    assert integral(density(dim, backend))[-1] == pytest.approx(1, abs=1e-8)


def test_the_normaliser_in_low_dimensions():
    ratio = {2: Fraction(1), 3: Fraction(1, 2)}  # times 1/pi in an even dimension
    for dim in range(2, 2000):
        expected = float(ratio[dim]) / (math.pi if dim % 2 == 0 else 1)
        assert normaliser(dim) == pytest.approx(expected, rel=4e-15, abs=0)
        ratio[dim + 2] = ratio.pop(dim) * dim / (dim - 1)


@pytest.mark.parametrize("exponent", range(3, 16))
def test_the_normaliser_in_high_dimensions(exponent):
    """The product of two neighbours is rational but for pi."""
    for dim in (10**exponent, 10**exponent - 1, 3 * 10**exponent + 7):
        assert normaliser(dim) * normaliser(dim + 1) == pytest.approx((dim - 1) / (2 * math.pi), rel=4e-15, abs=0)
