"""Every function of the primes on every backend, against the oracle, against published values and against itself."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import primes
from kernels.dispatch import CONTRACTS
from kernels.errors import UnsupportedError
from kernels.registry import BUILT_IN, find

FUNCTIONS = sorted(name.removeprefix("primes.") for name in CONTRACTS if name.startswith("primes."))

# For each k: primes up to 10**k, their sum, the 10**k-th prime, the sum of the first 10**k primes
# (OEIS A006880, A046731, A006988, A099824).
REFERENCE = {
    1: (4, 17, 29, 129),
    2: (25, 1060, 541, 24133),
    3: (168, 76127, 7919, 3682913),
    4: (1229, 5736396, 104729, 496165411),
    5: (9592, 454396537, 1299709, 62260698721),
    6: (78498, 37550402023, 15485863, 7472966967499),
    7: (664579, 3203324994356, 179424673, 870530414842019),
    8: (5761455, 279209790387276, 2038074743, 99262851056183695),
    9: (50847534, 24739512092254535, 22801763489, 11138479445180240497),
    10: (455052511, 2220822432581729238, 252097800623, 1234379338586942892505),
    11: (4118054813, 201467077743744681014, 2760727302517, 135436174616790289414111),
    12: (37607912018, 18435588552550705911377, 29996224275833, 14738971133550183905879827),
}
QUICK, SLOW = 6, {"python": 11, "numpy": 12, "numba": 12, "dask": 12, "sparse": 12, "cupy": 12}

BY_TRIAL = [n for n in range(2, 1500) if all(n % d for d in range(2, int(n**0.5) + 1))]


def listed(array):
    """Any backend's array as a list of Python ints."""
    if type(array).__module__ != "array":
        from kernels import to_numpy

        array = to_numpy(array)
    return array.tolist()


def test_every_function_is_there(backend):
    there = find(backend, "the test").functions("kernels.primes") & {*FUNCTIONS}
    assert set(FUNCTIONS) == {*primes.__all__}
    assert there == set(FUNCTIONS) if backend in BUILT_IN else there


def test_small_limits(backend):
    """Each limit apart: every prime from 2 to 1500 stands once at the excluded end."""
    step = 1 if backend in ("python", "numpy", "numba") else 37
    for limit in sorted({*range(0, 32), *range(32, 1500, step)}):
        expected = BY_TRIAL[: bisect_left(BY_TRIAL, limit)]
        assert primes.count_below(limit, backend=backend) == len(expected)
        assert primes.sum_below(limit, backend=backend) == sum(expected)
        assert listed(primes.below(limit, backend=backend)) == expected
        marks = listed_mask(primes.sieve(limit, backend=backend))
        assert len(marks) == limit
        assert [n for n in range(limit) if marks[n]] == expected


def listed_mask(mask):
    from importlib.util import find_spec

    if isinstance(mask, bytearray) and not find_spec("numpy"):
        return list(mask)
    from kernels import to_numpy

    return to_numpy(mask).tolist()


def test_small_windows(backend):
    step = 1 if backend in ("python", "numpy", "numba") else 13
    for start in range(0, 115, step):
        for stop in range(start, 120, step):
            expected = [p for p in BY_TRIAL if start <= p < stop]
            assert listed(primes.between(start, stop, backend=backend)) == expected
            assert primes.count_between(start, stop, backend=backend) == len(expected)
            assert primes.sum_between(start, stop, backend=backend) == sum(expected)


def test_small_ranks(backend):
    step = 1 if backend in ("python", "numpy", "numba") else 29
    for k in range(1, len(BY_TRIAL) + 1, step):
        assert primes.nth(k, backend=backend) == BY_TRIAL[k - 1]
        assert primes.sum_first(k, backend=backend) == sum(BY_TRIAL[:k])
    assert primes.sum_first(0, backend=backend) == 0


def test_the_problem_that_started_it(backend):
    assert primes.sum_below(2_000_000, backend=backend) == 142913828922
    assert primes.sum_first(2_000_000, backend=backend) == 31381137530481
    assert primes.nth(2_000_000, backend=backend) == 32452843


@pytest.mark.parametrize("k", REFERENCE)
def test_reference_values(backend, emulated, k, request):
    if k > (9 if emulated else SLOW.get(backend, 9)):
        pytest.skip(f"10**{k} takes {backend} too long")
    if k > QUICK and not request.config.getoption("--slow"):
        pytest.skip("slow; run with --slow")
    count, total, nth, sum_first = REFERENCE[k]
    assert primes.count_below(10**k + 1, backend=backend) == count
    assert primes.sum_below(10**k + 1, backend=backend) == total
    assert primes.nth(10**k, backend=backend) == nth
    assert primes.sum_first(10**k, backend=backend) == sum_first


