"""Primes on Dask: tasks over windows, each of which calls a dense backend through the public interface.

Bays and Hudson's segmented sieve (BIT 17, 1977) needs nothing from one segment to the next but the primes below the
root, so that every task finds these for itself and hands back an int or an array. Tasks go to the current
`distributed.Client` where there is one, else to Dask's own threads. They are pure, so that those of a worker that dies
are done again elsewhere; with no worker left, a call waits for one.

The setting ``backbench.primes.segment`` of Dask's configuration is the length of a segment in `count_between` and
`sum_between`; where it is not set, the length follows from the range and the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isqrt, log
from typing import Any
from uuid import uuid4

import dask
import dask.array as da
import dask.threaded
import numpy as np
from dask.base import get_scheduler, tokenize
from dask.utils import parse_bytes

from kernels import primes
from kernels.chunk_tasks import on_one_thread, single_threaded
from kernels.dispatch import default_backend
from kernels.primes import nth_prime
from kernels.primes.riemann import riemann_r, riemann_r_inverse
from kernels.registry import BUILT_IN

SEGMENT = 10**9  # about 0.1 s, against the 1.5 ms that a task costs on a cluster
LEAST = 10**7
HUGE = 10**14  # from here on, one core takes a quarter of a second and more to count the primes below
SHARES = 4
AT_ONCE = 10**8  # numbers that are sieved in the time of a call to a cluster
MOST_TASKS = 10**4
MOST_CHUNKS = 10**5


def sieve(limit: int) -> da.Array:
    step = _chunk_bytes()
    _refuse_above(-(-limit // step))
    bounds = [*range(0, limit, step), limit] if limit else [0, 0]
    return _array(_indicator, bounds, [stop - start for start, stop in pairwise(bounds)], bool)


def below(limit: int) -> da.Array:
    return between(0, limit)


def between(start: int, stop: int) -> da.Array:
    """Chunks of about as many primes each, whose sizes are counted here, so that the array's shape is known."""
    bounds = _equal_bounds(start, stop)
    return _array(_listing, bounds, _counts(bounds), np.int64)


def count_between(start: int, stop: int) -> int:
    return sum(_compute(primes.count_between, _segments(start, stop)))


def sum_between(start: int, stop: int) -> int:
    return sum(_compute(primes.sum_between, _segments(start, stop)))


def count_below(limit: int) -> int:
    return _below(primes.count_below, limit, sums=False)


def sum_below(limit: int) -> int:
    return _below(primes.sum_below, limit, sums=True)


def nth(k: int) -> int:
    if k * log(k) < HUGE:
        return _compute_one(primes.nth, k)
    return nth_prime.nth(k, count_below, lambda start, stop: _compute_one(primes.between, start, stop))


def sum_first(k: int) -> int:
    if k == 0 or k * log(k) < HUGE:
        return _compute_one(primes.sum_first, k)
    return sum_below(nth(k) + 1)


def _below(function: Callable[..., int], limit: int, sums: bool) -> int:
    """One task; where that takes long, the leaves of Lagarias, Miller and Odlyzko's method in shares."""
    if limit < HUGE or default_backend(function, limit) != "numba":
        return _compute_one(function, limit)
    shares = SHARES * _n_threads()
    name = f"{function.__name__}-{uuid4()}"
    plan, total = (name, "plan"), (name, "total")
    parts = {(name, i): (_share, plan, i, shares) for i in range(shares)}
    return _run({plan: (_lmo, "plan_for", limit, sums), **parts, total: (_lmo, "combine", plan, list(parts))}, total)


def _lmo(step: str, *arguments: Any) -> Any:
    """A function of the method's module, which needs Numba."""
    from kernels.primes import lmo

    with single_threaded("numba"):
        return getattr(lmo, step)(*arguments)


def _share(plan: Any, share: int, shares: int) -> list[Any]:
    """One task in so many, taken in turn, so that each share has easy ones and hard ones."""
    return [part for task in _lmo("tasks", plan, shares)[share::shares] for part in _lmo("run", plan, task)]


