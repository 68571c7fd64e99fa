"""Times for tests that compare one form with another."""

from __future__ import annotations

import time


def fastest(call, repetitions=5):
    """The shortest time of several calls, in seconds."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
