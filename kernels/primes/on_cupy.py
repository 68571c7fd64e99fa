"""Primes on a GPU, in CUDA C: a segmented bit sieve in shared memory, and a sweep over the values n // k.

Ranges are marked in chunks, a bit for each number prime to 30 (``sieve.cu``): the smallest primes come as patterns, the
multiples of medium ones are crossed off in shared memory, a segment a block, those of large ones in the whole chunk,
which the second-level cache holds. A range far shorter than the largest sieving prime is left to strong probable prime
tests. Counts and sums from 0 on (``sweep.cu``) sieve F(n / k) for all k by the primes up to the fourth root of n, and
take the rest off F(n) by pairs of primes, as Meissel did.

The host waits for the device where it must know a number: a count, a sum, the length of a list.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from math import isqrt, log
from pathlib import Path
from typing import Any

import cupy
import numpy as np

from kernels.primes import nth_prime

__all__ = ["below", "between", "count_below", "count_between", "nth", "sieve", "sum_below", "sum_between", "sum_first"]

WORD = 120  # numbers in a word of bits
SEGMENT = 10240  # words in a segment, as in sieve.cu
SEGMENTS = 1024  # in a chunk
PRESIEVED = 61  # the largest prime that sieve.cu has as a pattern
MEDIUM = 1 << 14  # so many primes are crossed off by segments
TRIAL = 1 << 16  # before probable prime tests, primes up to this one are crossed off
TESTED = 1 << 8  # a range shorter than this part of the square root of its end is tested
MARKED = 10**8  # up to this limit, marking costs less than the sweep
NO_PRIME = 2**32 - 1

_u32 = np.uint32

Chunk = tuple[int, cupy.ndarray]  # the number that it begins with, and its words


def sieve(limit: int) -> cupy.ndarray:
    result = cupy.empty(limit, bool)
    result[:7] = False
    for first, words in _marked(0, limit):
        part = result[first : first + WORD * len(words)].view(np.uint8)
        _launch("indicate", len(part), 1 << 15, 256, words, _u32(len(words)), part, len(part))
    for p in _off_wheel(0, limit):
        result[p] = True
    return result


def below(limit: int) -> cupy.ndarray:
    return between(0, limit)


def between(start: int, stop: int) -> cupy.ndarray:
    few = _off_wheel(start, stop)
    chunks = list(_marked(start, stop))
    starts = _segment_starts(chunks)
    result = cupy.empty(len(few) + int(starts[-1].get()), np.int64)
    for i, p in enumerate(few):
        result[i] = p
    _list("list_64", chunks, starts, result[len(few) :])
    return result


def count_between(start: int, stop: int) -> int:
    return _count_and_sum_between(start, stop)[0]


def sum_between(start: int, stop: int) -> int:
    return _count_and_sum_between(start, stop)[1]


def count_below(limit: int) -> int:
    if limit <= MARKED:
        return count_between(0, limit)
    return len((2, 3, 5)) - 1 + _sweep(limit - 1, "count")


def sum_below(limit: int) -> int:
    if limit <= MARKED:
        return sum_between(0, limit)
    return sum((2, 3, 5)) - 1 + _sweep(limit - 1, "sum")


def nth(k: int) -> int:
    return nth_prime.nth(k, count_below, between)


def sum_first(k: int) -> int:
    return nth_prime.sum_first(k, _count_and_sum_below, between, _total)


def _count_and_sum_below(limit: int) -> tuple[int, int]:
    return _count_and_sum_between(0, limit) if limit <= MARKED else (count_below(limit), sum_below(limit))


def _total(primes: cupy.ndarray) -> int:
    """Exact, as long as the distances from the first prime add up to less than 2**63."""
    return int(primes[0].get()) * len(primes) + int((primes - primes[0]).sum().get())


def _count_and_sum_between(start: int, stop: int) -> tuple[int, int]:
    few = _off_wheel(start, stop)
    firsts, totals = [], []
    for first, words in _marked(start, stop):
        firsts.append(first)
        totals.append(_tally(words, cupy.empty(SEGMENTS, np.int64)))
    counts, distances = cupy.stack(totals).get().T.tolist() if totals else ([], [])
    sums = (first * count for first, count in zip(firsts, counts, strict=True))
    return len(few) + sum(counts), sum(few) + sum(sums) + sum(distances)


def _off_wheel(start: int, stop: int) -> list[int]:
    return [p for p in (2, 3, 5) if start <= p < stop]


def _marked(start: int, stop: int) -> Iterator[Chunk]:
    """The chunks of a range, one after another, with the primes marked."""
    start = max(start, 2)
    if start >= stop:
        return
    root = isqrt(stop - 1)
    tested = root > TRIAL and stop - start < root // TESTED
    primes = _sieving_primes(TRIAL if tested else root) if root > PRESIEVED else cupy.empty(0, np.uint32)
    medium, large = primes[:MEDIUM], primes[MEDIUM:]
    remainders = cupy.empty_like(medium)
    begin, end = start // WORD, -(-stop // WORD)
    for first in range(begin, end, SEGMENTS * SEGMENT):
        words = cupy.empty(min(SEGMENTS * SEGMENT, end - first), np.uint32)
        chunk = words, _u32(len(words)), first
        bounds = start - WORD * first, stop - WORD * first
        _launch("remainders", len(medium), 256, 256, medium, remainders, _u32(len(medium)), 4 * first)
        _launch("mark", len(words), SEGMENT, 512, *chunk, medium, remainders, _u32(len(medium)), *bounds)
        _launch("cross_large", len(large), 256, 256, *chunk, large, _u32(len(large)))
        if tested:
            _launch("keep_primes", len(words), 8, 256, *chunk)
        yield WORD * first, words


def _sieving_primes(root: int) -> cupy.ndarray:
    """The primes from 7 to `root`, then `NO_PRIME` up to a bound of their number, which the host need not know thus."""
    primes = cupy.full(int(1.25506 * root / log(root)), NO_PRIME, np.uint32)  # Rosser and Schoenfeld, 1962
    chunks = list(_marked(7, root + 1))
    _list("list_32", chunks, _segment_starts(chunks), primes)
    return primes


def _tally(words: cupy.ndarray, counts: cupy.ndarray) -> cupy.ndarray:
    """Write each segment's count of primes; return the chunk's, and the sum of their distances from its beginning."""
    totals = cupy.zeros(2, np.uint64)
    _launch("tally", len(words), SEGMENT, 256, words, _u32(len(words)), counts, totals)
    return totals


def _segment_starts(chunks: list[Chunk]) -> cupy.ndarray:
    """Where each segment's primes begin in the list of all, and where the list ends."""
    counts = cupy.zeros(1 + len(chunks) * SEGMENTS, np.int64)
    for i, (_, words) in enumerate(chunks):
        _tally(words, counts[1 + i * SEGMENTS :])
    return cupy.cumsum(counts)


