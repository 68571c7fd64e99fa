"""The segmented sieve on the layout of `wheel30`: the primes of any stretch marked in bits, chunk after chunk.

The smallest primes come as ready-made patterns; small ones are crossed off while a block lies in the first cache,
medium ones over a buffer in the second, large ones over the whole chunk. A chunk has a margin on either side, into
which the first and the last turn of a prime may reach: so all but the large ones go in whole turns, with no look at
where the chunk ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import isqrt
from typing import NamedTuple, TypeVar

import numpy as np

from kernels.jit import jit, n_threads, thread_map
from kernels.primes.miller_rabin import is_prime
from kernels.primes.wheel30 import (
    OFFSETS,
    SPOKE,
    cross_large,
    cross_turns,
    first_multiple,
    popcount,
    trailing_zeros,
    word_sum,
)

__all__ = ["count_bits", "empty", "listed", "set_flags", "sum_bits", "sweep"]

Result = TypeVar("Result")

SMALL = 1 << 13  # primes below are small
BLOCK = 1 << 15  # bytes: a first cache
BUFFER = 1 << 19  # bytes: within a second cache, with room for the sieving primes that stream by
CHUNK = 1 << 23  # bytes: a thread's share of the last cache
TILE = 1 << 11  # bytes that a pattern goes on beyond its period
TESTED = 1 << 16  # the least root above which numbers are tested: `is_prime` serves from 2**31 on

PATTERN_PRIMES = np.array([
    [7, 11, 13], [17, 19, 23], [29, 31, 1], [37, 41, 1],
    [43, 47, 1], [53, 59, 1], [61, 67, 1], [71, 73, 1],
    [79, 83, 1], [89, 97, 1], [101, 103, 1], [107, 109, 1],
])  # fmt: skip
PERIODS = PATTERN_PRIMES.prod(axis=1)
PATTERN_STARTS = np.cumsum([0, *(PERIODS + TILE)])


@jit
def empty(size):
    """Bytes on plain pages; NumPy asks for huge ones, which a virtual machine may be very slow to get from its host."""
    return np.empty(size, np.uint8)


@jit
def copy(bits):
    """A copy likewise on plain pages."""
    return bits.copy()


class Tables(NamedTuple):
    """What marking needs, the same for every chunk of a range."""

    patterns: np.ndarray  # end to end, `fours` times four
    fours: int
    primes: np.ndarray  # the small ones, then the medium, both sorted by residue
    n_small: int
    large: np.ndarray
    margin: int  # no less than any of `primes`


@jit
def build_patterns(fours):
    """For each pattern a period and a tile of the numbers that its primes do not divide."""
    patterns = np.full(PATTERN_STARTS[4 * fours], 0xFF, np.uint8)
    for i in range(4 * fours):
        pattern, period = patterns[PATTERN_STARTS[i] : PATTERN_STARTS[i + 1]], PERIODS[i]
        for prime in PATTERN_PRIMES[i]:
            if prime > 1:
                cross_turns(pattern, prime, np.int64(0), period)  # a literal would be a type of its own to compile for
        for j in range(TILE):
            pattern[period + j] = pattern[j]
    return patterns


@jit
def presieve(bits, at, stop, first_byte, patterns, fours):
    """Set ``bits[at:stop]`` by the patterns; ``bits[0]`` is the byte `first_byte`."""
    for start in range(at, stop, TILE):
        tile, byte = bits[start : min(start + TILE, stop)], first_byte + start
        for i in range(0, 4 * fours, 4):
            a = patterns[PATTERN_STARTS[i] + byte % PERIODS[i] :]
            b = patterns[PATTERN_STARTS[i + 1] + byte % PERIODS[i + 1] :]
            c = patterns[PATTERN_STARTS[i + 2] + byte % PERIODS[i + 2] :]
            d = patterns[PATTERN_STARTS[i + 3] + byte % PERIODS[i + 3] :]
            if i == 0:
                for j in range(len(tile)):
                    tile[j] = a[j] & b[j] & c[j] & d[j]
            else:
                for j in range(len(tile)):
                    tile[j] &= a[j] & b[j] & c[j] & d[j]


@jit
def cross_all(bits, primes, bases, stop):
    """Go on with every prime up to `stop`."""
    for i in range(len(primes)):
        bases[i] = cross_turns(bits, np.int64(primes[i]), np.int64(bases[i]), stop)


@jit
def mark(scratch, first_byte, size, head, tail, tables):
    """Mark the numbers that no prime of the tables divides, other than itself, in `size` bytes.

    They count from ``30 * first_byte + head`` to below ``tail`` in the last byte. The bytes returned lie in `scratch`,
    filled up with zeros to whole words.
    """
    primes, n_small, margin = tables.primes, tables.n_small, tables.margin
    end = margin + size
    bases = np.empty(len(primes), np.int32)
    for i in range(len(primes)):
        prime = np.int64(primes[i])
        base, _ = first_multiple(prime, max(prime, -(-30 * first_byte // prime)), first_byte)
        bases[i] = min(margin + base, end)
    ready = margin
    for start in range(margin, end, BUFFER):
        stop = min(start + BUFFER, end)
        ahead = min(stop + margin, end)  # where the last turns over this buffer reach
        presieve(scratch, ready, ahead, first_byte - margin, tables.patterns, tables.fours)
        ready = ahead
        for block in range(start, stop, BLOCK):
            cross_all(scratch, primes[:n_small], bases[:n_small], min(block + BLOCK, stop))
        cross_all(scratch, primes[n_small:], bases[n_small:], stop)
    bits = scratch[margin : margin + (size + 7) // 8 * 8]
    cross_large(bits[:size], first_byte, tables.large)
    if first_byte == 0:
        bits[0] &= 0xFE  # 1 is no prime
    if first_byte < 4:  # the patterns struck their own primes
        for prime in PATTERN_PRIMES[: 4 * tables.fours].ravel():
            if prime > 1 and first_byte <= prime // 30 < first_byte + size:
                bits[prime // 30 - first_byte] |= np.uint8(1 << SPOKE[prime % 30])
    bits[0] &= np.uint8(0xFF << SPOKE[head] & 0xFF)
    bits[size - 1] &= np.uint8((1 << SPOKE[tail]) - 1)
    bits[size:] = 0
    return bits


@jit
def strike_composites(bits, first_byte):
    """Test what is still marked, number by number."""
    words = bits.view(np.uint64)
    for i in range(len(words)):
        word, zero = words[i], 30 * (first_byte + 8 * i)
        while word:
            bit = word & -word
            if not is_prime(np.uint64(zero + OFFSETS[trailing_zeros(word)])):
                words[i] ^= bit
            word ^= bit


@jit
def count_bits(bits):
    """How many primes are marked."""
    count = 0
    for word in bits.view(np.uint64):
        count += popcount(word)
    return count


@jit
def sum_bits(bits):
    """How many primes are marked, and the sum of what they exceed the first byte's ``30 * first_byte`` by."""
    words = bits.view(np.uint64)
    count = total = 0
    for i in range(len(words)):
        count += popcount(words[i])
        total += word_sum(words[i], 240 * i)
    return count, total


