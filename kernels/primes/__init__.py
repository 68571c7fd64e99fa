"""Prime numbers: the sieve, counts, sums, the n-th prime.

Every range is half-open, as in `range`: "below n" leaves n out. Counts and sums are exact Python ints of any size.
Results are computed from nothing on each call: no tables are shipped and none are kept.
"""

from __future__ import annotations

import sys
from math import isqrt, log
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from kernels.checks import integer, physical_memory
from kernels.dispatch import EVERY_OTHER, Predicate, checked, contract

if TYPE_CHECKING:
    from array import array

    import numpy as np
    from numpy.typing import NDArray

    OnNumPy: TypeAlias = Literal["numpy", "numba"] | None

__all__ = [
    "below",
    "between",
    "count_below",
    "count_between",
    "nth",
    "sieve",
    "sum_below",
    "sum_between",
    "sum_first",
]

INT64_END = 2**63
LARGEST_GPU = 2**40  # bytes; how much this machine's has is told by its driver, which only the backend asks
PROVEN = 3317044064679887385961981  # Sorenson and Webster's bound for the first thirteen primes


def _listed(name: str, value: Any) -> int:
    return integer(name, value, minimum=0, maximum=INT64_END)


def _interval(start: Any, stop: Any, *, maximum: int | None = None) -> tuple[int, int]:
    start = integer("start", start, minimum=0, maximum=maximum)
    stop = integer("stop", stop, minimum=0, maximum=maximum)
    return (start, stop) if start < stop else (0, 0)


# What a backend cannot do


def _beyond_words(limit: int) -> str | None:
    return "its 64-bit integers end at 2**63" if limit > INT64_END else None


def _range_beyond_words(start: int, stop: int) -> str | None:
    return _beyond_words(stop)


def _rank_beyond_words(k: int) -> str | None:
    return _beyond_words(50 * k)  # no less than the k-th prime as far as 2**63


def _beyond_memory(limit: int) -> str | None:
    return "the values of n // k for so large an n fit into no memory" if limit > INT64_END else None


def _rank_beyond_memory(k: int) -> str | None:
    return _beyond_memory(50 * k)


def _range_beyond_proof(start: int, stop: int) -> str | None:
    return f"no test of single numbers is proven beyond {PROVEN}" if stop > PROVEN else None


def _mask_beyond_memory(limit: int) -> str | None:
    return _beyond(physical_memory(), limit)


def _list_beyond_memory(*bounds: int) -> str | None:
    return _beyond(physical_memory(), _list_size(*bounds))


def _mask_beyond_gpus(limit: int) -> str | None:
    return _beyond(LARGEST_GPU, limit)


def _list_beyond_gpus(*bounds: int) -> str | None:
    return _beyond(LARGEST_GPU, _list_size(*bounds))


def _lazy(*bounds: int) -> None:
    """Chunks that are made one by one may together be larger than any memory."""


def _list_size(*bounds: int) -> float:
    start, stop = bounds if len(bounds) == 2 else (0, *bounds)
    return 8 * (stop - start) / log(stop + 2)


def _beyond(memory: float, size: float) -> str | None:
    if size <= memory:
        return None
    return f"the array would take {size / 2**30:,.0f} GiB, and there are {memory / 2**30:,.0f} GiB of memory"


# Where another backend answers sooner


def _sieved_sooner(*bounds: int) -> str | None:
    numbers = bounds[-1] - bounds[0] + isqrt(bounds[-1]) if len(bounds) == 2 else bounds[0]
    return "NumPy sieves so few numbers before Numba is loaded" if numbers < 10**6 else None


def _counted_sooner(limit: int) -> str | None:
    return "NumPy answers in less than half a millisecond, long before Numba is loaded" if limit < 10**7 else None


def _ranked_sooner(k: int) -> str | None:
    return _counted_sooner(10 * k)


