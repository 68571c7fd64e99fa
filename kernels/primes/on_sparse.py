"""Primes in pydata/sparse arrays: containers alone, which a dense backend fills through the public interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sparse

from kernels import primes
from kernels.dispatch import default_backend


def sieve(limit: int) -> sparse.COO:
    """Stores the primes alone; said to be sorted and without duplicates, so that nothing is checked or copied."""
    found = _dense(primes.below, limit)
    return _container(found, np.ones(len(found), bool), limit)


def below(limit: int) -> sparse.COO:
    found = _dense(primes.below, limit)
    return _container(np.arange(len(found)), found, len(found))


def between(start: int, stop: int) -> sparse.COO:
    found = _dense(primes.between, start, stop)
    return _container(np.arange(len(found)), found, len(found))


def count_below(limit: int) -> int:
    return _dense(primes.count_below, limit)


def sum_below(limit: int) -> int:
    return _dense(primes.sum_below, limit)


def count_between(start: int, stop: int) -> int:
    return _dense(primes.count_between, start, stop)


def sum_between(start: int, stop: int) -> int:
    return _dense(primes.sum_between, start, stop)


def nth(k: int) -> int:
    return _dense(primes.nth, k)


def sum_first(k: int) -> int:
    return _dense(primes.sum_first, k)


def _container(coords: np.ndarray, data: np.ndarray, length: int) -> sparse.COO:
    return sparse.COO(coords[np.newaxis], data, (length,), has_duplicates=False, sorted=True)


def _dense(function: Callable[..., Any], *arguments: int) -> Any:
    return function(*arguments, backend=default_backend(function, *arguments))