@jit
def list_bits(bits, first_byte, primes):
    """Write the primes marked into an array of just their number."""
    words = bits.view(np.uint64)
    n = 0
    for i in range(len(words)):
        word, zero = words[i], 30 * (first_byte + 8 * i)
        end = n + popcount(word)
        if end + 7 <= len(primes):  # in eights: what goes beyond the word's last, the next word overwrites
            for at in range(n, end, 8):
                for j in range(8):
                    primes[np.uint64(at + j)] = zero + OFFSETS[np.uint64(trailing_zeros(word))]
                    word &= word - np.uint64(1)
        else:
            for at in range(n, end):
                primes[np.uint64(at)] = zero + OFFSETS[np.uint64(trailing_zeros(word))]
                word &= word - np.uint64(1)
        n = end


@jit
def set_flags(bits, first_byte, flags):
    """Set ``flags[p]`` for the primes marked, and clear it for the other numbers of the chunk."""
    words = bits.view(np.uint64)
    flags[30 * first_byte : 30 * (first_byte + len(bits))] = False
    for i in range(len(words)):
        word, zero = words[i], 30 * (first_byte + 8 * i)
        while word:
            flags[np.uint64(zero + OFFSETS[trailing_zeros(word)])] = True
            word &= word - np.uint64(1)