@pytest.mark.parametrize(("prime", "bits"), [(595600673, 53), (20706267151, 63), (29505444491, 64)])
def test_sums_beyond_a_word(backend, prime, bits, request):
    """The sum of the primes passes 2**bits at this prime."""
    if bits > 53 and backend in ("python", "cupy") and not request.config.getoption("--slow"):
        pytest.skip("slow; run with --slow")
    before, after = primes.sum_below(prime, backend=backend), primes.sum_below(prime + 1, backend=backend)
    assert before < 2**bits <= after
    assert after - before == prime


@pytest.mark.parametrize("stop", [2**31, 2**32, 2**52, 2**53, 2**62, 2**63])
def test_windows_at_word_sizes(backend, stop):
    start = stop - 2000
    expected = listed(primes.between(start, stop, backend="python"))
    assert listed(primes.between(start, stop, backend=backend)) == expected
    assert primes.count_between(start, stop, backend=backend) == len(expected)
    assert primes.sum_between(start, stop, backend=backend) == sum(expected)


def test_windows_beyond_a_word():
    """The primes next to 2**64, found by a backend that can; a range that none can prove is refused."""
    assert primes.sum_between(2**64 - 60, 2**64 + 14) == (2**64 - 59) + (2**64 + 13)
    assert primes.count_between(2**64 - 58, 2**64 + 13) == 0
    with pytest.raises(UnsupportedError, match="Supported by: no backend"):
        primes.count_between(10**25, 10**25 + 100)


@pytest.mark.parametrize("call", [("sieve", 2**63), ("below", 10**15), ("between", 5, 2**63)])
def test_arrays_larger_than_memory_are_refused_at_once(backend, call):
    """Dask's are lazy: what it refuses is too many chunks."""
    function, *arguments = call
    if function not in find(backend, "the test").functions("kernels.primes"):
        pytest.skip(f"{backend} has no primes.{function}")
    error, text = (MemoryError, "chunks") if backend == "dask" else (UnsupportedError, "GiB of memory")
    with pytest.raises(error, match=text):
        getattr(primes, function)(*arguments, backend=backend)


@pytest.mark.parametrize("function", ["count_below", "sum_below", "nth", "sum_first"])
def test_what_no_backend_can_do_is_refused_at_once(function):
    with pytest.raises(UnsupportedError, match="Supported by: no backend"):
        getattr(primes, function)(10**30)


@given(start=st.integers(0, 10**12) | st.integers(0, 10**4), length=st.integers(0, 5000))
@settings(max_examples=25, deadline=None)
def test_windows_agree_with_the_oracle(backend, start, length):
    expected = listed(primes.between(start, start + length, backend="python"))
    found = primes.between(start, start + length, backend=backend)
    assert listed(found) == expected
    assert primes.count_between(start, start + length, backend=backend) == len(expected)
    assert primes.sum_between(start, start + length, backend=backend) == sum(expected)


@given(limit=st.integers(0, 3 * 10**6))
@settings(max_examples=25, deadline=None)
def test_limits_agree_with_the_oracle(backend, limit):
    assert primes.count_below(limit, backend=backend) == primes.count_below(limit, backend="python")
    assert primes.sum_below(limit, backend=backend) == primes.sum_below(limit, backend="python")


@given(limit=st.integers(0, 10**6), length=st.integers(0, 10**5))
@settings(max_examples=10, deadline=None)
def test_functions_agree_with_each_other(backend, limit, length):
    """Sublinear counts against the sieve, ranks against counts."""
    stop = limit + length
    below = primes.count_below(limit, backend=backend)
    count = primes.count_between(limit, stop, backend=backend)
    assert primes.count_below(stop, backend=backend) - below == count
    total = primes.sum_between(limit, stop, backend=backend)
    assert primes.sum_below(stop, backend=backend) - primes.sum_below(limit, backend=backend) == total
    if count:
        first = primes.nth(below + 1, backend=backend)
        assert limit <= first < stop
        assert primes.sum_first(below + 1, backend=backend) == primes.sum_below(first + 1, backend=backend)


POWERS = [
    prime**power
    for prime in (2, 3, 5, 7, 31, 211, 2311, 30029, 65537, 1000003)
    for power in (1, 2, 3)
    if prime**power < 10**9
]


@pytest.mark.parametrize("power", POWERS)
def test_powers_of_primes(backend, power):
    """Where n is a power of a prime a sweep over n // k takes or leaves one more step."""
    for limit in (power - 1, power, power + 1):
        assert primes.count_below(limit, backend=backend) == primes.count_below(limit)
        assert primes.sum_below(limit, backend=backend) == primes.sum_below(limit)


