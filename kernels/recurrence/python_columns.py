"""Series of nested lists by their columns: the items of one sequence and feature, in the order of the scan.

A column is a slice of the flat list of all items, so that it is taken and put back without a loop, and the loop of a
recurrence has nothing but its own state to carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from numbers import Real
from operator import add
from typing import Any

from kernels.nested import flat, nested, shape

__all__ = ["Columns", "Layout", "numbers"]


def numbers(*arrays: Any) -> list[Any]:
    """The items of arrays as flat lists of floats, or all of complex numbers if one of the items is complex."""
    items = [None if array is None else flat(array) if shape(array) else [array] for array in arrays]
    types = [set() if values is None else set(map(type, values)) for values in items]
    kind = float if all(issubclass(item_type, Real) for item_type in set().union(*types)) else complex
    return [
        values if values is None or found <= {kind} else [kind(value) for value in values]
        for values, found in zip(items, types, strict=True)
    ]


class Layout:
    """Where the columns of a series lie: which sequences, features and times there are, and the order of scanning.

    Parameters
    ----------
    lengths : sequence of int
        The shape of the series.
    reverse : bool, optional
        Whether it is scanned from the last step to the first.
    limits : sequence of int, optional
        How many steps of each sequence count.
    """

    def __init__(self, lengths: Sequence[int], reverse: bool = False, limits: Sequence[int] | None = None) -> None:
        self.lengths = tuple(lengths)
        self.batch, self.time, self.features = (1, *lengths, 1) if len(lengths) == 1 else (1, *lengths)[-3:]
        self.reverse = reverse
        self.limits = [self.time] * self.batch if limits is None else limits

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((sequence, feature) for sequence in range(self.batch) for feature in range(self.features))

    def series(self, items: list[Any] | None = None) -> Columns:
        """A series of these items, or of zeros."""
        size = self.batch * self.time * self.features
        return Columns([0.0] * size if items is None else items, self, self.lengths)

    def broadcast(self, items: list[Any], lengths: Sequence[int]) -> Columns:
        """A series that an array of that shape is broadcast to."""
        return Columns(items, self, lengths)

    def states(self, items: list[Any] | None = None) -> list[Any]:
        """One state a column, in the order of iteration; 0 without any."""
        return [0.0] * (self.batch * self.features) if items is None else items

    def nested_states(self, states: list[Any]) -> Any:
        if len(self.lengths) == 1:
            return states[0]
        return nested(states, (*self.lengths[:-2], self.features))


class Columns:
    """The columns of a series, each of which can be read, replaced or added to."""

    def __init__(self, items: list[Any], layout: Layout, lengths: Sequence[int]) -> None:
        self.items, self.layout, self.lengths = items, layout, tuple(lengths)
        axes = (1,) * (len(layout.lengths) - len(lengths)) + self.lengths
        whole = (1, *axes, 1) if len(layout.lengths) == 1 else (1, *axes)[-3:]
        self._steps = [prod(whole[axis + 1 :]) if whole[axis] != 1 else 0 for axis in range(3)]

    def __getitem__(self, column: tuple[int, int]) -> list[Any]:
        start, step, count = self._place(column)
        if not step:
            return self.items[start : start + 1] * count
        return self._in_order(self.items[start : start + count * step : step])

    def __setitem__(self, column: tuple[int, int], values: list[Any]) -> None:
        start, step, count = self._place(column)
        if step:
            self.items[start : start + count * step : step] = self._in_order(values)
        elif count:
            self.items[start] = values[0]

    def add(self, column: tuple[int, int], values: list[Any]) -> None:
        """Add the values of a column; their sum where all of its steps share one item."""
        start, step, _ = self._place(column)
        if step:
            self[column] = list(map(add, self[column], values))
        else:
            self.items[start] += sum(values)

    def nested(self) -> Any:
        return nested(self.items, self.lengths) if self.lengths else self.items[0]

    def _place(self, column: tuple[int, int]) -> tuple[int, int, int]:
        sequence, feature = column
        start = sequence * self._steps[0] + feature * self._steps[2]
        return start, self._steps[1], self.layout.limits[sequence]

    def _in_order(self, values: list[Any]) -> list[Any]:
        return values[::-1] if self.layout.reverse else values
