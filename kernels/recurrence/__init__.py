"""Recurrences as scans: linear ones, and the layers of recurrent networks that are made of them.

A series is an array of shape (batch, time, features), (time, features) or (time,); every function goes along time, and
each sequence and feature by itself. Arrays are float32, float64, complex64 or complex128, where it is said float16,
which is carried in float32; integers count as float64, and arrays of several dtypes as the one that NumPy promotes them
to. The result has that dtype.

Nothing is divided by and no logarithm taken, so that any factor is safe: 0, negative, above 1, of modulus 1. NaN and
infinities stay in their own sequence and feature, and before them in time.

All scans can be fed in pieces: the state that one returns begins the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple, TypeVar

from kernels import nested
from kernels.checks import array, integer
from kernels.dispatch import Predicate, checked, contract

__all__ = [
    "GatedSeries",
    "ScanGradients",
    "event_scan",
    "linear_scan",
    "linear_scan_vjp",
    "lru",
    "qrnn",
    "sru",
]

Function = TypeVar("Function", bound=Callable[..., Any])

SERIES = (1, 2, 3)  # numbers of axes


class ScanGradients(NamedTuple):
    """What `linear_scan_vjp` returns: gradients of the shapes of a, b and the state before the first step."""

    da: Any
    db: Any
    dh0: Any


class GatedSeries(NamedTuple):
    """What `qrnn` and `sru` return: the states c, the outputs h, and the state after the last step."""

    c: Any
    h: Any
    final: Any


# Where another backend answers sooner


def _few(size: float) -> str | None:
    return "NumPy answers within a millisecond, long before Numba is loaded" if size < 10**5 else None


def _shape(value: Any) -> tuple[int, ...]:
    if isinstance(value, (int, float, complex)):
        return ()
    return value.shape if hasattr(value, "dtype") else nested.shape(value)


def _few_inputs(a: Any, b: Any, *others: Any) -> str | None:
    return _few(prod(_shape(b)))


def _few_items(x: Any, *others: Any) -> str | None:
    return _few(prod(_shape(x)))


def _operation(
    *arrays: str, few: Predicate, on_sparse: str, cannot: dict[str, Predicate] | None = None, beside: Sequence[str] = ()
) -> Callable[[Function], Function]:
    """A contract whose arrays are of one floating-point dtype; those `beside` them bind the call, and keep theirs."""
    return contract(
        arrays=(*arrays, *beside),
        inexact=arrays,
        cannot=cannot,
        not_worth={"numba": few},
        notes={"sparse": on_sparse, "cupy": "not yet verified on a GPU"},
    )


def _series(name: str, value: Any, kind: Any = "half", ndim: Sequence[int] = SERIES) -> tuple[int, ...]:
    return array(name, value, ndim, kind)


def _without_time(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a state."""
    return shape[:-2] + shape[-1:] if len(shape) > 1 else ()


def _fits(name: str, value: Any, shape: tuple[int, ...], what: str, kind: Any = "half") -> None:
    if value is not None and (found := array(name, value, len(shape), kind)) != shape:
        raise ValueError(f"{name} must have the shape {shape} {what}, not {found}")


def _factor(a: Any, shape: tuple[int, ...], of: str) -> None:
    found = array("a", a, range(len(shape) + 1), "half")
    if any(length not in (1, whole) for length, whole in zip(found[::-1], shape[::-1], strict=False)):
        raise ValueError(f"a must be broadcastable to the shape {shape} of {of}, not of the shape {found}")


