"""Matrix products from a sample of their terms, with an error that one can trust, and randomized SVD, the rival.

``x @ y`` is the sum of the outer products ``x[:, i] y[i]``, its terms. Keep r of the l terms, multiplied so that the
sum is right on average, and the product takes r / l of the time: column-row (CR) sampling. `cr_plan` tells when that
pays.

Arrays are float32, float64, complex64 or complex128; integers count as float64, and arrays of several dtypes as the one
that NumPy promotes them to. The weight of a term is its Frobenius norm, ``norm(x[:, i]) * norm(y[i])``, worked out in
float64 whatever the dtype. A term of weight 0 is never taken. Where a weight is not finite, which one NaN or infinity
is enough for, nothing can be said about the terms that are left out: each item of a sampled product is NaN then. An
exact product has NaN where the formula has it.
"""

from __future__ import annotations

import difflib
from math import prod
from typing import Any, Literal, NamedTuple, overload

from kernels import nested
from kernels.array_contracts import operation, too_few
from kernels.checks import array, integer, real, seed
from kernels.dispatch import checked

__all__ = ["SVD", "CRInfo", "CRPlan", "cr_matmul", "cr_plan", "estimate_error", "randomized_svd"]

Sampling = Literal["systematic", "importance", "uniform", "topk", "topk_reweighted"]

SAMPLINGS = ("systematic", "importance", "uniform", "topk", "topk_reweighted")
ENOUGH = 10**6  # multiply-adds
MOST_TERMS = 2**31  # so that the integers that terms are drawn by do not overflow


class CRInfo(NamedTuple):
    """What a sampled product is made of, and how far off it is.

    Attributes
    ----------
    method : str
        The sampling, or "exact" where all terms were taken.
    rank : int
        Number of terms drawn: those of an exact product are all l. Terms drawn twice count twice.
    indices : array of int64
        The terms that were drawn, ascending, each once. NumPy's (on dask and sparse, too), CuPy's for CuPy arrays, an
        `array.array` from python.
    weights : array of float64
        What each of them was multiplied by; a list from python. For topk_reweighted of complex arrays they are complex.
    error : float
        The Frobenius norm of ``w - x @ y``, estimated: the root of an unbiased estimate of its square.
    relative_error : float
        `error` over the Frobenius norm of ``x @ y``, which is estimated likewise; infinite where that drowns in the
        error.
    kind : str
        How `error` was found: "exact" where it is zero; "unbiased" from the weights and the norm of w alone, for terms
        drawn with replacement (importance and uniform, two or more of them); "probes" by 8 Gaussian probes else.
    """

    method: str
    rank: int
    indices: Any
    weights: Any
    error: float
    relative_error: float
    kind: str


class CRPlan(NamedTuple):
    """What sampling would give: the error against the number of terms, and whether it pays.

    Attributes
    ----------
    ranks : tuple of int
        Powers of two below l, and l.
    errors : tuple of float
        For each rank the relative error of systematic sampling that is to be expected, in the Frobenius norm.
    bounds : tuple of float
        What the norms alone guarantee: the error with replacement is at most this on average (root mean square).
    break_even : int
        The largest rank that is expected to take less time than the exact product on this backend; 0 if none is.
    worse_than_zero : int
        The largest of all ranks that are expected to be further off than an array of zeros; 0 if none is.
    advice : str
        What to do, in words.
    warning : str or None
        Said where all ranks that could save time are worse than returning zeros.
    """

    ranks: tuple[int, ...]
    errors: tuple[float, ...]
    bounds: tuple[float, ...]
    break_even: int
    worse_than_zero: int
    advice: str
    warning: str | None


class SVD(NamedTuple):
    """What `randomized_svd` returns: ``u * s @ vh`` is near its argument."""

    u: Any
    s: Any
    vh: Any


def _few_products(x: Any, y: Any, *others: Any) -> str | None:
    return too_few(prod(nested.shape(x)) * nested.shape(y)[1], ENOUGH)


def _few_items(a: Any, rank: int, *others: Any) -> str | None:
    return too_few(prod(nested.shape(a)) * rank, ENOUGH)


def _matrices(x: Any, y: Any) -> tuple[int, int]:
    (rows, terms), (others, columns) = array("x", x, 2, "inexact"), array("y", y, 2, "inexact")
    if terms != others:
        raise ValueError(f"y must have as many rows as x has columns, {terms}, not {others}")
    if terms >= MOST_TERMS:
        raise ValueError(f"x must have fewer than 2**31 columns, not {terms}")
    return rows, columns


