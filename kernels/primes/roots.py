"""Exact integer roots that the standard library does not have."""

from __future__ import annotations

__all__ = ["cube_root"]


def cube_root(n: int) -> int:
    """The largest integer whose cube is at most n."""
    root = round(n ** (1 / 3))
    while root**3 > n:
        root -= 1
    while (root + 1) ** 3 <= n:
        root += 1
    return root