def _lengths(lengths: Any, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if lengths is None:
        return None
    if len(shape) != 3:
        raise ValueError(f"lengths are for series with a batch axis, of 3 axes, not of {len(shape)}")
    if isinstance(lengths, (str, bytes)) or not hasattr(lengths, "__len__"):
        raise TypeError(f"lengths must be integers, one a sequence, not {lengths!r} of type {type(lengths).__name__}")
    if len(lengths) != shape[0]:
        raise ValueError(f"lengths must be {shape[0]}, one a sequence, not {len(lengths)}")
    return tuple(integer("each of lengths", length, minimum=0, maximum=shape[1]) for length in lengths)


def _one_a_feature(name: str, factor: Any, shape: tuple[int, ...]) -> None:
    features = shape[-1] if len(shape) > 1 else 1
    if (found := array(name, factor, (0, 1), "inexact")) not in ((), (1,), (features,)):
        raise ValueError(f"{name} must be a number or have the shape ({features},), one a feature, not {found}")


def _same_field(name: str, factor: Any, series: Any) -> None:
    """A number has no dtype that others could be promoted to."""
    if isinstance(factor, complex) and hasattr(series, "dtype") and series.dtype.kind != "c":
        raise TypeError(f"{name} is a complex number where the series is real; give one of the two as a complex array")


def _writable(out: Any, shape: tuple[int, ...]) -> None:
    if not hasattr(out, "dtype"):
        raise TypeError(f"out must be an array, not {out!r} of type {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out must have the shape {shape} of b, not {out.shape}")


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {value!r} of type {type(value).__name__}")
    return value


_DENSE = "stored inputs alone are read; dense result"


def _no_out(a: Any, b: Any, h0: Any, reverse: bool, lengths: Any, return_final: bool, out: Any) -> str | None:
    return None if out is None else "its results are no arrays that can be written to"


def _out_elsewhere(a: Any, b: Any, h0: Any, reverse: bool, lengths: Any, return_final: bool, out: Any) -> str | None:
    if out is None or hasattr(out, "__cuda_array_interface__"):
        return None
    return "out lies in the memory of the host"


@_operation(
    "a",
    "b",
    "h0",
    beside=["out"],
    few=_few_inputs,
    on_sparse=_DENSE,
    cannot={"python": _no_out, "dask": _no_out, "sparse": _no_out, "cupy": _out_elsewhere},
)
def linear_scan(
    a: Any,
    b: Any,
    h0: Any = None,
    *,
    reverse: bool = False,
    lengths: Sequence[int] | None = None,
    return_final: bool = False,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Compute ``h[t] = a[t] * h[t - 1] + b[t]`` along time.

    Parameters
    ----------
    a : array_like, broadcastable to the shape of `b`, or a number
        Factors: one for all, (features,), (time, 1), one for each item, or whatever else NumPy broadcasts. Real or
        complex; float16, too.
    b : array_like, shape (batch, time, features), (time, features) or (time,)
        Inputs.
    h0 : array_like, shape of `b` without time, optional
        The state before the first step; 0 where left out.
    reverse : bool, optional
        Go from the last step to the first: ``h[t] = a[t] * h[t + 1] + b[t]``.
    lengths : sequence of int, shape (batch,), optional
        Lengths of the sequences, for `b` of three axes: what lies beyond counts for nothing, and is 0 in the result.
    return_final : bool, optional
        Whether to return the state after the last step, too, from which the scan of a next piece goes on.
    out : array, shape of `b`, optional
        Where to put the result, in its dtype; it may be `b` itself. On numpy, numba and cupy alone.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    h : array, shape of `b`
        The caller's kind of array; dense (NumPy) for a sparse one. float16 is carried in float32.
    final : array, shape of `b` without time
        Only with `return_final`.

    Raises
    ------
    TypeError
        If an array holds no numbers, a number `a` is complex where `b` is not, `out` has another dtype than the result,
        or a flag or length is of a wrong type.
    ValueError
        If shapes do not fit, a length is out of range, or `lengths` are given without a batch.
    UnsupportedError
        If `out` is given to a backend that cannot write there.

    Notes
    -----
    O(size of b) time. Linear recurrences are associative: what the pairs (a, b) of consecutive pieces make is composed
    by ``(a2 a1, a2 b1 + b2)`` [1]_. Nothing is divided by, so that any factor is safe.

    References
    ----------
    .. [1] G. E. Blelloch, "Prefix sums and their applications", technical report CMU-CS-90-190, 1990.

    Examples
    --------
    >>> from kernels import recurrence
    >>> recurrence.linear_scan([0.5, 0.5, 2.0], [1.0, 1.0, 1.0], backend="python")
    [1.0, 1.5, 4.0]
    >>> recurrence.linear_scan(1.0, [1.0, 2.0, 3.0], 4.0, return_final=True, backend="python")
    ([5.0, 7.0, 10.0], 10.0)
    """
    shape = _series("b", b)
    _factor(a, shape, "b")
    _fits("h0", h0, _without_time(shape), "of b without time")
    _same_field("a", a, b)
    if out is not None:
        _writable(out, shape)
    return checked(
        a, b, h0, _flag("reverse", reverse), _lengths(lengths, shape), _flag("return_final", return_final), out
    )


@_operation("a", "h", "g", "h0", "g_final", few=_few_inputs, on_sparse=_DENSE)
def linear_scan_vjp(
    a: Any,
    h: Any,
    g: Any,
    h0: Any = None,
    *,
    g_final: Any = None,
    reverse: bool = False,
    lengths: Sequence[int] | None = None,
    backend: str | None = None,
) -> ScanGradients:
    """Take the gradient of a scalar back through `linear_scan`.

    Parameters
    ----------
    a : array_like or number
        The factors that the scan was given.
    h : array_like, shape (batch, time, features), (time, features) or (time,)
        The result of the scan.
    g : array_like, shape of `h`
        The gradient of the scalar with respect to `h`.
    h0 : array_like, shape of `h` without time, optional
        The state before the first step, as the scan was given it.
    g_final : array_like, shape of `h` without time, optional
        The gradient with respect to the final state.
    reverse, lengths : optional
        As the scan was given them.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    ScanGradients
        Of the shapes of a (summed over the axes along which it was broadcast), of `h`, and of the state: the caller's
        kind of arrays, dense (NumPy) for sparse ones. For complex arrays, the gradient g of a real scalar is such that
        a small change d changes it by ``real(vdot(g, d))``.

    Raises
    ------
    TypeError
        If an array holds no numbers, or a flag or length is of a wrong type.
    ValueError
        If shapes do not fit, a length is out of range, or `lengths` are given without a batch.

    Notes
    -----
    One scan against time, ``v[t] = g[t] + conj(a[t + 1]) * v[t + 1]``: db is v, da is ``conj(h[t - 1]) * v[t]``, and
    dh0 is ``conj(a[0]) * v[0]``. O(size of h) time.

    Examples
    --------
    >>> from kernels import recurrence
    >>> h = recurrence.linear_scan(0.5, [1.0, 2.0], backend="python")
    >>> recurrence.linear_scan_vjp(0.5, h, [0.0, 1.0], backend="python")
    ScanGradients(da=1.0, db=[0.5, 1.0], dh0=0.25)
    """
    shape = _series("h", h)
    _factor(a, shape, "h")
    _fits("g", g, shape, "of h")
    _fits("h0", h0, _without_time(shape), "of h without time")
    _fits("g_final", g_final, _without_time(shape), "of h without time")
    _same_field("a", a, h)
    return checked(a, h, g, h0, g_final, _flag("reverse", reverse), _lengths(lengths, shape))


@_operation("a", "b", few=_few_inputs, on_sparse="stored entries alone; sparse result")
def event_scan(a: Any, b: Any, *, backend: str | None = None) -> Any:
    """Compute a linear recurrence at its events alone: where an input is stored, or not zero.

    Parameters
    ----------
    a : array_like, shape (features,), or a number
        The factor of each feature.
    b : array_like, shape (batch, time, features), (time, features) or (time,)
        Inputs, most of them zero: best a sparse array.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape of `b`
        The state ``h[t] = a * h[t - 1] + b[t]`` at each event, and 0 elsewhere. For a sparse array a `sparse.COO` with
        the coordinates of `b`, zeros that are stored among them; for others the caller's kind of array.

    Raises
    ------
    TypeError
        If an array holds no numbers, or a number `a` is complex where `b` is not.
    ValueError
        If shapes do not fit; if a sparse array has another fill value than 0.

    Notes
    -----
    Between two events the state is multiplied by a power of the factor, by repeated squaring: no logarithm is taken, so
    that any factor will do. O(events log(longest pause)) time for a sparse array, whatever the time is between them.

    Examples
    --------
    >>> from kernels import recurrence
    >>> recurrence.event_scan(0.5, [1.0, 0.0, 0.0, 1.0], backend="python")
    [1.0, 0.0, 0.0, 1.125]
    """
    shape = _series("b", b, "inexact")
    _one_a_feature("a", a, shape)
    _same_field("a", a, b)
    return checked(a, b)


@_operation("z", "f", "o", "c0", few=_few_items, on_sparse=_DENSE)
def qrnn(z: Any, f: Any, o: Any = None, c0: Any = None, *, backend: str | None = None) -> GatedSeries:
    """Pool the gates of a quasi-recurrent layer: ``c[t] = f[t] * z[t] + (1 - f[t]) * c[t - 1]``.

    Parameters
    ----------
    z : array_like, shape (batch, time, features), (time, features) or (time,)
        Candidates, after their activation; real, as all others.
    f : array_like, shape of `z`
        Gates, after the sigmoid: the share of the new. (Elsewhere f may be the share of the old: give ``1 - f`` then.)
    o : array_like, shape of `z`, optional
        Output gates, after the sigmoid: ``h[t] = o[t] * c[t]``. Where it is left out, h is c.
    c0 : array_like, shape of `z` without time, optional
        The state before the first step; 0 where left out.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    GatedSeries
        c and h, of the shape of `z`, and the state after the last step: the caller's kind of arrays, dense (NumPy) for
        sparse ones.

    Raises
    ------
    TypeError
        If an array holds no real numbers.
    ValueError
        If shapes do not fit.

    Notes
    -----
    O(size of z) time: a linear scan [1]_. The convolution before it is `ndarray.causal_conv1d`.

    References
    ----------
    .. [1] J. Bradbury, S. Merity, C. Xiong and R. Socher, "Quasi-recurrent neural networks", ICLR 2017.

    Examples
    --------
    >>> from kernels import recurrence
    >>> recurrence.qrnn([1.0, 1.0], [0.5, 0.5], backend="python").c
    [0.5, 0.75]
    """
    shape = _series("z", z, "real")
    _fits("f", f, shape, "of z", "real")
    _fits("o", o, shape, "of z", "real")
    _fits("c0", c0, _without_time(shape), "of z without time", "real")
    return checked(z, f, o, c0)


@_operation("x", "w", "b", "v", "c0", few=_few_items, on_sparse="products of stored entries; dense result")
def sru(x: Any, w: Any, b: Any, v: Any = None, c0: Any = None, *, backend: str | None = None) -> GatedSeries:
    """Run a simple recurrent unit with its highway.

    Parameters
    ----------
    x : array_like, shape (batch, time, features) or (time, features)
        Inputs; real, as all others.
    w : array_like, shape (features, 3 * features)
        Weights of the candidate, of the forget gate and of the reset gate, side by side.
    b : array_like, shape (2, features)
        Biases of the two gates.
    v : array_like, shape (2, features), optional
        Peepholes: weights by which the gates see the state before. With them the recurrence is no longer linear, and
        goes step by step. Without them it is that of a quasi-recurrent layer of window 1.
    c0 : array_like, shape of `x` without time, optional
        The state before the first step; 0 where left out.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    GatedSeries
        c and h, of the shape of `x`, and the state after the last step: the caller's kind of arrays, dense (NumPy) for
        sparse ones.

    Raises
    ------
    TypeError
        If an array holds no real numbers.
    ValueError
        If shapes do not fit.

    Notes
    -----
    With ``u, p, q`` the three parts of ``x @ w``: ``f[t] = sigmoid(p[t] + v[0] * c[t - 1] + b[0])``, ``r[t] =
    sigmoid(q[t] + v[1] * c[t - 1] + b[1])``, ``c[t] = f[t] * c[t - 1] + (1 - f[t]) * u[t]`` and ``h[t] = r[t] * c[t] +
    (1 - r[t]) * x[t]`` [1]_. O(size of x * features) time.

    References
    ----------
    .. [1] T. Lei, Y. Zhang, S. I. Wang, H. Dai and Y. Artzi, "Simple recurrent units for highly parallelizable
       recurrence", EMNLP 2018.

    Examples
    --------
    >>> from kernels import recurrence
    >>> recurrence.sru([[2.0], [0.0]], [[1.0, 0.0, 0.0]], [[0.0], [0.0]], backend="python").c
    [[1.0], [0.5]]
    """
    shape = _series("x", x, "real", (2, 3))
    features = shape[-1]
    _fits("w", w, (features, 3 * features), "for the features of x", "real")
    _fits("b", b, (2, features), "for the features of x", "real")
    _fits("v", v, (2, features), "for the features of x", "real")
    _fits("c0", c0, _without_time(shape), "of x without time", "real")
    return checked(x, w, b, v, c0)


@_operation("lam", "u", "h0", few=_few_inputs, on_sparse=_DENSE)
def lru(lam: Any, u: Any, h0: Any = None, *, backend: str | None = None) -> Any:
    """Run the recurrence of a linear recurrent unit: ``h[t] = lam * h[t - 1] + u[t]``, with one factor a feature.

    Parameters
    ----------
    lam : array_like, shape (features,), or a number
        The eigenvalues of the recurrence, as a rule complex and of modulus below 1.
    u : array_like, shape (batch, time, features), (time, features) or (time,)
        Inputs.
    h0 : array_like, shape of `u` without time, optional
        The state before the first step; 0 where left out.
    backend : str, optional
        The backend that shall run the call.

    Returns
    -------
    array, shape of `u`
        The caller's kind of array, complex if one of the arguments is; dense (NumPy) for a sparse one.

    Raises
    ------
    TypeError
        If an array holds no numbers, or a number `lam` is complex where `u` is not.
    ValueError
        If shapes do not fit.

    Notes
    -----
    O(size of u) time: a linear scan of constant factors [1]_.

    References
    ----------
    .. [1] A. Orvieto, S. L. Smith, A. Gu, A. Fernando, C. Gulcehre, R. Pascanu and S. De, "Resurrecting recurrent
       neural networks for long sequences", ICML 2023.

    Examples
    --------
    >>> from kernels import recurrence
    >>> recurrence.lru(0.5j, [1.0 + 0j, 0j], backend="python")
    [(1+0j), 0.5j]
    """
    shape = _series("u", u, "inexact")
    _one_a_feature("lam", lam, shape)
    _same_field("lam", lam, u)
    _fits("h0", h0, _without_time(shape), "of u without time", "inexact")
    return checked(lam, u, h0)