def _listing(start: int, stop: int, backend: str) -> np.ndarray:
    return on_one_thread(backend, primes.between, start, stop)


def _indicator(start: int, stop: int, backend: str) -> np.ndarray:
    result = np.zeros(stop - start, bool)
    result[_listing(start, stop, backend) - start] = True
    return result


def _array(chunk: Callable[..., np.ndarray], bounds: list[int], sizes: list[int], dtype: type) -> da.Array:
    """The lazy array of which `chunk` makes one block from each window."""
    backend = default_backend(primes.between, bounds[0], bounds[-1])
    name = f"primes-{tokenize(chunk, bounds, backend)}"
    graph = {(name, i): (chunk, start, stop, backend) for i, (start, stop) in enumerate(pairwise(bounds))}
    return da.Array(graph, name, (tuple(sizes),), meta=np.empty(0, dtype))


def _compute_one(function: Callable[..., Any], *arguments: int) -> Any:
    return _compute(function, [arguments])[0]


def _compute(function: Callable[..., Any], calls: Sequence[tuple[int, ...]]) -> list[Any]:
    """Each call a task, in one plain graph: a tenth of what as many `dask.delayed` cost."""
    if not calls:
        return []
    backend = default_backend(function, *calls[-1])
    name = f"{function.__name__}-{uuid4()}"
    graph = {(name, i): (on_one_thread, backend, function, *call) for i, call in enumerate(calls)}
    return list(_run(graph, list(graph)))


def _run(graph: dict[Any, Any], keys: Any) -> Any:
    return (get_scheduler() or dask.threaded.get)(graph, keys)


def _n_threads() -> int:
    return BUILT_IN["dask"].threads() or 1


def _compute_here(function: Callable[..., Any], calls: Sequence[tuple[int, ...]]) -> list[Any]:
    return [function(*call, backend=default_backend(function, *call)) for call in calls]


def _segments(start: int, stop: int) -> list[tuple[int, int]]:
    """Windows of equal length, as many for each thread; none so short that the primes below the root cost more."""
    length = stop - start
    step = dask.config.get("backbench.primes.segment", None)
    if step is None:
        threads = _n_threads()
        least = max(LEAST, isqrt(stop))
        rounds = -(-length // (threads * max(SEGMENT, least, length // MOST_TASKS)))
        step = max(least, -(-length // (threads * max(1, rounds))))
    return [(first, min(first + int(step), stop)) for first in range(start, stop, int(step))]


def _equal_bounds(start: int, stop: int) -> list[int]:
    """Bounds from `start` to `stop` between which Riemann's R has equal differences of no more than a chunk."""
    low, high = (riemann_r(max(end, 2)) for end in (start, stop))
    n = max(1, -int(-(high - low) * 8 // _chunk_bytes()))
    _refuse_above(n)
    inner = (int(riemann_r_inverse(low + (high - low) * i / n)) for i in range(1, n))
    return [start, *(min(max(start, bound), stop) for bound in inner), stop]


def _counts(bounds: list[int]) -> list[int]:
    """How many primes lie in each window: from the counts below its ends, or by sieving it where that costs less."""
    counting = 3 * len(bounds) * bounds[-1] ** (2 / 3)
    sieving = bounds[-1] - bounds[0] + len(bounds) * isqrt(bounds[-1])
    compute = _compute_here if min(counting, sieving) < AT_ONCE else _compute
    if counting < sieving:
        counts = compute(primes.count_below, [(bound,) for bound in bounds])
        return [high - low for low, high in pairwise(counts)]
    return compute(primes.count_between, list(pairwise(bounds)))


def _chunk_bytes() -> int:
    return parse_bytes(dask.config.get("array.chunk-size"))


def _refuse_above(n: int) -> None:
    if n > MOST_CHUNKS:
        raise MemoryError(f"the array would take {n} chunks of {_chunk_bytes()} bytes (array.chunk-size of Dask)")
