"""Counts and sums of the primes up to n in pure Python, by the method of Lagarias, Miller and Odlyzko.

J. Lagarias, V. Miller and A. Odlyzko, "Computing pi(x): the Meissel-Lehmer method", Math. Comp. 44 (1985), 537-560; the
same recurrences hold for the sum of any completely multiplicative f, here f(m) = 1 or f(m) = m.

With S(x) the sum of f over the primes up to x, and phi(x, b) its sum over the numbers up to x that none of the first
b primes divides: for any y from n^(1/3) to n^(1/2) with a primes up to it, S(n) = phi(n, a) - 1 + S(y) - P2, where P2
takes away the products of two primes beyond y. phi(n, a) is unrolled by phi(x, b) = phi(x, b - 1) - f(p) phi(x / p, b
- 1) until b is the wheel's (ordinary leaves) or x = n / m p with m p beyond y (special leaves). Here y is near
n^(1/2), not n^(1/3): that keeps the table, up to z = n / y, in O(n^(1/2)) memory without segments.
"""

from __future__ import annotations

from bisect import bisect_right
from math import isqrt
from operator import mul
from typing import NamedTuple

from kernels.primes.python_loops import RoughNumbers, cross_off, dot, prefix_sums, select
from kernels.primes.roots import cube_root

__all__ = ["odd_sieve", "sum_powers"]

BALANCE = 2  # z / y is about its square: a longer table for fewer leaves
WHEEL = (2, 3, 5, 7)
TURN = 210
SPOKES = [r for r in range(TURN) if all(r % p for p in WHEEL)]


class Sum(NamedTuple):
    """What one choice of f brings with it."""

    power: int
    f: list[int]  # of the primes
    up_to: list[int]  # S(0), ..., S(z)
    weights: list[int]  # mu(m) f(m)


