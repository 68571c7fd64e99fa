"""Which terms are drawn, and what they are multiplied by, in Python's ints: the very same terms as by `sampling`."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from math import isfinite

from kernels.lowrank.sampling import DRAWS, ORDER, PILOT, PILOT_DRAWS, START, below, grid_bits
from kernels.philox import MASK
from kernels.python_philox import philox4x32

__all__ = ["draw", "on_grid", "pilot"]


def on_grid(x_norms: list[float], y_norms: list[float]) -> tuple[list[int], bool]:
    """The weights of the terms as integers, 0 only for what is zero, and whether all of them are finite."""
    finite = all(map(isfinite, x_norms)) and all(map(isfinite, y_norms))
    x_norms, y_norms = _relative(x_norms), _relative(y_norms)
    products = [a * b for a, b in zip(x_norms, y_norms, strict=True)]
    scale = 2.0 ** grid_bits(len(products))
    steps = [max(round(product * scale), 1) for product in _relative(products)] if finite else [1] * len(products)
    return [step if a > 0 and b > 0 else 0 for a, b, step in zip(x_norms, y_norms, steps, strict=True)], finite


def _relative(values: list[float]) -> list[float]:
    """The same divided by the largest one, where all are finite and not all of them zero."""
    most = max(values, default=0.0)
    return [value / most for value in values] if most > 0 and all(map(isfinite, values)) else values


def draw(grid: list[int], rank: int, sampling: str, key: int) -> list[float]:
    """What each term is multiplied by, 0 where it is not drawn; `rank` is less than the number of terms."""
    return {
        "systematic": _systematic,
        "importance": _importance,
        "uniform": _uniform,
        "topk": _largest,
        "topk_reweighted": _largest,
    }[sampling](grid, rank, key)


def _systematic(grid: list[int], rank: int, key: int) -> list[float]:
    """One starting point, and then steps of one length along the weights, which lie in random order one by one."""
    left, total = rank, sum(grid)
    for weight in sorted(grid, reverse=True):
        if not left or left * weight < total:
            break
        left -= 1
        total -= weight
    factors = [float(weight > 0 and weight * left >= total) for weight in grid]
    if not total:
        return factors
    order = _random_order([term for term, weight in enumerate(grid) if weight and not factors[term]], len(grid), key)
    ends = list(accumulate([grid[term] for term in order]))
    start = below(total, *_two_words(0, START, key))
    for step in range(left):
        point = step * (total // left) + (start + step * (total % left)) // left
        term = order[bisect_right(ends, point)]
        factors[term] = float(total) / (left * grid[term])
    return factors


def _random_order(terms: list[int], length: int, key: int) -> list[int]:
    """Terms by random numbers of 63 bits, the last of which are replaced by the term's own."""
    low = (1 << length.bit_length()) - 1
    numbers = []
    for term in terms:
        first, second = _two_words(term, ORDER, key)
        numbers.append((first << 31 | second >> 1) & ~low | term)
    return [number & low for number in sorted(numbers)]


def _importance(grid: list[int], rank: int, key: int) -> list[float]:
    counts = Counter(_with_replacement(grid, rank, DRAWS, key))
    total = float(sum(grid))
    return [counts[term] * (total / (rank * weight)) if weight else 0.0 for term, weight in enumerate(grid)]


def pilot(grid: list[int], key: int) -> list[int]:
    """The terms that tell how much all of them overlap, drawn in proportion to their weights, with replacement."""
    return _with_replacement(grid, PILOT_DRAWS, PILOT, key)


def _with_replacement(grid: list[int], count: int, use: int, key: int) -> list[int]:
    ends = list(accumulate(grid))
    last = len(grid) - 1  # beyond it only where all weights are zero
    return [min(bisect_right(ends, below(ends[-1], *words)), last) for words in _words(count, use, key)]


def _uniform(grid: list[int], rank: int, key: int) -> list[float]:
    counts = Counter(below(len(grid), *words) for words in _words(rank, DRAWS, key))
    return [counts[term] * (len(grid) / rank) if weight else 0.0 for term, weight in enumerate(grid)]


def _largest(grid: list[int], rank: int, key: int) -> list[float]:
    """Of equal weights the first ones."""
    factors = [0.0] * len(grid)
    for term in sorted(range(len(grid)), key=lambda term: -grid[term])[:rank]:
        factors[term] = float(grid[term] > 0)
    return factors


def _words(count: int, use: int, key: int) -> Iterator[tuple[int, int]]:
    return (_two_words(i, use, key) for i in range(count))


def _two_words(i: int, use: int, key: int) -> tuple[int, int]:
    first, second, _, _ = philox4x32(i & MASK, i >> 32, use, 0, key & MASK, key >> 32)
    return first, second
