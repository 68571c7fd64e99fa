"""The primes. Sizes are such that the slowest backend answers the large case within a second or two."""

from __future__ import annotations

from typing import Any, ClassVar

from .common import Case, Kernel


class Listing(Kernel):
    """A list of primes is known by its length, its sum and its last item."""

    @staticmethod
    def digest(result: Any) -> tuple[int, int, int]:
        return len(result), int(result.sum()), int(result[-1])


class Sieve(Kernel):
    function = "primes.sieve"
    cases: ClassVar = {
        "small": Case((10**5,), (10**5, 9592)),
        "medium": Case((2 * 10**6,), (2 * 10**6, 148933)),
        "large": Case((2 * 10**7,), (2 * 10**7, 1270607)),
    }

    @staticmethod
    def digest(result: Any) -> tuple[int, int]:
        return len(result), int(result.sum())


class Below(Listing):
    function = "primes.below"
    cases: ClassVar = {
        "small": Case((10**5,), (9592, 454396537, 99991)),
        "medium": Case((2 * 10**6,), (148933, 142913828922, 1999993)),
        "large": Case((32452844,), (2 * 10**6, 31381137530481, 32452843)),
    }


class Between(Listing):
    function = "primes.between"
    cases: ClassVar = {
        "small": Case((10**12, 10**12 + 10**4), (335, 335000001626529, 1000000009999)),
        "medium": Case((10**12, 10**12 + 10**6), (36249, 36249018122131905, 1000000999999)),
        "large": Case((10**12, 10**12 + 10**7), (361726, 361727809140324132, 1000009999981)),
    }


class CountBelow(Kernel):
    function = "primes.count_below"
    cases: ClassVar = {
        "small": Case((2 * 10**6,), 148933),
        "medium": Case((10**9,), 50847534),
        "large": Case((10**10,), 455052511),
    }


class SumBelow(Kernel):
    function = "primes.sum_below"
    cases: ClassVar = {
        "small": Case((2 * 10**6,), 142913828922),
        "medium": Case((10**9,), 24739512092254535),
        "large": Case((10**10,), 2220822432581729238),
    }


class CountBetween(Kernel):
    function = "primes.count_between"
    cases: ClassVar = {
        "small": Case((10**12, 10**12 + 10**4), 335),
        "medium": Case((10**12, 10**12 + 10**6), 36249),
        "large": Case((10**12, 10**12 + 10**7), 361726),
    }


class SumBetween(Kernel):
    function = "primes.sum_between"
    cases: ClassVar = {
        "small": Case((10**12, 10**12 + 10**4), 335000001626529),
        "medium": Case((10**12, 10**12 + 10**6), 36249018122131905),
        "large": Case((10**12, 10**12 + 10**7), 361727809140324132),
    }


class Nth(Kernel):
    function = "primes.nth"
    cases: ClassVar = {
        "small": Case((10**4,), 104729),
        "medium": Case((2 * 10**6,), 32452843),
        "large": Case((10**8,), 2038074743),
    }


class SumFirst(Kernel):
    """The problem that started it: the sum of the first two million primes."""

    function = "primes.sum_first"
    cases: ClassVar = {
        "small": Case((10**4,), 496165411),
        "medium": Case((2 * 10**6,), 31381137530481),
        "large": Case((10**8,), 99262851056183695),
    }
