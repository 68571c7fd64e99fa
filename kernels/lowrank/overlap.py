"""How much terms overlap: the cosines between the outer products of drawn columns and rows, in NumPy and in CuPy."""

from __future__ import annotations

from typing import Any

__all__ = ["cosines"]


def cosines(c: Any, r: Any, xp: Any) -> Any:
    """Re <v_a, v_b> / (|v_a| |v_b|) for the terms ``v_a = outer(c[:, a], r[a])``; zero where one is zero."""
    c, r = _directions(c, 0, xp), _directions(r, 1, xp)
    return ((c.conj().T @ c) * (r @ r.conj().T).conj()).real.astype(xp.float64)


def _directions(vectors: Any, axis: int, xp: Any) -> Any:
    """Divided twice, since the squares of very large or small items would not do."""
    if not vectors.size:
        return vectors
    vectors = vectors / _divisors(xp.abs(vectors).max(axis=axis, keepdims=True), xp)
    return vectors / _divisors(xp.sqrt((xp.abs(vectors) ** 2).sum(axis=axis, keepdims=True)), xp)


def _divisors(norms: Any, xp: Any) -> Any:
    return xp.where(norms > 0, norms, 1)
