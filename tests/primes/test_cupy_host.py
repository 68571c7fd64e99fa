"""What the conformance suite leaves out on CuPy: borders of chunks, the sweep at small n, waits, single kernels."""

from __future__ import annotations

import importlib
from math import isqrt

import pytest

np = pytest.importorskip("numpy")
import emulator  # noqa: E402
import fake_cupy  # noqa: E402

from kernels.primes.strong_pseudoprime import is_prime  # noqa: E402

pytestmark = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))

LIMIT = 2_600_000
RESIDUES = np.array([1, 7, 11, 13, 17, 19, 23, 29])
OFFSETS = (30 * np.arange(4)[:, None] + RESIDUES).ravel()  # of a word's bits
ALL = 0xFFFFFFFF
SEGMENT = 120 * 10240


@pytest.fixture(params=[0, 1])
def on_cupy(request):
    with fake_cupy.installed(seed=request.param):
        yield importlib.import_module("kernels.primes.on_cupy")


@pytest.fixture(scope="module")
def known():
    prime = np.ones(LIMIT, bool)
    prime[:2] = False
    for i in range(2, isqrt(LIMIT) + 1):
        prime[i * i :: i] &= not prime[i]
    return np.flatnonzero(prime)


def numbers(words, first_word):
    """What the bits of some words stand for, as Python ints."""
    bits = np.unpackbits(words.get().view(np.uint8), bitorder="little").reshape(-1, 32)
    return [120 * (first_word + int(w)) + int(OFFSETS[b]) for w, b in np.argwhere(bits)]


@pytest.mark.parametrize("start", [0, 5, SEGMENT - 1, SEGMENT])
@pytest.mark.parametrize("stop", [2 * SEGMENT - 1, 2 * SEGMENT, LIMIT])
def test_borders_of_chunks(on_cupy, known, monkeypatch, start, stop):
    monkeypatch.setattr(on_cupy, "SEGMENTS", 1)
    expected = known[(start <= known) & (known < stop)]
    assert np.array_equal(on_cupy.between(start, stop).get(), expected)
    assert on_cupy.count_between(start, stop) == len(expected)
    assert on_cupy.sum_between(start, stop) == expected.sum()
    if start == 0:
        assert np.array_equal(np.flatnonzero(on_cupy.sieve(stop).get()), expected)


def test_sweep(on_cupy, known, monkeypatch):
    monkeypatch.setattr(on_cupy, "MARKED", 49)
    for limit in [
        *range(50, 130),
        7**3,
        7**3 + 1,
        11**3 + 1,
        7**4,
        7**4 + 1,
        11**4 + 1,
        13**4,
        10**5,
        1_500_001,
        LIMIT,
    ]:
        below = known[known < limit]
        assert on_cupy.count_below(limit) == len(below)
        assert on_cupy.sum_below(limit) == below.sum()


@pytest.mark.parametrize(
    ("function", "arguments", "copies"),
    [
        ("sieve", (10**5,), 0),
        ("below", (10**5,), 1),
        ("between", (10**12, 10**12 + 10**5), 1),
        ("between", (10**18, 10**18 + 10**3), 1),
        ("count_between", (10**6, 3 * 10**6), 1),
        ("sum_between", (10**6, 3 * 10**6), 1),
        ("count_below", (10**8 + 1,), 1),
        ("sum_below", (10**8 + 1,), 1),
    ],
)
def test_waits_once_for_a_number(on_cupy, monkeypatch, function, arguments, copies):
    monkeypatch.setattr(on_cupy, "SEGMENTS", 1)
    getattr(on_cupy, function)(*arguments)
    assert (fake_cupy.counts["to_host"], fake_cupy.counts["to_device"], fake_cupy.counts["waits"]) == (copies, 0, 0)


@pytest.mark.parametrize("p", [180511, 2**31 - 1, 3037000493])
def test_largest_primes_are_crossed_off(on_cupy, p):
    """Where their multiples lie in chunks far away; the least multiple is the prime itself, which stays."""
    cupy = fake_cupy
    size = 3000
    for multiple in (p, p * 7, p * (p + 30 - p % 30 + 1), p * (2**63 // p - 30)):
        first = max(0, multiple // 120 - size // 2)
        words = cupy.full(size, ALL, np.uint32)
        end = 120 * (first + size)
        on_cupy._launch(
            "cross_large", 1, 256, 256, words, np.uint32(size), first, cupy.array([p], np.uint32), np.uint32(1)
        )
        crossed = p * p < end
        expected = [n for n in numbers(cupy.full(size, ALL, np.uint32), first) if n % p or n == p or not crossed]
        assert numbers(words, first) == expected


@pytest.mark.parametrize(
    "near", [3215031751, 341550071728321, 3825123056546413051, 2**32, 2**52, 2**62, 2**63 - 1200], ids=str
)
def test_strong_tests(on_cupy, near):
    """The first three pass for prime to the first 4, 7 and 9 prime bases."""
    first, size = near // 120, 9
    words = fake_cupy.full(size, ALL, np.uint32)
    candidates = numbers(words, first)
    assert near % 120 not in OFFSETS or near in candidates
    on_cupy._launch("keep_primes", size, 8, 256, words, np.uint32(size), first)
    assert numbers(words, first) == [n for n in candidates if is_prime(n)]