def odd_primes(limit: int) -> np.ndarray:
    """The odd primes below a limit, as uint32, by the plain sieve."""
    prime = np.ones(limit // 2, np.bool_)
    prime[:1] = False
    for i in range(1, (isqrt(limit) + 1) // 2):
        if prime[i]:
            prime[2 * i * (i + 1) :: 2 * i + 1] = False
    return (2 * np.flatnonzero(prime) + 1).astype(np.uint32)


def sieving_primes(limit: int) -> np.ndarray:
    """The primes up to a limit below 2**32, as uint32, without some of the least."""
    if limit < 1 << 16:
        return odd_primes(limit + 1)
    return listed(0, limit + 1, (), np.uint32)


def tables_for(primes: np.ndarray, size: int) -> Tables:
    """Tables for a range of `size` bytes: no more patterns than it repays, no whole turns longer than itself."""
    fours = 1 if size < 20_000 else 2 if size < 60_000 else 3
    least = int(PATTERN_PRIMES[4 * fours - 1].max()) + 1
    medium = max(least, min(2 * BUFFER, size))
    # Bounds of another type would have all primes converted to it.
    bounds = np.array([least, min(SMALL, medium), medium], primes.dtype)
    first, second, third = np.searchsorted(primes, bounds).tolist()
    crossed = primes[first:third]
    margin = int(crossed.max(initial=0)) + 63 & ~63
    order = np.argsort((crossed % 30 + 30 * (crossed >= SMALL)).astype(np.uint8), kind="stable")
    return Tables(build_patterns(fours), fours, crossed[order], second - first, primes[third:], margin)


def sweep(start: int, stop: int, visit: Callable[[np.ndarray, int], Result]) -> list[Result]:
    """``visit(bits, first_byte)`` for each chunk of ``[start, stop)`` in turn, on several threads where that pays.

    The bits mark the primes of the chunk from 7 on, and last as long as the visit.
    """
    first, last = start // 30, -(-stop // 30)
    if first == last:
        return []
    root = isqrt(stop - 1)
    # One in log(stop) numbers is prime, and takes 2 microseconds of testing; two in log(stop) up to the root are,
    # and take 12 nanoseconds of finding and crossing off. Tests gain the most from sieving up to about the length.
    tested = root >= TESTED and 80 * (stop - start) < root
    tables = tables_for(sieving_primes(min(root, stop - start) if tested else root), last - first)
    workers = max(1, min(n_threads(), (last - first) // (1 << 10 if tested else BUFFER)))
    rounds = -(-(last - first) // (workers * CHUNK))
    size = -(-(last - first) // (workers * rounds)) + 63 & ~63

    def work(worker: int) -> list[Result]:
        scratch = empty(size + 2 * tables.margin)
        results = []
        for at in range(first + worker * size, last, workers * size):
            length = min(size, last - at)
            bits = mark(scratch, at, length, max(start - 30 * at, 0), min(stop - 30 * (at + length - 1), 30), tables)
            if tested:
                strike_composites(bits, at)
            results.append(visit(bits, at))
        return results

    shares = thread_map(work, range(workers))
    return [share[i] for i in range(len(shares[0])) for share in shares if i < len(share)]


def listed(start: int, stop: int, before: Sequence[int], dtype: type) -> np.ndarray:
    """The primes of ``[start, stop)`` from 7 on, after those of `before`.

    Bits are kept first, an eighth of the array or less: so its length is exact, and each thread knows its place.
    """
    chunks = sweep(start, stop, lambda bits, first_byte: (copy(bits), first_byte, count_bits(bits)))
    ends = list(accumulate((count for _, _, count in chunks), initial=len(before)))
    primes = empty(ends[-1] * np.dtype(dtype).itemsize).view(dtype)
    primes[: len(before)] = before

    def fill(chunk: int) -> None:
        bits, first_byte, count = chunks[chunk]
        list_bits(bits, first_byte, primes[ends[chunk] : ends[chunk] + count])

    thread_map(fill, range(len(chunks)))
    return primes