@overload
def cr_matmul(
    x: Any, y: Any, rank: int | None = None, *, rtol: float | None = None, sampling: Sampling = "systematic",
    rng: Any = None, return_info: Literal[False] = False, backend: str | None = None,
) -> Any: ...  # fmt: skip
@overload
def cr_matmul(
    x: Any, y: Any, rank: int | None = None, *, rtol: float | None = None, sampling: Sampling = "systematic",
    rng: Any = None, return_info: Literal[True], backend: str | None = None,
) -> tuple[Any, CRInfo]: ...  # fmt: skip
@operation("x", "y", few=_few_products, on_sparse="stored entries of the chosen terms; sparse result")
def cr_matmul(
    x: Any,
    y: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    sampling: Sampling = "systematic",
    rng: Any = None,
    return_info: bool = False,
    backend: str | None = None,
) -> Any:
    """Approximate ``x @ y`` by some of the l outer products that it is the sum of.

    Parameters
    ----------
    x : array_like, shape (m, l)
        Real or complex.
    y : array_like, shape (l, n)
    rank : int, optional
        Number of terms to draw; with l or more the product is exact. Give either this or `rtol`.
    rtol : float, optional
        The relative error in the Frobenius norm that is to be kept to, in 49 of 50 products. A pilot sample tells how
        many terms that takes; where so many cannot pay, the product is exact.
    sampling : str, optional
        How terms are drawn:

        - "systematic": so many different ones, each with a probability proportional to its weight, or certainly where
          that would be more than one; unbiased, and the best of the unbiased ones;
        - "importance": one by one, each with a probability proportional to its weight, with replacement; unbiased;
        - "uniform": likewise, with equal probabilities; unbiased;
        - "topk": the ones of the largest weights, as they are: biased, but better where terms hardly overlap;
        - "topk_reweighted": the same, multiplied so that the error is as small as it can be. To find these factors
          takes as long as a product of about ``2 * rank`` terms.
    rng : int or numpy.random.Generator, optional
        Key of the counter-based generator, from 0 to 2**64 - 1, or what it is drawn from; from the system where it is
        left out. The same key draws the same terms on every backend.
    return_info : bool, optional
        Whether to return, too, what was drawn and how far off the product is.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    w : array, shape (m, n)
        The caller's kind of array, sparse for sparse ones. On dask lazy where `rank` is given and no info is asked for.
    info : CRInfo
        Only with `return_info`.

    Raises
    ------
    TypeError
        If an array holds no numbers, or `rank` or `rng` is no integer.
    ValueError
        If shapes do not fit, `rank` is less than 1, `rtol` not finite and positive, both or neither is given, or there
        is no such sampling; if a sparse array has another fill value than 0.

    Notes
    -----
    O((m + n) l + m n rank) time. Drawn with replacement, the squared error is on average ``(sum(w)**2 - norm(x @
    y)**2) / rank`` for the weights w [1]_; it is estimated without bias by ``(sum(w)**2 - norm(result)**2) / (rank -
    1)``. Systematic samples (Madow [2]_) are drawn in random order [3]_, so that no period of the data is met with; the
    weights count as multiples of 2**-36 of the largest, and the draws are exact in integers. The factors of
    topk_reweighted solve the normal equations of the terms.

    References
    ----------
    .. [1] P. Drineas, R. Kannan and M. W. Mahoney, "Fast Monte Carlo algorithms for matrices I: approximating matrix
       multiplication", SIAM Journal on Computing 36 (2006), 132-157.
    .. [2] W. G. Madow, "On the theory of systematic sampling, II", Annals of Mathematical Statistics 20 (1949),
       333-354.
    .. [3] H. O. Hartley and J. N. K. Rao, "Sampling with unequal probabilities and without replacement", Annals of
       Mathematical Statistics 33 (1962), 350-374.

    Examples
    --------
    >>> from kernels import lowrank
    >>> x, y = [[3.0, 0.0, 1.0]], [[1.0], [5.0], [1.0]]
    >>> lowrank.cr_matmul(x, y, 3, backend="python")
    [[4.0]]
    >>> w, info = lowrank.cr_matmul(x, y, 1, sampling="topk", return_info=True, backend="python")
    >>> w, list(info.indices)
    ([[3.0]], [0])
    """
    _matrices(x, y)
    if (rank is None) == (rtol is None):
        raise ValueError("give either rank or rtol" + (", not both" if rank is not None else ""))
    if rank is not None:
        rank = integer("rank", rank, minimum=1)
    if rtol is not None:
        rtol = real("rtol", rtol, positive=True)
    if sampling not in SAMPLINGS:
        nearest = difflib.get_close_matches(str(sampling), SAMPLINGS, n=1) or [""]
        hint = f"; did you mean {nearest[0]!r}?" if nearest[0] else ""
        raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, not {sampling!r}{hint}")
    if not isinstance(return_info, bool):
        raise TypeError(f"return_info must be a bool, not {return_info!r} of type {type(return_info).__name__}")
    return checked(x, y, rank, rtol, sampling, seed(rng), return_info)