def test_kinds_of_results(backend):
    """A backend that is named returns its own kind of array; those without one return NumPy's."""
    for function, arguments in [("below", (1000,)), ("between", (10, 1000)), ("sieve", (1000,))]:
        result = getattr(primes, function)(*arguments, backend=backend)
        owner = find(backend, "the test")
        assert owner.owns(type(result)) or (owner.arrays is None and type(result).__module__ == "numpy")
        if backend == "python":
            assert isinstance(result, bytearray) if function == "sieve" else result.typecode == "q"
        elif hasattr(result, "dtype"):
            assert result.dtype == ("bool" if function == "sieve" else "int64")
            assert result.ndim == 1
    for function in ("count_below", "sum_below", "nth", "sum_first"):
        assert type(getattr(primes, function)(100, backend=backend)) is int
    for function in ("count_between", "sum_between"):
        assert type(getattr(primes, function)(10, 100, backend=backend)) is int


BAD = [
    ("count_below", (1.5,), TypeError, "limit must be an integer, not 1.5 of type float"),
    ("count_below", (1e9,), TypeError, "limit must be an integer"),
    ("count_below", ("10",), TypeError, "limit must be an integer, not '10' of type str"),
    ("count_below", (None,), TypeError, "limit must be an integer"),
    ("count_below", (True,), TypeError, "limit must be an integer, not True of type bool"),
    ("count_below", (float("nan"),), TypeError, "limit must be an integer"),
    ("count_below", (10j,), TypeError, "limit must be an integer"),
    ("count_below", ([10],), TypeError, "limit must be an integer"),
    ("count_below", (-1,), ValueError, "limit must be at least 0, not -1"),
    ("sum_below", (2.0,), TypeError, "limit must be an integer"),
    ("sum_below", (-5,), ValueError, "limit must be at least 0"),
    ("sieve", (-1,), ValueError, "limit must be at least 0"),
    ("sieve", (3.0,), TypeError, "limit must be an integer"),
    ("sieve", (2**63 + 1,), ValueError, "limit must be at most 9223372036854775808"),
    ("below", (-1,), ValueError, "limit must be at least 0"),
    ("below", (False,), TypeError, "limit must be an integer"),
    ("below", (2**63 + 1,), ValueError, "limit must be at most 9223372036854775808"),
    ("between", (-1, 5), ValueError, "start must be at least 0"),
    ("between", (1, -5), ValueError, "stop must be at least 0"),
    ("between", (0, 2**63 + 1), ValueError, "stop must be at most"),
    ("between", (0.5, 10), TypeError, "start must be an integer"),
    ("between", (0, 10.5), TypeError, "stop must be an integer"),
    ("count_between", (-1, 5), ValueError, "start must be at least 0"),
    ("count_between", (1, "5"), TypeError, "stop must be an integer"),
    ("sum_between", (1, None), TypeError, "stop must be an integer"),
    ("sum_between", (-2, -1), ValueError, "start must be at least 0"),
    ("below", (10**5000,), ValueError, "limit must be at most 9223372036854775808, not an integer of 16610 bits"),
    ("nth", (0,), ValueError, "k must be at least 1, not 0"),
    ("nth", (-3,), ValueError, "k must be at least 1"),
    ("nth", (1.0,), TypeError, "k must be an integer"),
    ("sum_first", (-1,), ValueError, "k must be at least 0"),
    ("sum_first", (2.5,), TypeError, "k must be an integer"),
]


@pytest.mark.parametrize(
    ("function", "arguments", "error", "text"), BAD, ids=[f"{row[0]}-{index}" for index, row in enumerate(BAD)]
)
def test_bad_input(backend, function, arguments, error, text):
    with pytest.raises(error) as caught:
        getattr(primes, function)(*arguments, backend=backend)
    assert type(caught.value) is error
    assert str(caught.value).startswith(text)


def test_integers_of_other_types(backend):
    class Ten:
        def __index__(self):
            return 10

    assert primes.count_below(Ten(), backend=backend) == 4
    if backend != "python":
        import numpy as np

        assert primes.sum_between(np.int32(3), np.uint64(10), backend=backend) == 15
        assert type(primes.sum_first(np.int16(3), backend=backend)) is int


def test_empty_where_stop_is_not_above_start(backend):
    assert listed(primes.between(10, 5, backend=backend)) == []
    assert primes.count_between(10, 10, backend=backend) == 0
    assert primes.sum_between(100, 2, backend=backend) == 0
    assert primes.count_between(10**30, 5, backend=backend) == 0
