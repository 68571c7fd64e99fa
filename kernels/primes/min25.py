"""Count and sum of the primes up to n by Eratosthenes' sieve on the values n // k alone.

Let C(v) be how many of 2 .. v the sieve has left. Sieving by p takes C(v // p) - C(p - 1) from C(v) where v >= p * p,
and the v = n // k suffice; from C(v) = v - 1 it comes to the count of primes (Lucy_Hedgehog, Project Euler problem 10).
After Min_25 (Library Checker, "Counting Primes"), k goes over the numbers not struck out yet, and the sweeps end at the
fourth root of n. Then C(v) is final for the v up to the square root, and the others hold numbers of at most three
prime factors, of which those with two or three are counted off.
"""

from __future__ import annotations

import numpy as np

from kernels.jit import jit
from kernels.primes.integers import integer_root, rank

__all__ = ["count_and_sum"]


@jit
def count_and_sum(n):
    """The count and the sum of the primes up to n, for ``0 <= n < 2**32``."""
    if n < 2:
        return 0, 0
    root = integer_root(n)
    # Even numbers are struck out from the start; an odd v stands for v + 1 too, in the place (v + 1) // 2.
    halves = np.arange((root + 3) // 2)
    counts, sums = halves.copy(), halves * halves + 1
    rough = 2 * halves[: (root + 1) // 2] + 1
    places = np.empty_like(rough)
    struck = np.zeros(root + 1, np.bool_)
    large_counts, large_sums = np.empty_like(rough), np.empty_like(rough)
    dividend = np.float64(n)
    for i in range(len(rough)):
        half = (np.int64(dividend / np.float64(rough[i])) + 1) >> 1
        large_counts[i], large_sums[i] = half, half * half + 1
    n_rough = len(rough)

    p = 3
    while p * p * p * p <= n:
        if struck[p]:
            p += 2
            continue
        struck[p::p] = True
        count, total = counts[p // 2], sums[p // 2]
        near = rank(rough[:n_rough], root // p)  # from here on n // (k p) is at most the root
        for i in range(near, n_rough):
            places[i] = (np.int64(dividend / np.float64(rough[i] * p)) + 1) >> 1
        kept = 0
        for i in range(near):
            k = np.uint64(rough[i])
            place = np.uint64(counts[(k * np.uint64(p) + np.uint64(1)) >> np.uint64(1)] - count)
            large_counts[kept] = large_counts[i] - (large_counts[place] - count)
            large_sums[kept] = large_sums[i] - p * (large_sums[place] - total)
            rough[kept] = k
            kept += not struck[k]
        for i in range(near, n_rough):
            k, place = np.uint64(rough[i]), np.uint64(places[i])
            large_counts[kept] = large_counts[i] - (counts[place] - count)
            large_sums[kept] = large_sums[i] - p * (sums[place] - total)
            rough[kept] = k
            kept += not struck[k]
        n_rough = kept
        stop = len(counts)
        for j in range((root // p - 1) | 1, p - 1, -2):  # v = j p .. j p + 2 p - 1, downwards: v // p comes after v
            start = (j * p + 1) // 2
            c, s = counts[(j + 1) // 2] - count, p * (sums[(j + 1) // 2] - total)
            for i in range(start, stop):
                counts[i] -= c
                sums[i] -= s
            stop = start
        p += 2

    # rough holds 1 and the primes from here to the root
    count, total = large_counts[0], large_sums[0]
    for i in range(1, n_rough):
        q = rough[i]
        count -= large_counts[i] - counts[q // 2]
        total -= q * (large_sums[i] - sums[q // 2])
    for i in range(1, n_rough):
        q = rough[i]
        end = rank(rough[:n_rough], n // (q * q))
        if end <= i + 1:
            break
        c, s = 0, 0
        for j in range(i + 1, end):
            at = (np.int64(dividend / np.float64(q * rough[j])) + 1) >> 1
            c += counts[np.uint64(at)] - counts[q // 2]
            s += rough[j] * (sums[np.uint64(at)] - sums[q // 2])
        count += c
        total += q * s
    return count, total
