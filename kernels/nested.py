"""Nested lists as arrays: what the python backend has for more than one axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

__all__ = ["Nested", "flat", "nested", "shape"]


class Nested(list[Any]):
    """A nested list without an item, of a shape that its brackets cannot tell: (0, 3) would read ``[]``."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(_split([], shape))
        self.shape = tuple(shape)


def shape(array: Any) -> tuple[int, ...]:
    """Lengths of the axes of an array, or of a nested list that is known to be rectangular."""
    if hasattr(array, "shape"):
        return array.shape
    lengths = []
    while isinstance(array, (list, tuple)):
        lengths.append(len(array))
        if not array:
            break
        array = array[0]
    else:
        if hasattr(array, "__len__"):  # a buffer of the standard library as the last axis
            lengths.append(len(array))
    return tuple(lengths)


def flat(array: Any) -> list[Any]:
    """The items of a nested list in one, row by row."""
    for _ in range(len(shape(array)) - 1):
        array = chain.from_iterable(array)
    return list(array)


def nested(items: list[Any], shape: Sequence[int]) -> list[Any]:
    """The items, row by row, as a nested list of that shape; the inverse of `flat`."""
    return Nested(shape) if 0 in shape[:-1] else _split(items, shape)


def _split(items: list[Any], shape: Sequence[int]) -> list[Any]:
    if len(shape) < 2:
        return items
    size = prod(shape[1:])
    return [_split(items[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0])]
