"""Argument checks that the contracts share: cheap, on metadata alone, and the same for every backend."""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Sequence
from typing import Any, Literal

from kernels.nested import Nested

__all__ = ["array", "axis", "integer", "physical_memory", "real", "seed"]

KINDS = {
    "real": "float32, float64 or integers",
    "inexact": "float32, float64, complex64, complex128 or integers",
    "mask": "bool",
}
ITEM_SIZES = {"f": (4, 8), "c": (8, 16)}


def integer(name: str, value: Any, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """Return `value` as a Python int, or raise an error that names the argument, what it was and what it must be."""
    if type(value) is not int:
        try:
            if isinstance(value, bool):
                raise TypeError
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, not {value!r} of type {type(value).__name__}") from None
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, not {_shown(value)}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{name} must be at most {maximum}, not {_shown(value)}")
    return value


def _shown(value: int) -> str:
    return str(value) if value.bit_length() < 200 else f"an integer of {value.bit_length()} bits"


def real(name: str, value: Any, *, positive: bool = False) -> float:
    """Return `value` as a Python float; it must be finite, not negative, and not zero either if `positive`."""
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        value = float(value)
    except TypeError:
        raise TypeError(f"{name} must be a real number, not {value!r} of type {type(value).__name__}") from None
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be finite and {'positive' if positive else 'not negative'}, not {value}")
    return value


def axis(value: Any, ndim: int) -> int:
    """Return an axis, which may count from the end, as one that counts from the beginning."""
    return integer("axis", value, minimum=-ndim, maximum=ndim - 1) % ndim


def seed(rng: Any) -> int:
    """The 64-bit key of a counter-based generator: `rng` itself, drawn from a NumPy Generator, or from the system."""
    if rng is None:
        return int.from_bytes(os.urandom(8), "little")
    if hasattr(rng, "bit_generator"):
        return int.from_bytes(rng.bytes(8), "little")
    return integer("rng", rng, minimum=0, maximum=2**64 - 1)


def array(
    name: str, value: Any, ndim: int | Sequence[int], kind: Literal["real", "inexact", "mask"]
) -> tuple[int, ...]:
    """The shape of an array of any backend, or of a nested list, whose axes and dtype must fit.

    Raises
    ------
    TypeError
        If it is no array, or of a wrong dtype.
    ValueError
        If it has a wrong number of axes, chunks of unknown size, or rows of different lengths.
    """
    if hasattr(value, "dtype"):
        shape = value.shape
        if not _fits(value.dtype, kind):
            raise TypeError(f"{name} must be of {KINDS[kind]}, not {value.dtype}")
        if (size := sum(shape)) != size:  # NaN is what Dask calls a length that it does not know
            raise ValueError(f"{name} has chunks of unknown size; call its compute_chunk_sizes() first")
    elif isinstance(value, Nested):
        shape = value.shape
    elif isinstance(value, (int, float, complex)):
        _check_items(name, {type(value)}, kind)
        shape = ()
    else:
        shape = _list_shape(name, value, kind)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if len(shape) not in allowed:
        axes = f"{allowed[0]} or more" if len(allowed) > 4 else " or ".join(map(str, allowed))
        raise ValueError(f"{name} must have {axes} axes, not {len(shape)}, its shape being {shape}")
    return shape


@functools.cache
def _fits(dtype: Any, kind: str) -> bool:
    code = dtype.kind
    if kind == "mask":
        return code == "b"
    return code in "iu" or ((code == "f" or kind == "inexact") and dtype.itemsize in ITEM_SIZES.get(code, ()))


def _list_shape(name: str, value: Any, kind: str) -> tuple[int, ...]:
    """Shape of a nested list; all its rows are looked at, since any of them may be of another length or type."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be an array or a nested list, not {value!r} of type {type(value).__name__}")
    items: Sequence[Any] = value
    shape = [len(items)]
    while items and all(isinstance(item, (list, tuple)) for item in items):
        lengths = set(map(len, items))
        if len(lengths) > 1:
            raise ValueError(f"{name} has rows of different lengths: {', '.join(map(str, sorted(lengths)))}")
        shape.append(lengths.pop())
        items = [item for row in items for item in row]
    _check_items(name, set(map(type, items)), kind)
    return tuple(shape)


def _check_items(name: str, types: set[type], kind: str) -> None:
    allowed = {"real": (int, float), "inexact": (int, float, complex), "mask": (bool,)}[kind]
    for item_type in types:
        if item_type in (list, tuple):
            raise ValueError(f"{name} has rows beside single items")
        if not issubclass(item_type, allowed) or (item_type is bool and kind != "mask"):
            raise TypeError(f"{name} must be of {KINDS[kind]}, not of {item_type.__name__}")


@functools.cache
def physical_memory() -> float:
    """Bytes of this machine's memory; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
