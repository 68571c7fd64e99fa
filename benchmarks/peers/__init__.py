"""The kernels against the best in their field, in turns in one process; a peer that is not installed is left out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

TURNS = 15


class Seconds(float):
    """What a call returns that tells by itself how long it took."""


def compare(
    what: str, ours: Callable[[], object], theirs: Callable[[], object], turns: int = TURNS, *, burst: int = 1
) -> float:
    """Print and return the ratio of the times of two calls, taken in turns, after one of each that is not counted.

    A turn is the best of a `burst` of calls: the threads of one side may go on spinning while the other one begins.
    """
    seconds(ours), seconds(theirs)
    ours_, theirs_ = zip(
        *([min(seconds(call) for _ in range(burst)) for call in (ours, theirs)] for _ in range(turns)), strict=True
    )
    ratio = min(ours_) / min(theirs_)
    print(
        f"{what}: {ratio:.3g} (minimum), {statistics.median(ours_) / statistics.median(theirs_):.3g} (median); "
        f"{1000 * min(ours_):.3g} ms and {1000 * min(theirs_):.3g} ms",
        flush=True,
    )
    return ratio


def best(call: Callable[[], object], turns: int = TURNS) -> float:
    """The shortest time of several calls, after one that is not counted."""
    call()
    return min(seconds(call) for _ in range(turns))


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    told = call()
    return told if isinstance(told, Seconds) else time.perf_counter() - start
