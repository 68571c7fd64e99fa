"""The median of more numbers than one would keep: one pass counts them, and keeps those near the median of a sample.

R. W. Floyd and R. L. Rivest, "Expected time bounds for selection", Communications of the ACM 18 (1975), 165-172.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

__all__ = ["SAMPLED", "middle", "sample_size"]

SAMPLED = 1 << 12  # numbers that are not all kept

Around = Callable[[float, float], tuple[int, int, Any, int]]


def sample_size(count: int) -> int:
    """How many of so many numbers make up a good sample; none where all may be kept."""
    return round(count ** (2 / 3)) if count > SAMPLED else 0


def middle(count: int, sample: Any, around: Around) -> tuple[float, float]:
    """The two numbers in the middle of `count` numbers, or the one twice.

    `sample` holds some of them in ascending order. ``around(low, high)`` tells how many are less than `low` and how
    many equal to it, returns those between `low` and `high` in ascending order, and tells how many equal `high`.
    """
    ranks = (count - 1) // 2, count // 2
    margin = round(2 * len(sample) ** 0.5)  # four standard deviations of the median's rank in the sample
    while True:
        enough = 0 < 2 * margin < len(sample)
        low = sample[len(sample) // 2 - margin] if enough else -inf
        high = sample[len(sample) // 2 + margin] if enough else inf
        below, at_low, between, at_high = around(low, high)
        first, last = (rank - below - at_low for rank in ranks)
        if -at_low <= first and last < len(between) + at_high:
            return _item(low, between, high, first), _item(low, between, high, last)
        margin *= 4


def _item(low: float, between: Any, high: float, place: int) -> float:
    return low if place < 0 else high if place >= len(between) else float(between[place])