def odd_sieve(limit: int) -> bytearray:
    """Whether 2 i + 1 is prime, for all odd numbers below limit."""
    flags = bytearray(b"\1") * (limit // 2)
    flags[:1] = bytes(len(flags[:1]))
    for i in range(1, isqrt(max(0, limit - 1)) // 2 + 1):
        if flags[i]:
            cross_off(flags, 2 * i * (i + 1), 2 * i + 1)
    return flags


def sum_powers(n: int, *powers: int) -> list[int]:
    """For each of the powers, 0 or 1, the sum of p^power over the primes p up to n, for n >= 10_000."""
    root, third = isqrt(n), cube_root(n)
    y = max(third + 1, root // BALANCE)
    z = n // y
    primes = [2, *select(range(1, z + 1, 2), odd_sieve(z + 1))]
    first, last = bisect_right(primes, isqrt(z)), bisect_right(primes, y)
    beyond = primes[last : bisect_right(primes, root)]
    numbers, mu = _rough_numbers(y, primes[len(WHEEL) : last])
    kinds = [_sum(power, z, primes, numbers, mu) for power in powers]
    special = _special_leaves(n, y, primes[len(WHEEL) : first], numbers, kinds)
    return [
        s.up_to[y]
        - 1
        - _products_of_two(n, beyond, s)
        + _ordinary_leaves(n, numbers, s)
        - leaves
        + _leaves_of_two_primes(n, y, third, primes, first, last, s)
        for s, leaves in zip(kinds, special, strict=True)
    ]


def _rough_numbers(y: int, primes: list[int]) -> tuple[list[int], list[int]]:
    """The squarefree m <= y coprime to the wheel, and mu(m)."""
    mu = [1] * (y + 1)
    for p in primes:
        mu[p::p] = [-sign for sign in mu[p::p]]
        if p * p <= y:
            cross_off(mu, p * p, p * p)
    on_wheel = bytearray(y + 1)
    for spoke in SPOKES:
        on_wheel[spoke::TURN] = b"\1" * len(range(spoke, y + 1, TURN))
    numbers = [m for m in select(range(y + 1), on_wheel) if mu[m]]
    return numbers, [mu[m] for m in numbers]


def _sum(power: int, z: int, primes: list[int], numbers: list[int], mu: list[int]) -> Sum:
    f = primes if power else [1] * len(primes)
    steps = [0] * (z + 1)
    for p, step in zip(primes, f, strict=True):
        steps[p] = step
    return Sum(power, f, prefix_sums(steps), list(map(mul, mu, numbers)) if power else mu)


def _products_of_two(n: int, primes: list[int], s: Sum) -> int:
    up_to = s.up_to
    return sum([p**s.power * (up_to[n // p] - up_to[p - 1]) for p in primes])


def _ordinary_leaves(n: int, numbers: list[int], s: Sum) -> int:
    on_wheel = [0] * TURN
    for spoke in SPOKES:
        on_wheel[spoke] = 1
    counts = prefix_sums(on_wheel)
    offsets = prefix_sums(list(map(mul, on_wheel, range(TURN))))
    total = 0
    for m, weight in zip(numbers, s.weights, strict=True):
        turns, rest = divmod(n // m, TURN)
        if s.power:
            whole = len(SPOKES) * TURN * (turns * (turns - 1) // 2) + turns * offsets[-1]
            total += weight * (whole + turns * TURN * counts[rest] + offsets[rest])
        else:
            total += weight * (len(SPOKES) * turns + counts[rest])
    return total


def _special_leaves(n: int, y: int, primes: list[int], numbers: list[int], kinds: list[Sum]) -> list[int]:
    """Leaves f(m p) phi(n / m p, pi(p) - 1), signed, for p up to z^(1/2)."""
    z = n // y
    rough = RoughNumbers(z, [s.power for s in kinds])
    for p in WHEEL[1:]:
        rough.cross_off(p)
    numbers, weights = numbers[:], [s.weights[:] for s in kinds]
    totals = [0] * len(kinds)
    for p in primes:
        if p * p > y:  # only 1 and the primes from p on are left
            for column in (numbers, *weights):
                del column[1]
        else:
            kept = [m % p for m in numbers]
            numbers, weights = select(numbers, kept), [select(w, kept) for w in weights]
        x = n // p
        # phi is a sum over rough numbers where x / m >= p^2, is a sum over primes from there to p, and then 1.
        begin = bisect_right(numbers, y // p)
        middle = max(begin, bisect_right(numbers, x // (p * p)))
        end = max(begin, bisect_right(numbers, x // p))
        leaves = rough.sums(x, numbers[begin:middle])
        places = [x // m for m in numbers[middle:end]]
        for k, (s, w, phi) in enumerate(zip(kinds, weights, leaves, strict=True)):
            up_to, before = s.up_to, s.up_to[p - 1] - 1
            phi += [up_to[place] - before for place in places]
            totals[k] += (dot(w[begin:end], phi) + sum(w[end:])) * p**s.power
        rough.cross_off(p)
    return totals


def _leaves_of_two_primes(n: int, y: int, third: int, primes: list[int], first: int, last: int, s: Sum) -> int:
    """Leaves f(p q) phi(n / p q, pi(p) - 1) for primes p < q <= y, p from the one at `first` on.

    phi is 1 and the sum over the primes from p to n / p q, if any: altogether f over pairs of primes with product up to
    n / p, which are taken by their lesser.
    """
    f, up_to = s.f, s.up_to
    reach = bisect_right(primes, isqrt(n // primes[first]))
    equal = [0, *prefix_sums([g * (g - 2 * up_to[p]) for p, g in zip(primes[:reach], f[:reach], strict=True)])]
    total = 0
    for i in range(first, last):
        p = primes[i]
        leaves = up_to[y] - up_to[p]
        if p <= third:
            x = n // p
            j = bisect_right(primes, isqrt(x))
            unlike = sum([q**s.power * up_to[x // q] for q in primes[i + 1 : j]])
            leaves += f[i] * (up_to[x // p] - up_to[p]) + 2 * unlike + equal[j] - equal[i + 1]
        total += f[i] * leaves
    return total