def _looped_sooner(limit: int) -> str | None:
    if sys.implementation.name == "pypy":
        return "PyPy compiles the plain loops to faster code than NumPy's calls"
    return "plain Python answers sooner than NumPy's calls begin to pay" if limit < 10**4 else None


def _rank_looped_sooner(k: int) -> str | None:
    return _looped_sooner(10 * k)


COUNTS = {EVERY_OTHER: _beyond_words, "python": _beyond_memory}
RANKS = {EVERY_OTHER: _rank_beyond_words, "python": _rank_beyond_memory}
RANGES = {EVERY_OTHER: _range_beyond_words, "python": _range_beyond_proof}
MASKS: dict[str, Predicate] = {EVERY_OTHER: _mask_beyond_memory, "cupy": _mask_beyond_gpus, "dask": _lazy}
LISTS: dict[str, Predicate] = {EVERY_OTHER: _list_beyond_memory, "cupy": _list_beyond_gpus, "dask": _lazy}
SIEVED = {"numba": _sieved_sooner}
COUNTED = {"numba": _counted_sooner, "numpy": _looped_sooner}
RANKED = {"numba": _ranked_sooner, "numpy": _rank_looped_sooner}
NOTES = {"sparse": "container only", "cupy": "not yet verified on a GPU"}


@overload
def sieve(limit: int, *, backend: OnNumPy = None) -> NDArray[np.bool_]: ...
@overload
def sieve(limit: int, *, backend: Literal["python"]) -> bytearray: ...
@overload
def sieve(limit: int, *, backend: str | None) -> Any: ...
@contract(cannot=MASKS, not_worth=SIEVED, notes=NOTES)
def sieve(limit: int, *, backend: str | None = None) -> Any:
    """Tell of each integer from 0 to `limit` - 1 whether it is prime.

    Parameters
    ----------
    limit : int
        Number of integers to tell of, from 0 to 2**63.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array of bool, shape (limit,)
        True at the primes. A NumPy array; where one of these backends is named, a `bytearray` of 0 and 1 (python), a
        CuPy array, a lazy Dask array, or a `sparse.COO` that stores the primes alone.

    Raises
    ------
    TypeError
        If `limit` is not an integer.
    ValueError
        If `limit` is out of its range.
    UnsupportedError
        If the array is larger than this machine's memory and the backend not lazy.

    Notes
    -----
    O(n log log n) time and n bytes. The segmented sieve of Eratosthenes [1]_; on sparse the result is a container,
    filled by one of the dense backends.

    References
    ----------
    .. [1] C. Bays and R. H. Hudson, "The segmented sieve of Eratosthenes and primes in arithmetic progressions to
       10**12", BIT 17 (1977), 121-127.

    Examples
    --------
    >>> from kernels import primes
    >>> list(primes.sieve(6, backend="python"))
    [0, 0, 1, 1, 0, 1]
    """
    return checked(_listed("limit", limit))


@overload
def below(limit: int, *, backend: OnNumPy = None) -> NDArray[np.int64]: ...
@overload
def below(limit: int, *, backend: Literal["python"]) -> array[int]: ...
@overload
def below(limit: int, *, backend: str | None) -> Any: ...
@contract(cannot=LISTS, not_worth=SIEVED, notes=NOTES)
def below(limit: int, *, backend: str | None = None) -> Any:
    """List the primes below `limit`, ascending.

    Parameters
    ----------
    limit : int
        Exclusive upper end, from 0 to 2**63.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array of int64, shape (count_below(limit),)
        A NumPy array; where one of these backends is named, an `array.array` (python), a CuPy array, a lazy Dask array
        whose chunk sizes are known from counts at the chunk bounds, or a `sparse.COO`.

    Raises
    ------
    TypeError
        If `limit` is not an integer.
    ValueError
        If `limit` is out of its range: beyond 2**63 a prime need not fit into int64.
    UnsupportedError
        If the array is larger than this machine's memory and the backend not lazy.

    Notes
    -----
    O(n log log n) time; the memory of the result, 8 bytes a prime, and O(sqrt(n)) beside it.

    Examples
    --------
    >>> from kernels import primes
    >>> list(primes.below(12, backend="python"))
    [2, 3, 5, 7, 11]
    """
    return checked(_listed("limit", limit))


