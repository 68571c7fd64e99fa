"""The few inner loops whose fastest form differs: CPython has them in C, PyPy compiles them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import accumulate, compress
from operator import mul

__all__ = ["cross_off", "ones", "position_sum", "running_sums", "select"]

if sys.implementation.name == "pypy":

    def cross_off(flags: bytearray | list[int], first: int, step: int) -> None:
        """Set every step-th flag from `first` on to 0."""
        for i in range(first, len(flags), step):
            flags[i] = 0

    def select(items: Iterable[int], flags: Iterable[int]) -> list[int]:
        """The items whose flags are set."""
        return [item for item, flag in zip(items, flags) if flag]  # noqa: B905

    def ones(length: int) -> bytearray | list[int]:
        """As many ones, in the type that suits `running_sums`: here a single one, which PyPy compiles best."""
        return [1] * length

    def running_sums(values: bytearray | list[int], stops: list[int]) -> list[int]:
        """The sums of the values before each of the rising stops."""
        sums, total, i = [], 0, 0
        for stop in stops:
            while i < stop:
                total += values[i]
                i += 1
            sums.append(total)
        return sums

    def position_sum(flags: bytearray) -> int:
        """The sum of the positions of all flags set."""
        total = 0
        for i in range(len(flags)):
            if flags[i]:
                total += i
        return total

else:

    def cross_off(flags: bytearray | list[int], first: int, step: int) -> None:
        flags[first::step] = bytes(len(range(first, len(flags), step)))

    def select(items: Iterable[int], flags: Iterable[int]) -> list[int]:
        return list(compress(items, flags))

    def ones(length: int) -> bytearray | list[int]:
        return bytearray(b"\1") * length

    def running_sums(values: bytearray | list[int], stops: list[int]) -> list[int]:
        runs = zip([0, *stops], stops)  # noqa: B905 (the last stop starts no run)
        if isinstance(values, bytearray):
            return list(accumulate([values.count(1, i, j) for i, j in runs]))
        return list(accumulate([sum(values[i:j]) for i, j in runs]))

    def position_sum(flags: bytearray) -> int:
        # Rows are added as integers, a byte a column, for as many rows as a byte can count.
        total, width, whole = 0, 2048, memoryview(flags)
        for start in range(0, len(flags), 255 * width):
            columns = 0
            for i in range(start, min(start + 255 * width, len(flags)), width):
                row = int.from_bytes(whole[i : i + width], "little")
                total += i * row.bit_count()
                columns += row
            total += sum(map(mul, range(width), columns.to_bytes(width, "little")))
        return total
