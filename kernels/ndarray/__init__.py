"""Array pipelines: the operations that models are made of, on every kind of array.

Floating-point arrays are float32 or float64 (complex64 and complex128 where it is said); integers count as float64, and
arrays of several dtypes as the one that NumPy promotes them to. The result has that dtype. NaN and infinities propagate
as they do in the formula. Axes may be empty, arrays non-contiguous or broadcast.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from kernels import nested
from kernels.array_contracts import operation, too_few
from kernels.checks import array, integer, real, seed
from kernels.checks import axis as checked_axis
from kernels.dispatch import checked

__all__ = [
    "BatchNorm",
    "angle_pdf",
    "attention",
    "batch_norm",
    "capsule_routing",
    "causal_conv1d",
    "hsic",
    "log_gram",
    "logsumexp",
    "random_angles",
    "seq2seq_mask",
    "softmax",
]

ANY_AXES = range(1, 65)
ENOUGH = 10**5  # items
LARGEST_DIMENSION = 10**15  # as far as the density is accurate in double precision


class BatchNorm(NamedTuple):
    """What `batch_norm` returns: the normalised array, and the mean and variance that it was normalised by."""

    y: Any
    mean: Any
    var: Any


# Where another backend answers sooner


def _few_items(x: Any, *others: Any) -> str | None:
    return too_few(prod(nested.shape(x)), ENOUGH)


def _few_scores(q: Any, k: Any, *others: Any) -> str | None:
    return too_few(prod(nested.shape(q)[:-1]) * nested.shape(k)[-2], ENOUGH)


def _few_pairs(x: Any, *others: Any) -> str | None:
    return too_few(len(x) ** 2, ENOUGH)


def _few_places(n_source: int, n_target: int) -> str | None:
    return too_few((n_source + n_target) ** 2, ENOUGH)


def _few_angles(dim: int, size: int, key: int) -> str | None:
    return too_few(size, ENOUGH)


def _fits(name: str, shape: tuple[int, ...], wanted: tuple[int, ...], why: str) -> None:
    if shape != wanted:
        raise ValueError(f"{name} must have the shape {wanted}, {why}, not {shape}")


@operation("x", few=_few_items, on_sparse="products of the stored entries of a row; dense result")
def log_gram(x: Any, *, backend: str | None = None) -> Any:
    """Compute ``y = x.T @ (log(x) + 1)`` and subtract from each column its mean: ``y - y.mean(axis=0)``.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Real. Where x = 0 the factor ``log(x) + 1`` counts as 0, so that dense and sparse arrays agree; a negative item
        gives NaN.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape (d, d)
        The caller's kind of array; dense (NumPy) for a sparse array.

    Raises
    ------
    TypeError
        If `x` is no array of real numbers, or of float16 or long double.
    ValueError
        If `x` has not two axes, or chunks of unknown size; a sparse one, if its fill value is negative or not finite.

    Notes
    -----
    O(n d²) time. The logarithms are taken block by block, so that nothing of the size of `x` is stored beside it. On
    dask the rows may be more than fit into memory, and the result is lazy. On sparse the time grows with the sum over
    the rows of the squared number of stored entries.

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.log_gram([[1.0, 2.0], [0.0, 1.0]], backend="python")
    [[-0.5, -1.3465735902799727], [0.5, 1.3465735902799727]]
    """
    array("x", x, 2, "real")
    return checked(x)


@operation(
    "x", few=_few_items, on_sparse="stored values alone; a sparse result where the fill value is -inf, else a dense one"
)
def softmax(x: Any, axis: int = -1, *, backend: str | None = None) -> Any:
    """Compute ``exp(x) / exp(x).sum(axis)`` without overflow.

    Parameters
    ----------
    x : array_like, shape (..., n, ...)
        Real.
    axis : int, optional
        The axis along which the results sum to one.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape of `x`
        The caller's kind of array. For a sparse array whose fill value is -inf a sparse array, filled with zeros;
        else, since no result is zero, a dense one (NumPy).

    Raises
    ------
    TypeError
        If `x` is no array of real numbers, or `axis` no integer.
    ValueError
        If `x` has no axis, no such axis, or chunks of unknown size.

    Notes
    -----
    O(size) time, two passes over each row while it is in cache. As in the formula a row that holds NaN or +inf, or
    nothing but -inf, becomes NaN; but a row of nothing but -inf stays empty in a sparse result. On sparse the
    exponentials are taken of the stored values alone.

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.softmax([0.0, 0.0, float("-inf")], backend="python")
    [0.5, 0.5, 0.0]
    """
    shape = array("x", x, ANY_AXES, "real")
    return checked(x, checked_axis(axis, len(shape)))


@operation("x", few=_few_items, on_sparse="stored values, and a count of the others; dense result")
def logsumexp(x: Any, axis: int = -1, *, backend: str | None = None) -> Any:
    """Compute ``log(exp(x).sum(axis))`` without overflow.

    Parameters
    ----------
    x : array_like, shape (..., n, ...)
        Real.
    axis : int, optional
        The axis that is summed over.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape of `x` without `axis`
        The caller's kind of array; dense (NumPy) for a sparse one.

    Raises
    ------
    TypeError
        If `x` is no array of real numbers, or `axis` no integer.
    ValueError
        If `x` has no axis, no such axis, or chunks of unknown size.

    Notes
    -----
    O(size) time, and nothing of the size of `x` is stored. The sum over nothing, or over -inf alone, is -inf. On sparse
    the exponentials are taken of the stored values alone.

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.logsumexp([[1000.0], [-1000.0]], backend="python")
    [1000.0, -1000.0]
    """
    shape = array("x", x, ANY_AXES, "real")
    return checked(x, checked_axis(axis, len(shape)))


@operation("x", "gamma", "beta", few=_few_items, on_sparse="stored values, and a count of the others; dense result")
def batch_norm(
    x: Any,
    gamma: Any,
    beta: Any,
    *,
    axis: int | tuple[int, ...] = 0,
    eps: float = 1e-5,
    backend: str | None = None,
) -> BatchNorm:
    """Normalise to mean `beta` and deviation `gamma`: ``gamma * (x - mean) / sqrt(var + eps) + beta``.

    Parameters
    ----------
    x : array_like, shape (..., n, ...)
        Real.
    gamma, beta : array_like, shape of `x` without `axis`
        Real.
    axis : int or tuple of int, optional
        What is averaged over: 0 for (samples, features), (0, 2, 3) for (samples, channels, height, width).
    eps : float, optional
        Added to the variance.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    BatchNorm
        The named tuple (y, mean, var): an array of the shape of `x`, and two of the shape of `gamma`. The variance is
        that of the population, as in training. The caller's kind of arrays; dense (NumPy) for sparse ones.

    Raises
    ------
    TypeError
        If an array holds no real numbers, or `axis` no integers.
    ValueError
        If a shape does not fit, an axis does not exist or occurs twice, or `eps` is negative or not finite.

    Notes
    -----
    O(size) time; the variance is computed from the deviations, not from the squares [1]_. The mean over nothing is NaN.
    On sparse the mean and variance are computed from the stored values.

    References
    ----------
    .. [1] S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
       covariate shift", ICML 2015; T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample
       variance: analysis and recommendations", The American Statistician 37 (1983), 242-247.

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.batch_norm([[1.0], [3.0]], [2.0], [10.0], eps=0.0, backend="python")
    BatchNorm(y=[[8.0], [12.0]], mean=[2.0], var=[1.0])
    """
    shape = array("x", x, ANY_AXES, "real")
    axes = axis if isinstance(axis, tuple) else (axis,)
    averaged = tuple(sorted(checked_axis(each, len(shape)) for each in axes))
    if len(set(averaged)) < len(averaged) or not averaged:
        raise ValueError(f"axis must name one axis or several different ones, not {axis!r}")
    kept = tuple(length for place, length in enumerate(shape) if place not in averaged)
    if not kept:
        raise ValueError(f"axis must leave one of the {len(shape)} axes of x, not {axis!r}")
    for name, value in (("gamma", gamma), ("beta", beta)):
        _fits(name, array(name, value, ANY_AXES, "real"), kept, "that of x without axis")
    return checked(x, gamma, beta, averaged, real("eps", eps))


@operation(
    "x", "w", "bias", "state", few=_few_items, on_sparse="each stored entry goes to the times that see it; dense result"
)
def causal_conv1d(
    x: Any, w: Any, bias: Any = None, *, dilation: int = 1, state: Any = None, backend: str | None = None
) -> Any:
    """Convolve along time, looking at the past alone: ``y[t] = bias + sum(x[t - (width-1-k)*dilation] @ w[k])``.

    Parameters
    ----------
    x : array_like, shape (batch, time, in), (time, in) or (time,)
        Real or complex; (time,) is one feature.
    w : array_like, shape (width, in, out)
        The last tap, ``w[-1]``, meets the present; for `x` of shape (time,) in and out are 1.
    bias : array_like, shape (out,), optional
    dilation : int, optional
        Distance in time between taps.
    state : array_like, shape of `x` but for a time of (width-1)*dilation, optional
        What came before `x`; zeros where it is left out. A stream is fed in pieces with the last items of
        ``concatenate([state, x])`` as the next state.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape (batch, time, out), (time, out) or (time,)
        The caller's kind of array; dense (NumPy) for sparse ones.

    Raises
    ------
    TypeError
        If an array holds no numbers, or `dilation` is no integer.
    ValueError
        If a shape does not fit, or `dilation` is less than 1.

    Notes
    -----
    O(batch time width in out) time, as products of matrices. A layer of a temporal convolutional network [1]_. On
    sparse the time grows with the stored entries of `x` times width and out.

    References
    ----------
    .. [1] S. Bai, J. Z. Kolter and V. Koltun, "An empirical evaluation of generic convolutional and recurrent networks
       for sequence modeling", arXiv:1803.01271.

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.causal_conv1d([1.0, 2.0, 4.0, 8.0], [[[10.0]], [[1.0]]], dilation=2, backend="python")
    [1.0, 2.0, 14.0, 28.0]
    """
    shape = array("x", x, (1, 2, 3), "inexact")
    width, n_in, n_out = array("w", w, 3, "inexact")
    if width < 1:
        raise ValueError("w must have one tap or more, not none")
    features = shape[-1] if len(shape) > 1 else 1
    _fits("w", (width, n_in, n_out), (width, features, n_out if len(shape) > 1 else 1), "as x has so many features")
    if bias is not None:
        _fits("bias", array("bias", bias, 1, "inexact"), (n_out,), "one for each output of w")
    dilation = integer("dilation", dilation, minimum=1)
    if state is not None:
        time = max(len(shape) - 2, 0)
        wanted = (*shape[:time], (width - 1) * dilation, *shape[time + 1 :])
        _fits("state", array("state", state, (1, 2, 3), "inexact"), wanted, "(width-1)*dilation steps before x")
    return checked(x, w, bias, dilation, state)


@operation(
    "q", "k", "v", masks=["mask"], few=_few_scores, on_sparse="scores where the mask is stored alone; dense result"
)
def attention(
    q: Any, k: Any, v: Any, mask: Any = None, *, scale: float | None = None, backend: str | None = None
) -> Any:
    """Average the values by how well their keys match the queries: ``softmax(scale * q @ k.T) @ v``.

    Parameters
    ----------
    q : array_like, shape (..., n, d)
        Queries; real.
    k : array_like, shape (..., m, d)
        Keys, with the leading axes of `q`.
    v : array_like, shape (..., m, e)
        Values, with the leading axes of `q`.
    mask : array_like of bool, shape (n, m), or any that broadcasts to (..., n, m), optional
        True where a query may attend to a key; see `seq2seq_mask`.
    scale : float, optional
        ``1 / sqrt(d)`` where it is left out.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape (..., n, e)
        The caller's kind of array; dense (NumPy) for sparse ones. A query that may attend to no key gets zeros. Where
        the value of a masked key is not finite, the result may be NaN.

    Raises
    ------
    TypeError
        If q, k or v hold no real numbers, or `mask` no bools.
    ValueError
        If a shape does not fit, or `scale` is negative or not finite.

    Notes
    -----
    O(n m (d + e)) time. The scores are never stored whole where the backend's form is blocked (numba, cupy): the
    softmax is taken online [1]_, [2]_, in O(n + m) memory beside the arrays. On sparse the time grows with the stored
    entries of the mask. With q, k, v from one input it is the non-local block of [3]_.

    References
    ----------
    .. [1] M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867.
    .. [2] T. Dao, D. Y. Fu, S. Ermon, A. Rudra and C. Ré, "FlashAttention: fast and memory-efficient exact attention
       with IO-awareness", NeurIPS 2022.
    .. [3] X. Wang, R. Girshick, A. Gupta and K. He, "Non-local neural networks", CVPR 2018.

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.attention([[0.0]], [[1.0], [2.0]], [[10.0], [20.0]], backend="python")
    [[15.0]]
    """
    *batch, n, d = array("q", q, range(2, 65), "real")
    *_, m, e = array("v", v, range(2, 65), "real")
    _fits("k", array("k", k, range(2, 65), "real"), (*batch, m, d), "as q and v have it")
    _fits("v", array("v", v, range(2, 65), "real"), (*batch, m, e), "with the leading axes of q")
    if mask is not None:
        shape = array("mask", mask, ANY_AXES, "mask")
        scores = (*batch, n, m)
        pairs = zip(reversed(shape), reversed(scores), strict=False)
        if len(shape) > len(scores) or any(length not in (1, wanted) for length, wanted in pairs):
            raise ValueError(f"mask must have the shape {scores}, or one that broadcasts to it, not {shape}")
    return checked(q, k, v, mask, real("scale", scale) if scale is not None else (d or 1) ** -0.5)


@operation(few=_few_places, on_sparse="coordinates written in order")
def seq2seq_mask(n_source: int, n_target: int, *, backend: str | None = None) -> Any:
    """Mask for `attention` by which one transformer reads a source and writes a target.

    Parameters
    ----------
    n_source, n_target : int
        Lengths of the two, which stand one behind the other.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array of bool, shape (n_source + n_target, n_source + n_target)
        True where row i may attend to column j: everything to the source, and the target to its own past and present.
        A NumPy array; where one of these backends is named, a nested list (python), a CuPy array, a lazy Dask array, or
        a `sparse.COO` that stores what is True.

    Raises
    ------
    TypeError
        If an argument is not an integer.
    ValueError
        If one is negative.

    Notes
    -----
    O((n_source + n_target)²) time. The mask of UniLM [1]_.

    References
    ----------
    .. [1] L. Dong et al., "Unified language model pre-training for natural language understanding and generation",
       NeurIPS 2019.

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.seq2seq_mask(1, 2, backend="python")
    [[True, False, False], [True, True, False], [True, True, True]]
    """
    return checked(integer("n_source", n_source, minimum=0), integer("n_target", n_target, minimum=0))


@operation("x", "y", few=_few_pairs, on_sparse="kernels of rank one but where two rows share a feature")
def hsic(
    x: Any, y: Any, *, sigma_x: float | None = None, sigma_y: float | None = None, backend: str | None = None
) -> float:
    """Measure how far two samples depend on each other: ``trace(K @ H @ L @ H) / (n - 1)**2``.

    Here ``K[i, j] = exp(-d² / (2 sigma_x²))`` for the distance d of x[i] and x[j], L is the same of y, and H = I - 1/n
    takes the mean away: the Hilbert-Schmidt independence criterion with Gaussian kernels.

    Parameters
    ----------
    x : array_like, shape (n, p) or (n,)
        Real; (n,) is one feature.
    y : array_like, shape (n, q) or (n,)
    sigma_x, sigma_y : float, optional
        Widths of the kernels; where one is left out, the median of the distances between two different rows. Should
        that be 0, the kernel is 1 where rows are equal and 0 elsewhere, the limit of a narrow one.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    float
        About 0 for independent samples; computed at once on dask, too. NaN where an item is not finite.

    Raises
    ------
    TypeError
        If an array holds no real numbers.
    ValueError
        If n is less than 2 or differs, or a sigma is not finite and positive.

    Notes
    -----
    O(n² (p + q)) time in float64, by ``sum(K * L) - 2/n sum(K @ 1 * L @ 1) + sum(K) sum(L) / n²``, with K and L never
    stored: O(n) memory, or tiles. The estimator of [1]_. On sparse K is a rank-one matrix but where two rows share a
    feature, so that the time grows with the number of such pairs.

    References
    ----------
    .. [1] A. Gretton, O. Bousquet, A. Smola and B. Schölkopf, "Measuring statistical dependence with Hilbert-Schmidt
       norms", ALT 2005.

    Examples
    --------
    >>> from kernels import ndarray
    >>> round(ndarray.hsic([0.0, 1.0, 2.0], [0.0, 1.0, 4.0], backend="python"), 6)
    0.133329
    """
    rows = array("x", x, (1, 2), "real")[0]
    if rows < 2:
        raise ValueError(f"x must have two rows or more, not {rows}")
    if (others := array("y", y, (1, 2), "real")[0]) != rows:
        raise ValueError(f"y must have as many rows as x, {rows}, not {others}")
    widths = (
        value if value is None else real(name, value, positive=True)
        for name, value in (("sigma_x", sigma_x), ("sigma_y", sigma_y))
    )
    return checked(x, y, *widths)


@operation("votes", few=_few_items, on_sparse="logits where votes are stored alone; dense result")
def capsule_routing(votes: Any, iterations: int = 3, *, backend: str | None = None) -> Any:
    """Route capsules by agreement: each sends its vote mainly where the votes of others point the same way.

    Parameters
    ----------
    votes : array_like, shape (..., n_in, n_out, d)
        What each input capsule predicts for each output capsule; real.
    iterations : int, optional
        Rounds of routing.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape (..., n_out, d)
        The output capsules, each shorter than 1. The caller's kind of array; dense (NumPy) for a sparse one.

    Raises
    ------
    TypeError
        If `votes` holds no real numbers, or `iterations` is no integer.
    ValueError
        If `votes` has fewer than three axes, or `iterations` is less than 1; sparse ones, if their fill value is not 0.

    Notes
    -----
    O(iterations size) time. Procedure 1 of [1]_: from logits b = 0, ``c = softmax(b)`` over the outputs,
    ``s = sum(c * votes)`` over the inputs, ``v = squash(s) = |s|²/(1 + |s|²) s/|s|`` and, but for the last round,
    ``b += votes · v``. On sparse the time grows with the stored entries.

    References
    ----------
    .. [1] S. Sabour, N. Frosst and G. E. Hinton, "Dynamic routing between capsules", NIPS 2017.

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.capsule_routing([[[1.0, 0.0]], [[1.0, 0.0]]], backend="python")
    [[0.8, 0.0]]
    """
    array("votes", votes, range(3, 65), "real")
    return checked(votes, integer("iterations", iterations, minimum=1))


@operation(few=_few_angles, on_sparse="container only")
def random_angles(dim: int, size: int, *, rng: Any = None, backend: str | None = None) -> Any:
    """Draw angles between two random directions.

    Parameters
    ----------
    dim : int
        Dimension of the space, from 2 to 10**15.
    size : int
        Number of angles.
    rng : int or numpy.random.Generator, optional
        Key of the counter-based generator, from 0 to 2**64 - 1, or what it is drawn from; from the system where it is
        left out. The same key gives the same angles on every backend, but for the last digits.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array of float64, shape (size,)
        In radians, from 0 to π. A NumPy array; where one of these backends is named, an `array.array` (python), a CuPy
        array, a lazy Dask array, or a `sparse.COO`.

    Raises
    ------
    TypeError
        If `dim`, `size` or `rng` is no integer.
    ValueError
        If one is out of its range.

    Notes
    -----
    O(size) time, whatever the dimension. The cotangent of the angle, times sqrt(dim - 1), has Student's t distribution
    with dim - 1 degrees of freedom, which is drawn from two uniform numbers by Bailey's polar method [1]_; they come
    from Philox4x32-10 [2]_.

    References
    ----------
    .. [1] R. W. Bailey, "Polar generation of random variates with the t-distribution", Mathematics of Computation 62
       (1994), 779-781.
    .. [2] J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
       2011.

    Examples
    --------
    >>> from kernels import ndarray
    >>> angles = ndarray.random_angles(100, 1000, rng=1, backend="python")
    >>> min(angles) > 1.0 and max(angles) < 2.2
    True
    """
    return checked(
        integer("dim", dim, minimum=2, maximum=LARGEST_DIMENSION), integer("size", size, minimum=0), seed(rng)
    )


@operation("theta", few=_few_items, on_sparse="stored values, and the fill value")
def angle_pdf(theta: Any, dim: int, *, backend: str | None = None) -> Any:
    """Density of the angle between two random directions: ``sin(theta)**(dim - 2)``, normalised.

    Parameters
    ----------
    theta : array_like or float
        Angles in radians; the density is 0 outside of 0 to π.
    dim : int
        Dimension of the space, from 2 to 10**15.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape of `theta`, or float
        The caller's kind of array; sparse for a sparse one, its fill value the density of the fill value.

    Raises
    ------
    TypeError
        If `theta` holds no real numbers, or `dim` is no integer.
    ValueError
        If `dim` is out of its range.

    Notes
    -----
    O(size) time. The factor is Γ(dim/2) / (√π Γ((dim-1)/2)).

    Examples
    --------
    >>> from kernels import ndarray
    >>> ndarray.angle_pdf([0.0, 1.5707963267948966], 4, backend="python")
    [0.0, 0.6366197723675814]
    """
    array("theta", theta, range(65), "real")
    return checked(theta, integer("dim", dim, minimum=2, maximum=LARGEST_DIMENSION))
