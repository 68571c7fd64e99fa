"""What is pydata/sparse's own in the primes: arrays that store what they must and no more."""

from __future__ import annotations

import pytest

sparse = pytest.importorskip("sparse")

import numpy as np  # noqa: E402

import kernels  # noqa: E402
from kernels import primes  # noqa: E402


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 1000, 100_003])
def test_the_indicator_stores_the_primes_alone(limit):
    found = primes.sieve(limit, backend="sparse")
    listed = primes.below(limit, backend="numpy")
    assert isinstance(found, sparse.COO)
    assert found.shape == (limit,)
    assert found.dtype == bool
    assert not found.fill_value
    np.testing.assert_array_equal(found.coords[0], listed)
    np.testing.assert_array_equal(found.todense(), primes.sieve(limit, backend="numpy"))


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (2, 3), (24, 29), (10**12, 10**12 + 10**4)])
def test_a_list_is_a_container(start, stop):
    found = primes.between(start, stop, backend="sparse")
    assert isinstance(found, sparse.COO)
    assert found.dtype == np.int64
    assert found.nnz == len(found)
    np.testing.assert_array_equal(found.todense(), primes.between(start, stop, backend="numpy"))


def test_the_coordinates_are_as_sparse_itself_would_have_them():
    found = primes.sieve(1000, backend="sparse")
    again = sparse.COO(found.coords[:, ::-1], found.data, found.shape)
    np.testing.assert_array_equal(found.coords, again.coords)
    assert found.coords.dtype == again.coords.dtype
    assert found.nnz == again.nnz == 168


def test_the_preference_for_sparse_does_not_reach_the_dense_backend(monkeypatch):
    monkeypatch.setenv("BACKBENCH_BACKEND", "sparse")
    with kernels.use_backend("sparse"):
        assert primes.count_below(100) == 25
        assert isinstance(primes.below(100), sparse.COO)
    assert isinstance(primes.below(100), np.ndarray)