@overload
def between(start: int, stop: int, *, backend: OnNumPy = None) -> NDArray[np.int64]: ...
@overload
def between(start: int, stop: int, *, backend: Literal["python"]) -> array[int]: ...
@overload
def between(start: int, stop: int, *, backend: str | None) -> Any: ...
@contract(cannot=LISTS, not_worth=SIEVED, notes=NOTES)
def between(start: int, stop: int, *, backend: str | None = None) -> Any:
    """List the primes p with `start` <= p < `stop`, ascending.

    Parameters
    ----------
    start, stop : int
        The half-open range, from 0 to 2**63. Empty where `stop` <= `start`, as in `range`.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array of int64
        Of the kind that `below` returns.

    Raises
    ------
    TypeError
        If `start` or `stop` is not an integer.
    ValueError
        If one of them is out of its range.
    UnsupportedError
        If the array is larger than this machine's memory and the backend not lazy.

    Notes
    -----
    O((stop - start) log log stop + sqrt(stop)) time by segments, so `start` may be large. Where the range is much
    shorter than sqrt(stop), its candidates are tested one by one instead, by strong pseudoprime tests to bases that
    are proven to leave no exception: the first thirteen primes [1]_, or J. Sinclair's seven, checked against
    J. Feitsma's list of all base-2 pseudoprimes below 2**64.

    References
    ----------
    .. [1] J. P. Sorenson and J. Webster, "Strong pseudoprimes to twelve prime bases", Math. Comp. 86 (2017), 985-1003.

    Examples
    --------
    >>> from kernels import primes
    >>> list(primes.between(10**12, 10**12 + 100, backend="python"))
    [1000000000039, 1000000000061, 1000000000063, 1000000000091]
    """
    return checked(*_interval(start, stop, maximum=INT64_END))


@contract(cannot=COUNTS, not_worth=COUNTED, notes=NOTES)
def count_below(limit: int, *, backend: str | None = None) -> int:
    """Count the primes below `limit` without listing them: pi(limit - 1).

    Parameters
    ----------
    limit : int
        Exclusive upper end, at least 0; no backend goes beyond 2**63.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If `limit` is not an integer.
    ValueError
        If `limit` is negative.
    UnsupportedError
        If it is beyond what the backend can do.

    Notes
    -----
    O(n**(3/4) / log n) time by a sweep over the distinct values of n // k, or O(n**(2/3)) by the method of Lagarias,
    Miller and Odlyzko [1]_ with the improvements of Deleglise and Rivat [2]_; O(sqrt(n)) memory.

    References
    ----------
    .. [1] J. C. Lagarias, V. S. Miller and A. M. Odlyzko, "Computing pi(x): the Meissel-Lehmer method", Math. Comp. 44
       (1985), 537-560.
    .. [2] M. Deleglise and J. Rivat, "Computing pi(x): the Meissel, Lehmer, Lagarias, Miller, Odlyzko method", Math.
       Comp. 65 (1996), 235-245.

    Examples
    --------
    >>> from kernels import primes
    >>> primes.count_below(10**6)
    78498
    """
    return checked(integer("limit", limit, minimum=0))


