"""What the contracts of functions on arrays have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kernels.dispatch import Predicate, contract

__all__ = ["operation", "too_few"]

Function = TypeVar("Function", bound=Callable[..., Any])


def operation(
    *arrays: str, masks: Sequence[str] = (), few: Predicate, on_sparse: str
) -> Callable[[Function], Function]:
    """A contract whose arrays, but for masks, have one floating-point dtype; `few` tells when not to take Numba."""
    return contract(
        arrays=(*arrays, *masks),
        inexact=arrays,
        not_worth={"numba": few},
        notes={"sparse": on_sparse, "cupy": "not yet verified on a GPU"},
    )


def too_few(size: float, enough: float) -> str | None:
    """Why a function of so many items, or products of them, is not worth Numba."""
    return "NumPy answers within a millisecond, long before Numba is loaded" if size < enough else None
