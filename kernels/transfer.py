"""The arrays of a call: which backend they bind it to, how they get there, and what comes back.

All is told by the types of the arguments alone, so that it is worked out once for each combination of types.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any

from kernels.registry import BUILT_IN, Backend, import_numpy, owner_of, to_numpy

__all__ = ["moves", "owner", "run"]


@functools.cache
def owner(types: tuple[type, ...]) -> Backend | None:
    """The backend whose own arrays are among the arguments; NumPy arrays, lists and None bind a call to nothing.

    Raises
    ------
    TypeError
        Where kinds are mixed, or an array belongs to no backend: moving its data is the caller's explicit act.
    """
    owners = {owner_of(array_type) for array_type in types} - {None}
    names = sorted(backend.name for backend in owners if backend)
    if len(names) > 1:
        raise TypeError(f"given arrays of {' and '.join(names)}; convert all to one kind")
    if names and any(map(_is_numpy, types)):
        raise TypeError(
            f"given NumPy arrays beside arrays of {names[0]}; convert the NumPy arrays to {names[0]}, or the others "
            "with kernels.to_numpy"
        )
    return next(iter(owners), None)


def run(
    function: Callable[..., Any],
    arrays: Sequence[int],
    inexact: Sequence[int],
    types: tuple[type, ...],
    arguments: Sequence[Any],
    backend: Backend,
    named: bool,
) -> Any:
    """Call a backend's function with the arguments in its own arrays, and return the caller's kind of array.

    Parameters
    ----------
    arrays, inexact : sequence of int
        Positions of the arrays among the arguments, and of those that the backend gets in one floating-point dtype.
    types : tuple of type
        The types of the arrays.
    named : bool
        Whether the caller named the backend.
    """
    moved, keep = moves(types, backend, named) if types else ((), named)
    given = arguments
    if moved:
        arguments = list(arguments)
        for place in moved:
            position = arrays[place]
            arguments[position] = backend.from_numpy(import_numpy().asarray(arguments[position]))
    if inexact and (dtype := _conversion(_dtypes(arguments, inexact))) is not None:
        arguments = [
            argument.astype(dtype) if position in inexact and hasattr(argument, "dtype") else argument
            for position, argument in enumerate(arguments)
        ]
    result = function(*arguments)
    if keep:
        return result
    if _are_numbers(types):
        return to_numpy(result).item()
    dtype = None if backend.has_dtypes else _promoted(_dtypes(given, inexact))
    return _as_numpy(backend, result, dtype)


@functools.cache
def _are_numbers(types: tuple[type, ...]) -> bool:
    """Whether no array but a single number was given: then a single number is what comes back."""
    given = [array_type for array_type in types if array_type is not type(None)]
    return bool(given) and all(issubclass(array_type, Number) for array_type in given)


def _dtypes(arguments: Sequence[Any], places: Sequence[int]) -> tuple[Any, ...]:
    return tuple([arguments[place].dtype for place in places if hasattr(arguments[place], "dtype")])


@functools.cache
def _promoted(dtypes: tuple[Any, ...]) -> Any:
    """The floating-point dtype that NumPy's promotion gives, integers counting as float64; None without any."""
    if not dtypes:
        return None
    np = import_numpy()
    return np.result_type(*(dtype if dtype.kind in "fc" else np.float64 for dtype in dtypes))


@functools.cache
def _conversion(dtypes: tuple[Any, ...]) -> Any:
    """The dtype that arrays have to be converted to; None where all have the right one already."""
    dtype = _promoted(dtypes)
    return None if all(given == dtype and given.isnative for given in dtypes) else dtype


@functools.cache
def moves(types: tuple[type, ...], backend: Backend, named: bool) -> tuple[tuple[int, ...], bool]:
    """Which of the arrays have to be moved to the backend, and whether the result stays what the backend returns.

    Without an array among the arguments it does where the backend was named. Of the backend's own kind, it does; but
    lists, which are Python's, are no reason to get lists from a backend that was not asked for.
    """
    given = {place: array_type for place, array_type in enumerate(types) if array_type is not type(None)}
    if not given:
        return (), named
    if _are_numbers(types):
        return (tuple(given), False) if backend.has_dtypes else ((), True)
    own = {place for place, array_type in given.items() if backend.owns(array_type)}
    takes_numpy = type(backend).from_numpy is Backend.from_numpy
    moved = (
        place
        for place, kind in given.items()
        if place not in own and not issubclass(kind, Number) and not (takes_numpy and _is_numpy(kind, exactly=True))
    )
    if takes_numpy and backend.has_dtypes:
        return tuple(moved), True  # it returns NumPy arrays, which is what all that it is given calls for
    chosen = backend.arrays is not None or named or BUILT_IN["numpy"].why_not() is not None
    return tuple(moved), bool(own) and not any(map(_is_numpy, types)) and chosen


def _as_numpy(backend: Backend, result: Any, dtype: Any) -> Any:
    """`result` with the backend's own arrays turned into NumPy's, in tuples too; untouched where NumPy is missing.

    What a backend without dtypes returns gets the `dtype` that it would have elsewhere; tuples within a tuple, which
    tell about the result, keep their own.
    """
    if isinstance(result, tuple):
        items = [
            _as_numpy(backend, item, None if isinstance(item, tuple) else dtype)
            for item in backend.compute_together(result)
        ]
        return type(result)(*items) if hasattr(result, "_fields") else tuple(items)
    if not backend.owns(type(result)) or BUILT_IN["numpy"].why_not() is not None:
        return result
    array = backend.to_numpy(result)
    if dtype is None or array.dtype.kind not in "fc":
        return array
    if hasattr(result, "typecode"):  # a buffer holds real numbers, of whatever its arguments were
        dtype = dtype.type(0).real.dtype
    return array.astype(dtype, copy=False)


def _is_numpy(array_type: type, *, exactly: bool = False) -> bool:
    if "numpy" not in sys.modules:
        return False
    ndarray = sys.modules["numpy"].ndarray
    return array_type is ndarray or (issubclass(array_type, ndarray) and not exactly)
