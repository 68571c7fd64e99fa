"""Counts and sums up to any place of a sieved stretch, from its words and the totals before each of them."""

from __future__ import annotations

import numpy as np

from kernels.jit import jit
from kernels.primes.wheel30 import OFFSETS, popcount, word_sum
from kernels.primes.wide import add_product, nearest

__all__ = ["WORD", "running_totals", "total_at", "weighted_totals"]

WORD = 240  # numbers in a word of eight bytes
BATCH = 1 << 12
_RECIPROCAL, _SHIFT = np.uint64(0x88888889), np.uint64(39)  # n * reciprocal >> shift == n // WORD below 2**32


# For each place in a word the bits up to there.
UP_TO = np.array([sum(1 << i for i in range(64) if OFFSETS[i] <= place) for place in range(WORD)], np.uint64)


@jit
def running_totals(words, number, start, sums, totals):
    """The count or sum of the bits before each word and, last, of all, on top of `start`."""
    if sums:
        for i in range(len(words)):
            totals[i + 1] = word_sum(words[i], number + WORD * i)
    else:
        for i in range(len(words)):
            totals[i + 1] = popcount(words[i])
    totals[0] = start
    for i in range(len(words)):
        totals[i + 1] += totals[i]


@jit
def total_at(words, totals, number, place, sums):
    """The count or sum of the bits up to ``number + place``, for a place below 2**32."""
    # Unsigned indices are not looked at for being negative; signed arithmetic keeps the loops of vectors.
    i = np.int64(np.uint64(place) * _RECIPROCAL >> _SHIFT)
    word = words[np.uint64(i)] & UP_TO[np.uint64(place - WORD * i)]
    return totals[np.uint64(i)] + (word_sum(word, number + WORD * i) if sums else popcount(word))


@jit
def quotients(dividend, divisors, origin, places):
    if dividend < 1 << 53:  # where no rounded quotient reaches the next integer
        for i in range(len(divisors)):
            places[i] = np.int64(np.float64(dividend) / np.float64(divisors[i])) - origin
    else:
        for i in range(len(divisors)):
            places[i] = dividend // divisors[i] - origin


@jit(fastmath=True)  # floats are added in any order, so that the loop runs on vectors
def weighted_sums(words, totals, number, places, weights):
    wrapped, shadow = 0, 0.0
    for i in range(len(weights)):
        total = total_at(words, totals, number, places[i], True)
        wrapped += weights[i] * total
        shadow += np.float64(weights[i]) * np.float64(total)
    return wrapped, shadow


@jit
def weighted_counts(words, totals, number, places, weights):
    wrapped = 0
    for i in range(len(weights)):
        wrapped += weights[i] * total_at(words, totals, number, places[i], False)
    return wrapped


@jit
def weighted_totals(words, totals, number, dividend, divisors, weights, sums):
    """The sum of ``weight * total_at(dividend // divisor - number)``, as a pair."""
    # Sums of numbers are taken modulo 2**64 and, beside, in floating point, which tells the upper half if it is off by
    # less than 2**63. For x < 2**63 a term is below 2**90: a hard leaf (m, p) with u = x / (m p) and p >= 19 comes to m
    # times at most 2**17 numbers up to u, hence 2**17 x / p; a semiprime likewise to 2**17 x; an easy leaf (p, q) to at
    # most q u u / 2 <= x / p sqrt(x). So 2**12 terms are below 2**102, and their sum, with less than 2**13 roundings by
    # 2**-53 each, is off by less than 2**62.
    low = high = 0
    places = np.empty(min(BATCH, len(divisors)), np.int64)
    for start in range(0, len(divisors), BATCH):
        quotients(dividend, divisors[start : start + BATCH], number, places)
        some = weights[start : start + BATCH]
        if sums:
            a, b = nearest(*weighted_sums(words, totals, number, places, some))
            low, high = add_product(low, high, a, b, 1)
        else:
            low += weighted_counts(words, totals, number, places, some)
    return low, high if sums else low >> 63
