"""Scans against the bandwidth of the machine, jax on the CPU and SciPy's lfilter."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np

from . import best, compare

SHAPES = ((8, 4096, 256), (1, 65536, 64), (1, 16 * 10**6, 1))
EVENTS = 0.01  # the share of inputs that are not zero


def main() -> None:
    print(f"NUMBA_NUM_THREADS={os.environ.get('NUMBA_NUM_THREADS', 'not set')}")
    for part in (scans, jax, lfilter, events):
        part()


def operands(shape: tuple[int, ...], dtype: str = "float32") -> tuple[Any, Any, Any]:
    """Factors of modulus 0.9 to 1, inputs, and an array for the result."""
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0.9, 1, shape), rng.normal(size=shape)
    if dtype == "complex64":
        a, b = a * np.exp(1j * b), b + 1j * a
    return a.astype(dtype), b.astype(dtype), np.zeros(shape, dtype)


def triad(a: Any, b: Any, h: Any) -> float:
    """Seconds that one thread takes to read a and b and to write h."""
    import numba

    @numba.njit
    def add(a: Any, b: Any, h: Any) -> None:
        for i in range(a.size):
            h[i] = a[i] + b[i]

    flat = [array.reshape(-1) for array in (a, b, h)]
    return best(lambda: add(*flat), 7)


def scans() -> None:
    from kernels import recurrence

    for shape in SHAPES:
        for dtype in ("float32", "complex64"):
            a, b, h = operands(shape, dtype)
            limit = triad(a, b, h)
            scan = partial(recurrence.linear_scan, a, b, backend="numba")
            calls = {
                "out=": lambda scan=scan, h=h: scan(out=h),
                "a fresh result": scan,
                "reverse": lambda scan=scan, h=h: scan(reverse=True, out=h),
                "vjp": lambda a=a, b=b, h=h: recurrence.linear_scan_vjp(a, h, b, backend="numba"),
                "numpy": lambda a=a, b=b: recurrence.linear_scan(a, b, backend="numpy"),
            }
            shares = ", ".join(f"{name} {best(call, 5) / limit:.2f}" for name, call in calls.items())
            print(f"linear_scan {shape}, {dtype}, over triad ({1000 * limit:.3g} ms): {shares}", flush=True)


def jax() -> None:
    try:
        import jax
    except ImportError:
        print("jax is not installed")
        return
    from kernels import recurrence

    def combine(left: Any, right: Any) -> Any:
        return right[0] * left[0], right[0] * left[1] + right[1]

    @jax.jit
    def parallel(a: Any, b: Any) -> Any:
        return jax.lax.associative_scan(combine, (a, b), axis=1)[1]

    @jax.jit
    def sequential(a: Any, b: Any) -> Any:
        def step(h: Any, pair: Any) -> Any:
            h = pair[0] * h + pair[1]
            return h, h

        pairs = a.swapaxes(0, 1), b.swapaxes(0, 1)
        return jax.lax.scan(step, pairs[1][0] * 0, pairs)[1].swapaxes(0, 1)

    for shape in (*SHAPES[:2], (1, 10**6, 1)):
        a, b, h = operands(shape)
        theirs = jax.numpy.asarray(a), jax.numpy.asarray(b)
        for name, scan in (("associative_scan", parallel), ("scan", sequential)):
            for backend in ("numba", "numpy"):
                compare(
                    f"linear_scan {shape}, {backend} / jax.lax.{name}",
                    lambda a=a, b=b, h=h, backend=backend: recurrence.linear_scan(a, b, out=h, backend=backend),
                    lambda scan=scan, theirs=theirs: scan(*theirs).block_until_ready(),
                    3,
                )


def lfilter() -> None:
    from scipy.signal import lfilter

    from kernels import recurrence

    for shape in (*SHAPES[:2], (1, 10**6, 1)):
        _, b, h = operands(shape)
        compare(
            f"linear_scan {shape} of one factor, numba / scipy.signal.lfilter",
            lambda b=b, h=h: recurrence.linear_scan(0.9, b, out=h, backend="numba"),
            lambda b=b: lfilter(np.float32([1]), np.float32([1, -0.9]), b, axis=1),
            3,
        )


def events() -> None:
    import sparse

    from kernels import recurrence

    _, b, _ = operands(SHAPES[0])
    b[np.random.default_rng(2).random(b.shape) >= EVENTS] = 0
    stored, factors = sparse.COO.from_numpy(b), np.full(b.shape[-1], 0.9, np.float32)
    compare(
        f"event_scan {SHAPES[0]}, {EVENTS:.0%} stored, sparse / linear_scan of dense arrays by numba",
        lambda: recurrence.event_scan(0.9, stored),
        lambda: recurrence.linear_scan(factors, b, backend="numba"),
        5,
    )