@operation("x", "y", few=_few_products, on_sparse="stored entries alone")
def cr_plan(x: Any, y: Any, *, backend: str | None = None) -> CRPlan:
    """Tell what `cr_matmul` would give for x and y: the error against the number of terms, and whether it pays.

    Parameters
    ----------
    x : array_like, shape (m, l)
        Real or complex.
    y : array_like, shape (l, n)
    backend : str, optional
        The backend that shall run the call, and whose times count.

    Returns
    -------
    CRPlan
        Worked out at once on dask, too. All errors but that of all terms are NaN where an item is not finite.

    Raises
    ------
    TypeError
        If an array holds no numbers.
    ValueError
        If shapes do not fit; if a sparse array has another fill value than 0.

    Notes
    -----
    O((m + n) l) time. The weights tell the error up to how much the terms overlap, which is estimated from the inner
    products of 128 terms drawn with replacement, by the same key always.

    Examples
    --------
    >>> from kernels import lowrank
    >>> plan = lowrank.cr_plan([[3.0, 0.0, 1.0]], [[1.0], [5.0], [1.0]], backend="python")
    >>> plan.ranks
    (1, 2, 3)
    """
    _matrices(x, y)
    return checked(x, y)


@operation("x", "y", "w", few=_few_products, on_sparse="products of stored entries and dense probes")
def estimate_error(x: Any, y: Any, w: Any, *, probes: int = 8, rng: Any = None, backend: str | None = None) -> float:
    """Estimate the Frobenius norm of ``w - x @ y`` without working the product out.

    Parameters
    ----------
    x : array_like, shape (m, l)
        Real or complex.
    y : array_like, shape (l, n)
    w : array_like, shape (m, n)
        Any approximation of ``x @ y``.
    probes : int, optional
        Number of Gaussian vectors that the difference is applied to.
    rng : int or numpy.random.Generator, optional
        Key of the counter-based generator, from 0 to 2**64 - 1, or what it is drawn from.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    float
        The root of an unbiased estimate of the square, whose relative standard deviation is ``sqrt(2 / probes)`` at
        most (where the difference has rank 1) and far less for a difference without structure. Computed at once on
        dask, too. NaN where an item of the arrays is not finite.

    Raises
    ------
    TypeError
        If an array holds no numbers, or `probes` or `rng` is no integer.
    ValueError
        If shapes do not fit, or `probes` is less than 1; if a sparse array has another fill value than 0.

    Notes
    -----
    O(((m + n) l + m n) probes) time. The mean of ``norm((w - x @ y) @ g)**2`` over standard normal vectors g, which
    come from Philox4x32-10 by the method of Box and Muller [1]_.

    References
    ----------
    .. [1] M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing
       splines", Communications in Statistics - Simulation and Computation 18 (1989), 1059-1076.

    Examples
    --------
    >>> from kernels import lowrank
    >>> lowrank.estimate_error([[2.0]], [[3.0]], [[6.0]], backend="python")
    0.0
    """
    rows, columns = _matrices(x, y)
    if (shape := array("w", w, 2, "inexact")) != (rows, columns):
        raise ValueError(f"w must have the shape {(rows, columns)} of x @ y, not {shape}")
    return checked(x, y, w, integer("probes", probes, minimum=1), seed(rng))


@operation("a", few=_few_items, on_sparse="products of stored entries and dense vectors; dense result")
def randomized_svd(
    a: Any, rank: int, *, oversample: int = 8, iterations: int = 2, rng: Any = None, backend: str | None = None
) -> SVD:
    """Find the largest singular values of a matrix, and their vectors, by random projection.

    Parameters
    ----------
    a : array_like, shape (m, n)
        Real or complex.
    rank : int
        Number of singular values; no more than ``min(m, n)`` come back.
    oversample : int, optional
        Further random vectors, which make the ones that are asked for more accurate.
    iterations : int, optional
        Rounds of the power method, for singular values that fall slowly.
    rng : int or numpy.random.Generator, optional
        Key of the counter-based generator, from 0 to 2**64 - 1, or what it is drawn from.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    SVD
        u of shape (m, k), s of shape (k,), descending and real, and vh of shape (k, n), for k = min(rank, m, n): the
        caller's kind of arrays, NumPy's for sparse ones, lazy on dask. The item of largest modulus in each column of u
        is positive, the first where several are. All items are NaN where one of `a` is not finite.

    Raises
    ------
    TypeError
        If `a` holds no numbers, or another argument is no integer.
    ValueError
        If `rank` is less than 1, `oversample` or `iterations` less than 0; if a sparse array has another fill value
        than 0.

    Notes
    -----
    O(m n (rank + oversample) (iterations + 1)) time. The range is found by subspace iteration, made orthonormal after
    each product (algorithms 4.4 and 5.1 of [1]_); the starting vectors are standard normal, from Philox4x32-10.

    References
    ----------
    .. [1] N. Halko, P. G. Martinsson and J. A. Tropp, "Finding structure with randomness: probabilistic algorithms for
       constructing approximate matrix decompositions", SIAM Review 53 (2011), 217-288.

    Examples
    --------
    >>> from kernels import lowrank
    >>> svd = lowrank.randomized_svd([[3.0, 0.0], [0.0, 4.0]], 1, backend="python")
    >>> [round(value, 6) for value in svd.s]
    [4.0]
    """
    array("a", a, 2, "inexact")
    return checked(
        a,
        integer("rank", rank, minimum=1),
        integer("oversample", oversample, minimum=0),
        integer("iterations", iterations, minimum=0),
        seed(rng),
    )
