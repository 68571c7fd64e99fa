"""The kernels of `lmo` that sieve: hard leaves, and the semiprimes of Meissel's formula.

Both read phi (or F) at many places off a sieved stretch, counting from where it starts: so stretches can be done in any
order, anywhere, and each tells by what those after it have to be corrected.
"""

from __future__ import annotations

import numpy as np

from kernels.jit import jit
from kernels.primes.integers import integer_root, rank
from kernels.primes.leaves import PERIOD, WHEEL, primes_in
from kernels.primes.prefix import WORD, running_totals, weighted_totals
from kernels.primes.wheel30 import cross_off, first_multiple
from kernels.primes.wide import add_product

__all__ = ["SEGMENT", "hard_leaves", "semiprimes"]

SEGMENT = 1 << 14  # bytes; with the totals twice as many, in a first cache


@jit
def hard_leaves(plan, start, stop):
    """The leaves (m, p) with x / (m p) in [start, stop), by sieving there, phi counting from `start`.

    Returns their sum and, for each p, the phi of the whole stretch and the sum of the weights of m.
    """
    x, y, z, sums, primes, weights, m = plan.x, plan.y, plan.z, plan.sums, plan.primes, plan.weights, plan.m
    last = rank(primes, integer_root(plan.root))
    phi, sum_of_weights = np.zeros((last, 2), np.int64), np.zeros(last, np.int64)
    bits = np.empty(SEGMENT, np.uint8)
    totals = np.empty(SEGMENT // 8 + 1, np.int64)
    chosen, chosen_weights = np.empty(len(m), np.int64), np.empty(len(m), np.int64)
    low_result = high_result = 0
    for low in range(start, stop, 30 * SEGMENT):
        high = min(stop, low + 30 * SEGMENT)
        size = -(-(high - low) // WORD) * 8
        words = bits[:size].view(np.uint64)
        at, phase = 0, low // 30 % PERIOD
        while at < size:
            end = min(size, at + PERIOD - phase)
            for j in range(at, end):  # assigning slices takes a second longer to compile
                bits[j] = plan.wheel[phase - at + j]
            at, phase = end, 0
        for i in range(len(WHEEL), last):
            p = primes[i]
            xp = x // p
            composite = p * p <= z  # else m is a prime, up to y
            if not composite and xp // p < low:
                break  # m > p: no leaves from here on, nor for larger p
            running_totals(words, low, 0, sums, totals)
            least, most = xp // high, xp // low if low else x  # m is more than least
            if composite:
                begin = rank(m, max(least, z // p))
                end = rank(m, min(most, z))
                n = 0
                for j in range(begin, end):
                    chosen[n], chosen_weights[n] = m[j], plan.m_weights[j]
                    n += plan.m_least[j] > p
                some, some_weights = chosen[:n], chosen_weights[:n]
            else:
                begin = rank(primes, max(least, p))
                end = rank(primes, min(most, y, xp // (p * p)))
                some, some_weights = primes[begin:end], weights[begin:end]
            if len(some):
                weight = some_weights.sum()
                sum_of_weights[i] += weight
                a, b = weighted_totals(words, totals, low, xp, some, some_weights, sums)
                a, b = add_product(a, b, phi[i, 0], phi[i, 1], weight)
                low_result, high_result = add_product(low_result, high_result, a, b, weights[i])
            phi[i, 0], phi[i, 1] = add_product(phi[i, 0], phi[i, 1], totals[len(words)], 0, 1)
            base, spoke = first_multiple(p, max(1, -(-low // p)), low // 30)
            cross_off(bits, size, p, base, spoke)
    return low_result, high_result, phi, sum_of_weights


@jit
def semiprimes(plan, bits, first_byte):
    """The sum of -f(p) F(x / p) over primes y < p <= root with x / p in a sieved stretch, F counting from its start.

    Returns it and, as `hard_leaves` does, the F of the whole stretch and the sum of the weights.
    """
    x, sums = plan.x, plan.sums
    words = bits.view(np.uint64)
    totals = np.empty(SEGMENT // 8 + 1, np.int64)
    total, sum_of_weights = np.zeros((1, 2), np.int64), np.zeros(1, np.int64)
    low_result = high_result = 0
    for start in range(0, len(words), SEGMENT // 8):
        some = words[start : start + SEGMENT // 8]
        low = 30 * first_byte + WORD * start
        running_totals(some, low, 0, sums, totals)
        high = low + WORD * len(some)
        primes = primes_in(plan.words, max(plan.y, x // high), min(plan.root, x // low))
        weights = primes if sums else np.ones_like(primes)
        weight = weights.sum()
        sum_of_weights[0] -= weight
        a, b = weighted_totals(some, totals, low, x, primes, weights, sums)
        a, b = add_product(a, b, total[0, 0], total[0, 1], weight)
        low_result, high_result = add_product(low_result, high_result, a, b, -1)
        total[0, 0], total[0, 1] = add_product(total[0, 0], total[0, 1], totals[len(some)], 0, 1)
    return low_result, high_result, total, sum_of_weights
