"""exp and log of `vector_math`: special values as NumPy's, errors below one unit in the last place, in vectors."""

from __future__ import annotations

import pytest

pytest.importorskip("numba", reason="Numba is not installed")

import numpy as np
from numba import njit  # without the cache, which cannot see what tests import

from kernels import vector_math

SIZE = 200_000


@njit
def exp(x, result):
    for i in range(len(x)):
        result[i] = vector_math.exp(x[i])
    return result


@njit
def log(x, result):
    for i in range(len(x)):
        result[i] = vector_math.log(x[i])
    return result


def special_values(dtype):
    info = np.finfo(dtype)
    tiny, top = info.smallest_normal, np.log(info.max)
    bottom = np.log(info.smallest_subnormal)
    edges = [0, 1, tiny, np.nextafter(tiny, dtype(0)), info.smallest_subnormal, info.max, 3 * info.smallest_subnormal]
    edges += [top, np.nextafter(top, dtype(np.inf)), 2 * top, bottom, bottom - 1, bottom + 1, np.log(tiny)]
    return np.array([np.nan, np.inf, *edges, *(-np.array(edges, dtype)), -np.inf], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["exp", "log"])
def test_special_values(name, dtype):
    x = special_values(dtype)
    found = globals()[name](x, np.empty_like(x))
    with np.errstate(all="ignore"):
        np.testing.assert_array_max_ulp(found, getattr(np, name)(x), 4 if dtype is np.float32 else 1)


def exp_arguments(dtype, rng):
    info = np.finfo(dtype)
    yield rng.uniform(np.log(info.smallest_subnormal), np.log(info.max), SIZE)
    yield rng.choice([-1, 1], SIZE) * 2.0 ** rng.uniform(-info.nmant - 5, 0, SIZE)
    yield (rng.integers(-100, 100, SIZE) + 0.5) * np.log(2) + rng.normal(0, 1e-3, SIZE)  # where the exponent changes


def log_arguments(dtype, rng):
    info = np.finfo(dtype)
    yield 2.0 ** rng.uniform(info.minexp, info.maxexp, SIZE)
    yield 1 + rng.choice([-1, 1], SIZE) * 2.0 ** rng.uniform(-info.nmant - 1, -1, SIZE)
    yield 2.0 ** (rng.integers(-3, 3, SIZE) + 0.5) * (1 + rng.normal(0, 1e-3, SIZE))  # where the exponent changes
    yield rng.uniform(0, 1, SIZE) * float(info.smallest_normal)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["exp", "log"])
def test_error_is_below_one_unit_in_the_last_place(name, dtype):
    info, wide = np.finfo(dtype), np.longdouble
    if np.finfo(wide).nmant < info.nmant + 10:
        pytest.skip("long double is no wider than double here")
    for x in globals()[name + "_arguments"](dtype, np.random.default_rng(1)):
        x = x.astype(dtype)
        exact = getattr(np, name)(x.astype(wide))
        unit = np.ldexp(wide(1), np.maximum(np.frexp(exact)[1] - 1, info.minexp) - info.nmant)
        error = np.abs(globals()[name](x, np.empty_like(x)) - exact) / unit
        assert error[np.abs(exact) <= info.max].max() < 1


@pytest.mark.parametrize("name", ["exp", "log"])
def test_loops_are_vectorised(name):
    x = np.ones(8, np.float32)
    globals()[name](x, np.empty_like(x))
    assert any("x float> @llvm.fmuladd" in text for text in globals()[name].inspect_llvm().values())


@njit(fastmath=True)
def fast_sums(x, sums):
    for i in range(len(x)):
        sums[0, i] = vector_math.exp(x[i])
        sums[1, i] = vector_math.log(abs(x[i]))
    return sums


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_options_of_the_caller_change_nothing(dtype):
    x = np.random.default_rng(3).normal(0, 10, 1000).astype(dtype)
    sums = fast_sums(x, np.empty((2, len(x)), dtype))
    np.testing.assert_array_equal(sums[0], exp(x, np.empty_like(x)))
    np.testing.assert_array_equal(sums[1], log(np.abs(x), np.empty_like(x)))


@njit
def largest(x):
    result = x[0]
    for item in x:
        result = vector_math.maximum(result, item)
    return result


@njit
def chosen(x):
    return vector_math.select(x > 1, x, -x), vector_math.fma(x, x, x)


def test_maximum_select_and_fma():
    assert largest(np.array([1.0, 3.0, 2.0])) == 3
    assert np.isnan(largest(np.array([1.0, np.nan, 2.0])))
    assert chosen(2.0) == (2, 6)
    assert chosen(0.5) == (-0.5, 0.75)
