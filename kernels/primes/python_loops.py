"""The few inner loops whose fastest form differs: CPython has them in C, PyPy compiles them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import accumulate, compress
from operator import mul

__all__ = ["RoughNumbers", "cross_off", "dot", "position_sum", "prefix_sums", "select"]

if sys.implementation.name == "pypy":

    def cross_off(flags: bytearray | list[int], first: int, step: int) -> None:
        """Set every step-th flag from `first` on to 0."""
        for i in range(first, len(flags), step):
            flags[i] = 0

    def select(items: Iterable[int], flags: Sequence[int]) -> list[int]:
        """The items whose flags are set."""
        selected, end = [*items], 0  # moved up in place: a list that grows costs three times as much
        for i in range(len(selected)):
            if flags[i]:
                selected[end] = selected[i]
                end += 1
        del selected[end:]
        return selected

    def prefix_sums(values: list[int]) -> list[int]:
        """The sums of the values up to and with each."""
        sums, total = values[:], 0
        for i in range(len(sums)):
            total += sums[i]
            sums[i] = total
        return sums

    def dot(weights: list[int], values: list[int]) -> int:
        """The sum of the products."""
        total = 0
        for i in range(len(weights)):
            total += weights[i] * values[i]
        return total

    class RoughNumbers:
        """The odd numbers up to a limit that none of the primes crossed off divides; here a list that shrinks."""

        def __init__(self, limit: int, powers: Sequence[int]) -> None:
            self.numbers = [*range(1, limit + 1, 2)]
            self.left = bytearray(b"\1") * len(self.numbers)
            self.powers = powers

        def cross_off(self, p: int) -> None:
            numbers, left, end = self.numbers, self.left, 0
            cross_off(left, p // 2, p)
            for m in numbers:
                numbers[end] = m
                end += left[m >> 1]
            del numbers[end:]

        def sums(self, x: int, divisors: list[int]) -> list[list[int]]:
            """For each of the powers, 0 or 1, its sums over the numbers up to x / m, for the rising divisors m."""
            numbers = self.numbers
            count, end, total = 0, len(numbers), 0
            counts, totals = divisors[:], divisors[:]
            for i in range(len(divisors) - 1, -1, -1):
                stop = x // divisors[i]
                while count < end and numbers[count] <= stop:
                    total += numbers[count]
                    count += 1
                counts[i] = count
                totals[i] = total
            return [totals if power else counts for power in self.powers]

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

    def select(items: Iterable[int], flags: Sequence[int]) -> list[int]:
        return list(compress(items, flags))

    def prefix_sums(values: list[int]) -> list[int]:
        return list(accumulate(values))

    def dot(weights: list[int], values: list[int]) -> int:
        return sum(map(mul, weights, values))

    class RoughNumbers:  # type: ignore[no-redef]
        def __init__(self, limit: int, powers: Sequence[int]) -> None:
            odd = range(1, limit + 1, 2)
            self.tables = [[*odd] if power else bytearray(b"\1") * len(odd) for power in powers]

        def cross_off(self, p: int) -> None:
            for table in self.tables:
                cross_off(table, p // 2, p)

        def sums(self, x: int, divisors: list[int]) -> list[list[int]]:
            stops = [(x // m + 1) // 2 for m in reversed(divisors)]
            sums = []
            for table in self.tables:
                runs = zip([0, *stops], stops)  # noqa: B905 (the last stop starts no run)
                if isinstance(table, bytearray):
                    rising = prefix_sums([table.count(1, i, j) for i, j in runs])
                else:
                    rising = prefix_sums([sum(table[i:j]) for i, j in runs])
                sums.append(rising[::-1])
            return sums

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