def _list(kernel: str, chunks: list[Chunk], starts: cupy.ndarray, primes: cupy.ndarray) -> None:
    for i, (first, words) in enumerate(chunks):
        begin = starts[i * SEGMENTS :]
        _launch(kernel, len(words), SEGMENT, 512, words, _u32(len(words)), first // WORD, begin, primes)


def _sweep(n: int, kind: str) -> int:
    """The count, or the sum, of 1 and the primes from 7 to n."""
    r = isqrt(n)
    size, width = _prime_to_30(r), {"count": 1, "sum": 2}[kind]  # in 64-bit words
    primes = _sieving_primes(r)
    values, sieved = (cupy.empty(2 * size * width, np.uint64) for _ in range(2))
    _launch(f"begin_{kind}", size, 256, 256, values, _u32(size), n)
    sieving = _primes_from_7(isqrt(r))
    final = 0  # so many of the first values stand in both copies
    for i in range(0, len(sieving), 3):
        three = [*sieving[i : i + 3], 0, 0][:3]
        arguments = _u32(size), n, _u32(r), sieved, _u32(final), *map(_u32, three)
        _launch(f"sieve_{kind}", 2 * size - final, 256, 256, values, *arguments)
        values, sieved = sieved, values
        final = _prime_to_30(three[0] ** 2 - 1)
    totals = cupy.zeros(2 * width, np.uint64)
    arguments = _u32(size), n, _u32(r), primes, _u32(len(primes)), _u32(len(sieving)), totals
    _launch(f"finish_{kind}", min(len(primes), 1 << 14), 8, 256, values, *arguments)
    words = totals.get().tolist()
    whole, taken = (sum(word << 64 * i for i, word in enumerate(part)) for part in (words[:width], words[width:]))
    return (whole - taken) % 2 ** (64 * width)


def _primes_from_7(last: int) -> list[int]:
    prime = bytearray([True]) * (last + 1)
    for i in range(2, isqrt(last) + 1):
        if prime[i]:
            prime[i * i :: i] = bytes(len(range(i * i, last + 1, i)))
    return [p for p in range(7, last + 1) if prime[p]]


def _prime_to_30(x: int) -> int:
    """How many numbers up to x are prime to 30."""
    return x // 30 * 8 + sum(r <= x % 30 for r in (1, 7, 11, 13, 17, 19, 23, 29))


def _launch(name: str, size: int, share: int, threads: int, *arguments: Any) -> None:
    """Run a kernel over `size` items, `share` of them a block."""
    if size:
        _kernel(name)((-(-size // share),), (threads,), arguments)


@functools.cache
def _kernel(name: str) -> Any:
    """A kernel, which CuPy compiles for each device where it is launched."""
    return _module("sweep.cu" if name.endswith(("_count", "_sum")) else "sieve.cu").get_function(name)


@functools.cache
def _module(file: str) -> Any:
    return cupy.RawModule(code=Path(__file__).with_name(file).read_text(), options=("-std=c++17",))
