"""The kernels of `lmo` that sieve nothing: ordinary and easy leaves, and the tables that all leaves are made of.

Results are pairs of int64, exact modulo 2**128. Indices of primes count from 7, the first one that the words hold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.jit import jit
from kernels.primes.integers import integer_root, rank
from kernels.primes.prefix import WORD, running_totals, total_at, weighted_totals
from kernels.primes.wheel30 import OFFSETS, cross_off, popcount, trailing_zeros
from kernels.primes.wide import add_product

__all__ = ["PERIOD", "WHEEL", "Plan", "easy_leaves", "ordinary_leaves", "pairs", "primes_in", "products", "wheel"]

WHEEL = (7, 11, 13, 17)  # after 2, 3 and 5: the primes that a ready-made pattern sieves
PERIOD = 7 * 11 * 13 * 17  # its bytes


class Plan(NamedTuple):
    """The bounds of the leaves, and the tables that they are made of."""

    x: int
    root: int  # of x
    y: int  # the largest prime of a leaf's
    z: int  # the largest m of a leaf's
    sums: bool  # f(n) = n rather than 1
    words: np.ndarray  # the primes up to the root, as bits
    totals: np.ndarray  # F before each word
    primes: np.ndarray  # from 7 to beyond y and x**(3/8)
    weights: np.ndarray  # f of each
    m: np.ndarray  # ascending: the products, up to z, of different primes up to y, none of the wheel's
    m_weights: np.ndarray  # -mu(m) f(m)
    m_least: np.ndarray  # their least prime factors
    wheel: np.ndarray


@jit
def wheel():
    """The numbers of a period that no prime of the wheel divides, as bits, filled up with zeros to whole words."""
    pattern = np.zeros((PERIOD + 7) // 8 * 8, np.uint8)
    pattern[:PERIOD] = 0xFF
    for prime in WHEEL:
        cross_off(pattern, PERIOD, prime, np.int64(0), np.int64(0))  # literals would be compiled for apart
    return pattern


@jit
def primes_in(words, low, high):
    """The primes in (low, high] that words from 0 on hold."""
    first, last = (low + 1) // WORD, high // WORD + 1
    n = 0
    for i in range(first, last):
        n += popcount(words[i])
    primes = np.empty(n + 1, np.int64)
    n = 0
    for i in range(first, last):
        word, zero = words[i], WORD * i
        while word:
            primes[n] = zero + OFFSETS[trailing_zeros(word)]
            n += low < primes[n] <= high
            word &= word - np.uint64(1)
    return primes[:n]


@jit
def products(primes, z):
    """For each number up to z its least prime factor times -mu(m) if it is an m, else 0; from the primes up to y."""
    least = np.zeros(z + 1, np.int32)
    found, last = np.empty(z // 4 + 2, np.int32), np.empty(z // 4 + 2, np.int32)  # m, the index of its largest prime
    found[0], last[0], n = 1, len(WHEEL) - 1, 1
    i = 0
    while i < n:
        m = np.int64(found[i])
        for j in range(last[i] + 1, len(primes)):
            product = m * primes[j]
            if product > z:
                break
            found[n], last[n] = product, j
            n += 1
            least[product] = primes[j] if m == 1 else -least[m]
        i += 1
    return least


@jit
def ordinary_leaves(plan):
    """The sum of mu(m) f(m) phi(x / m, c) over m = 1 and the plan's m; the c-th prime is the wheel's last."""
    x, sums = plan.x, plan.sums
    words = plan.wheel.view(np.uint64)
    counts, totals = np.empty(len(words) + 1, np.int64), np.empty(len(words) + 1, np.int64)
    running_totals(words, 0, 0, False, counts)
    running_totals(words, 0, 0, sums, totals)
    period, count, total = 30 * PERIOD, counts[-1], totals[-1]
    low = high = 0
    for i in range(-1, len(plan.m)):
        n, weight = (x // plan.m[i], -plan.m_weights[i]) if i >= 0 else (x, 1)
        turns = n // period
        place = n - turns * period
        a, b = add_product(total_at(words, totals, 0, place, sums), 0, turns, 0, total)
        if sums:  # the numbers of turn t stand t periods higher
            even, odd = (turns, turns - 1) if turns % 2 == 0 else (turns - 1, turns)
            c, d = add_product(0, 0, even // 2, 0, odd)
            a, b = add_product(a, b, c, d, period * count)
            a, b = add_product(a, b, turns * period, 0, total_at(words, counts, 0, place, False))
        low, high = add_product(low, high, a, b, weight)
    return low, high


@jit
def pairs(primes, sums):
    """The sum of f(p) f(q) over primes p < q of a list."""
    low = high = before = 0
    for prime in primes:
        weight = prime if sums else 1
        low, high = add_product(low, high, before, 0, weight)
        before += weight
    return low, high


@jit
def easy_leaves(plan, first, last):
    """The leaves (p, q) with x / (p q) < p * p for primes p of these indices; phi is 1 + F(x / (p q)) - F(p - 1)."""
    x, y, sums, primes, weights, words, totals = (
        plan.x,
        plan.y,
        plan.sums,
        plan.primes,
        plan.weights,
        plan.words,
        plan.totals,
    )
    total_y = total_at(words, totals, 0, y, sums)
    low = high = 0
    for i in range(first, last):
        p = primes[i]
        xp = x // p
        least = min(y, max(p, xp // (p * p)))  # q is more
        turn = integer_root(xp)
        total_p, total_least = total_at(words, totals, 0, p - 1, sums), total_at(words, totals, 0, least, sums)
        once = rank(primes, least)
        a, b = total_y - total_least, 0
        if y <= turn or turn < least:
            a, b = add_product(a, b, total_y - total_least, 0, -total_p)
            twice = stop = rank(primes, y)
        else:
            # For q > turn the sum of f(q) (F(x / (p q)) - F(p - 1)) is one of f(q) f(r), over primes with q r <= x / p.
            # It is taken over the r, from p to turn, which are fewer: as f(r) (F(x / (p r)) - F(turn)), or with F(y) in
            # place of F(x / (p r)) where that is less. So q and r are the same for most of the way, and count twice.
            total_turn = total_at(words, totals, 0, turn, sums)
            a, b = add_product(a, b, total_turn - total_least, 0, -total_p)
            bound = max(p - 1, xp // y)  # up to here q is bounded by y
            total_bound = total_at(words, totals, 0, bound, sums)
            a, b = add_product(a, b, total_bound - total_p, 0, total_y - total_turn)
            a, b = add_product(a, b, total_turn - total_bound, 0, -total_turn)
            stop = rank(primes, turn)
            twice = rank(primes, bound)
            once, twice = min(once, twice), max(once, twice)
        for times, start, end in ((1, once, twice), (2, twice, stop)):
            c, d = weighted_totals(words, totals, 0, xp, primes[start:end], weights[start:end], sums)
            a, b = add_product(a, b, c, d, times)
        low, high = add_product(low, high, a, b, weights[i])
    return low, high