@contract(cannot=COUNTS, not_worth=COUNTED, notes=NOTES)
def sum_below(limit: int, *, backend: str | None = None) -> int:
    """Sum the primes below `limit` without listing them.

    Parameters
    ----------
    limit : int
        Exclusive upper end, at least 0; no backend goes beyond 2**63.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    int
        Exact: it passes 2**63 at the prime 20706267151 and 2**64 at 29505444491.

    Raises
    ------
    TypeError
        If `limit` is not an integer.
    ValueError
        If `limit` is negative.
    UnsupportedError
        If it is beyond what the backend can do.

    Notes
    -----
    As `count_below`, for the sum of the numbers that a sieve leaves instead of their count.

    Examples
    --------
    >>> from kernels import primes
    >>> primes.sum_below(2_000_000)
    142913828922
    """
    return checked(integer("limit", limit, minimum=0))


@contract(cannot=RANGES, not_worth=SIEVED, notes=NOTES)
def count_between(start: int, stop: int, *, backend: str | None = None) -> int:
    """Count the primes p with `start` <= p < `stop`.

    Parameters
    ----------
    start, stop : int
        The half-open range, at least 0. Empty where `stop` <= `start`, as in `range`. Beyond 2**63 it takes the backend
        python, and ends at 3317044064679887385961981, up to where single numbers can be proven prime quickly.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If `start` or `stop` is not an integer.
    ValueError
        If one of them is negative.
    UnsupportedError
        If the range is beyond what the backend can do.

    Notes
    -----
    Time as for `between`, memory O(sqrt(stop)): the segments are counted and forgotten. For a range that begins near 0,
    the difference of two `count_below` is far quicker.

    Examples
    --------
    >>> from kernels import primes
    >>> primes.count_between(10**12, 10**12 + 10**5)
    3614
    """
    return checked(*_interval(start, stop))


@contract(cannot=RANGES, not_worth=SIEVED, notes=NOTES)
def sum_between(start: int, stop: int, *, backend: str | None = None) -> int:
    """Sum the primes p with `start` <= p < `stop`.

    Parameters
    ----------
    start, stop : int
        The half-open range, at least 0. Empty where `stop` <= `start`, as in `range`. Beyond 2**63 it takes the backend
        python, and ends at 3317044064679887385961981, up to where single numbers can be proven prime quickly.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    int
        Exact at any size.

    Raises
    ------
    TypeError
        If `start` or `stop` is not an integer.
    ValueError
        If one of them is negative.
    UnsupportedError
        If the range is beyond what the backend can do.

    Notes
    -----
    As `count_between`.

    Examples
    --------
    >>> from kernels import primes
    >>> primes.sum_between(10, 20)
    60
    """
    return checked(*_interval(start, stop))


@contract(cannot=RANKS, not_worth=RANKED, notes=NOTES)
def nth(k: int, *, backend: str | None = None) -> int:
    """Return the `k`-th prime; the first is 2.

    Parameters
    ----------
    k : int
        At least 1; no backend goes beyond primes of 2**63.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If `k` is not an integer.
    ValueError
        If `k` is less than 1.
    UnsupportedError
        If it is beyond what the backend can do.

    Notes
    -----
    The inverse of Riemann's R function gives a number x close to the prime, `count_below` its rank, and a sieve of the
    gap the prime itself: the time of `count_below` at the result.

    Examples
    --------
    >>> from kernels import primes
    >>> primes.nth(2_000_000)
    32452843
    """
    return checked(integer("k", k, minimum=1))


@contract(cannot=RANKS, not_worth=RANKED, notes=NOTES)
def sum_first(k: int, *, backend: str | None = None) -> int:
    """Sum the first `k` primes.

    Parameters
    ----------
    k : int
        At least 0; no backend goes beyond primes of 2**63.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    int
        Exact at any size.

    Raises
    ------
    TypeError
        If `k` is not an integer.
    ValueError
        If `k` is negative.
    UnsupportedError
        If it is beyond what the backend can do.

    Notes
    -----
    As `nth`, with the sum of the primes taken at the same point.

    Examples
    --------
    >>> from kernels import primes
    >>> primes.sum_first(2_000_000)
    31381137530481
    """
    return checked(integer("k", k, minimum=0))
