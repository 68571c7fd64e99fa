"""Which backend runs a call, and why.

A contract is a public function whose body checks its arguments and returns them with `checked`; the decorator
`contract` then chooses the backend, moves NumPy arrays and lists to it, runs the function of the same name in the
backend's ``on_<backend>`` module, and gives back the caller's kind of array. The first of these rules that matches
chooses:

1. the argument ``backend=``;
2. the innermost ``with use_backend(...)``;
3. the type of the array arguments;
4. the environment variable ``BACKBENCH_BACKEND``, if that backend can serve;
5. the first of `DEFAULTS` that is installed, supports the call and is worth it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from numbers import Number
from typing import Any, NamedTuple, TypeVar

from kernels.errors import BackendError, BackendNotInstalledError, BackendWarning, UnsupportedError
from kernels.namesake import refuse_namesake
from kernels.registry import BUILT_IN, Backend, find, kind_of, third_party

__all__ = [
    "CONTRACTS",
    "DEFAULTS",
    "Contract",
    "Explanation",
    "checked",
    "contract",
    "default_backend",
    "explain",
    "forget_installed",
    "use_backend",
]

refuse_namesake()

DEFAULTS = ("numba", "numpy", "python")
VARIABLE = "BACKBENCH_BACKEND"

BY_ARGUMENT = "chosen by the argument backend="
BY_CONTEXT = "chosen by use_backend"
BY_ARRAYS = "chosen by the type of the array arguments"
BY_VARIABLE = f"preferred by {VARIABLE}"
BY_DEFAULT = "the default"
ORDERS = (BY_ARGUMENT, BY_CONTEXT)

Predicate = Callable[..., "str | None"]
Function = TypeVar("Function", bound=Callable[..., Any])

# os.environ.get takes 0.7 µs where the variable is not set, a third of what dispatch may cost; its own dict 0.02 µs.
_ENVIRONMENT, _KEY = (
    (os.environ._data, os.environ.encodekey(VARIABLE)) if hasattr(os.environ, "_data") else (os.environ, VARIABLE)
)

_context: ContextVar[str | None] = ContextVar("backend", default=None)


def use_backend(name: str | None) -> contextlib.AbstractContextManager[None]:
    """Run every call in the ``with`` block on one backend.

    Parameters
    ----------
    name : str or None
        The backend; None gives the choice back to the rules that follow.

    Raises
    ------
    UnknownBackendError
        At once, if no backend has that name. A call in the block raises if the backend cannot run it.

    Notes
    -----
    The choice belongs to the current thread or task: threads that are started in the block do not inherit it.

    Examples
    --------
    >>> import kernels
    >>> with kernels.use_backend("python"):
    ...     kernels.primes.sum_below(10)
    17
    """
    if name is not None:
        find(name, BY_CONTEXT)
    return _using(name)


@contextlib.contextmanager
def _using(name: str | None) -> Iterator[None]:
    token = _context.set(name)
    try:
        yield
    finally:
        _context.reset(token)


def checked(*arguments: Any) -> Any:
    """What the body of a contract returns: its arguments, checked, in the order of its signature."""
    return arguments


class Contract:
    """A public function as dispatch sees it.

    Attributes
    ----------
    core : str
        Import name of the package that holds the function and its implementations.
    name : str
    check : callable
        The body: it returns the arguments, checked, in the order of the signature.
    arrays : tuple of int
        Positions of the array arguments.
    cannot, not_worth : mapping of str to callable
        For a backend, a function of the checked arguments that returns the reason why this call is impossible there,
        or is answered sooner elsewhere; None where there is no such reason.
    notes : mapping of str to str
        What the capability table says of a backend beside that it has the function.
    """

    def __init__(
        self,
        check: Callable[..., Any],
        arrays: Sequence[str],
        cannot: Mapping[str, Predicate],
        not_worth: Mapping[str, Predicate],
        notes: Mapping[str, str],
    ) -> None:
        code = check.__code__
        parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self.core = check.__module__
        self.name = check.__name__
        self.full_name = f"{self.core.removeprefix('kernels.')}.{self.name}"
        self.check = check
        self.arrays = tuple(parameters.index(name) for name in arrays)
        self.cannot = cannot
        self.not_worth = not_worth
        self.notes = notes

    def why_impossible(self, backend: Backend, arguments: Sequence[Any]) -> str | None:
        """Why `backend`, were it installed, could not run this call."""
        if self.name not in backend.functions(self.core):
            return f"it has no {self.full_name}"
        cannot = self.cannot.get(backend.name)
        return cannot(*arguments) if cannot else None

    def why_not_worth(self, backend: Backend, arguments: Sequence[Any]) -> str | None:
        """Why another backend is likely to answer this call sooner."""
        not_worth = self.not_worth.get(backend.name)
        return not_worth(*arguments) if not_worth else None


CONTRACTS: dict[str, Contract] = {}


def contract(
    *,
    arrays: Sequence[str] = (),
    cannot: Mapping[str, Predicate] | None = None,
    not_worth: Mapping[str, Predicate] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Callable[[Function], Function]:
    """Turn a function that checks its arguments into one that every backend can run; see `Contract`."""

    def decorate(check: Function) -> Function:
        this = Contract(check, arrays, cannot or {}, not_worth or {}, notes or {})
        CONTRACTS[this.full_name] = this

        @functools.wraps(check)
        def function(*args: Any, backend: str | None = None, **options: Any) -> Any:
            arguments = check(*args, **options)
            chosen, rule = _choose(this, arguments, backend)
            return _run(this, arguments, chosen, rule)

        function.contract = this  # type: ignore[attr-defined]
        return function  # type: ignore[return-value]

    return decorate


def _choose(this: Contract, arguments: Sequence[Any], argument: str | None) -> tuple[Backend, str]:
    owner = _owner_of(this, arguments) if this.arrays else None
    name, rule = (argument, BY_ARGUMENT) if argument is not None else (_context.get(), BY_CONTEXT)
    if name is not None:
        backend = find(name, rule)
        if owner not in (None, backend):
            raise TypeError(
                f"{this.full_name} was given arrays of {owner.name}, but {backend.name} was {rule}; "
                f"convert them first with kernels.to_numpy, or leave the choice to the arrays"
            )
    elif owner is not None:
        backend, rule = owner, BY_ARRAYS
    else:
        return _prefer(this, arguments) or _default(this, arguments)
    if error := _obstacle(this, backend, rule, arguments):
        raise error
    return backend, rule


def _owner_of(this: Contract, arguments: Sequence[Any]) -> Backend | None:
    """The backend to which the array arguments belong; NumPy arrays and lists bind nothing beside no other kind."""
    arrays = [arguments[position] for position in this.arrays if arguments[position] is not None]
    owners = {kind_of(array) for array in arrays}
    named = sorted(owner.name for owner in owners if owner is not None)
    if len(named) > 1:
        raise TypeError(f"{this.full_name} was given arrays of {' and '.join(named)}; convert all to one kind")
    if named and None in owners and any(hasattr(array, "__array_interface__") for array in arrays):
        raise TypeError(
            f"{this.full_name} was given NumPy arrays beside arrays of {named[0]}; convert the NumPy arrays to "
            f"{named[0]}, or the others with kernels.to_numpy"
        )
    return next((owner for owner in owners if owner is not None), None)


def _obstacle(this: Contract, backend: Backend, rule: str, arguments: Sequence[Any]) -> BackendError | None:
    """The error that says why `backend` cannot run this call here, or None if it can."""
    if reason := _missing(backend):
        return BackendNotInstalledError(f"{backend.name} ({rule}) cannot run here: {reason}")
    if reason := this.why_impossible(backend, arguments):
        able = [other.name for other in _all_backends() if not this.why_impossible(other, arguments)]
        return UnsupportedError(
            f"{backend.name} ({rule}) does not support this call of {this.full_name}: {reason}. "
            f"Supported by: {', '.join(able) or 'no backend'}"
        )
    return None


def _prefer(this: Contract, arguments: Sequence[Any]) -> tuple[Backend, str] | None:
    """The backend in the environment variable; one warning for each reason for which it could not serve."""
    if not _ENVIRONMENT.get(_KEY):
        return None
    try:
        backend = find(os.environ[VARIABLE], BY_VARIABLE)
        error = _obstacle(this, backend, BY_VARIABLE, arguments)
    except BackendError as unknown:
        error = unknown
    if error is None:
        return backend, BY_VARIABLE
    _warn_once(str(error))
    return None


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"{reason}; the default is used instead", BackendWarning, stacklevel=6)


def default_backend(function: Callable[..., Any], *arguments: Any, among: Sequence[str] = DEFAULTS) -> str:
    """Name of the backend that the last rule alone would choose for a call, for a backend that hands work on.

    Neither the context nor the environment is asked, so that the choice cannot lead back to where it is made.
    """
    return _default(_contract_of(function), arguments, tuple(among))[0].name


def _default(this: Contract, arguments: Sequence[Any], among: tuple[str, ...] = DEFAULTS) -> tuple[Backend, str]:
    able = None
    for backend, cannot, not_worth in _candidates(this, among):
        if cannot is None or cannot(*arguments) is None:
            if not_worth is None or not_worth(*arguments) is None:
                return backend, BY_DEFAULT
            able = able or backend
    if able is None:
        raise _obstacle(this, BUILT_IN[among[-1]], BY_DEFAULT, arguments) or AssertionError(this.full_name)
    return able, BY_DEFAULT


@functools.cache
def _candidates(this: Contract, among: tuple[str, ...]) -> list[tuple[Backend, Predicate | None, Predicate | None]]:
    """The installed ones that have the function: worked out once, since each microsecond counts."""
    return [
        (backend, this.cannot.get(backend.name), this.not_worth.get(backend.name))
        for backend in map(BUILT_IN.__getitem__, among)
        if _missing(backend) is None and this.name in backend.functions(this.core)
    ]


@functools.cache
def _missing(backend: Backend) -> str | None:
    return backend.why_not()


def forget_installed() -> None:
    """Look anew for what is installed, after a package was added to the running process."""
    _missing.cache_clear()
    _candidates.cache_clear()
    _implementation.cache_clear()


def _all_backends() -> list[Backend]:
    return [*BUILT_IN.values(), *third_party().values()]


@functools.cache
def _implementation(this: Contract, backend: Backend) -> Callable[..., Any]:
    return getattr(importlib.import_module(backend.implementation(this.core)), this.name)


def _run(this: Contract, arguments: Sequence[Any], backend: Backend, rule: str) -> Any:
    run = _implementation(this, backend)
    given = this.arrays and [position for position in this.arrays if arguments[position] is not None]
    if not given:
        result = run(*arguments)
        return result if rule in ORDERS else _as_numpy(backend, result)
    arguments = list(arguments)
    own = [backend.owns(type(arguments[position])) for position in given]
    as_given = any(own) and not any(_is_numpy(arguments[position]) for position in given)
    for position, is_own in zip(given, own, strict=True):
        if not is_own and not isinstance(arguments[position], Number):
            arguments[position] = backend.from_numpy(_numpy().asarray(arguments[position]))
    result = run(*arguments)
    return result if as_given else _as_numpy(backend, result)


def _as_numpy(backend: Backend, result: Any) -> Any:
    """`result` with the backend's own arrays turned into NumPy's, in tuples too; untouched where NumPy is missing."""
    if isinstance(result, tuple):
        items = [_as_numpy(backend, item) for item in result]
        return type(result)(*items) if hasattr(result, "_fields") else tuple(items)
    if backend.owns(type(result)) and _missing(BUILT_IN["numpy"]) is None:
        return backend.to_numpy(result)
    return result


def _is_numpy(value: Any) -> bool:
    return "numpy" in sys.modules and isinstance(value, sys.modules["numpy"].ndarray)


def _numpy() -> Any:
    if reason := _missing(BUILT_IN["numpy"]):
        raise BackendNotInstalledError(f"this kind of argument needs NumPy: {reason}")
    return importlib.import_module("numpy")


class Explanation(NamedTuple):
    """Which backend would run a call, by which rule, and why each other one would not.

    Attributes
    ----------
    function : str
    backend : str or None
        None where the call would raise `error`.
    rule : str or None
    others : dict of str to str
        For every other backend the reason why it would not run.
    error : Exception or None
    """

    function: str
    backend: str | None
    rule: str | None
    others: Mapping[str, str]
    error: Exception | None = None

    def __str__(self) -> str:
        verdict = f"raises {type(self.error).__name__}: {self.error}" if self.error else f"{self.backend}: {self.rule}"
        width = max(map(len, self.others), default=0)
        return "\n".join(
            [f"{self.function} -> {verdict}"] + [f"  not {name:<{width}}  {why}" for name, why in self.others.items()]
        )


def explain(
    function: str | Callable[..., Any], /, *arguments: Any, backend: str | None = None, **options: Any
) -> Explanation:
    """Tell which backend would run a call, without running it.

    Parameters
    ----------
    function : str or callable
        A public function or its name, as in ``"primes.sum_below"``.
    *arguments, **options
        What the function would be called with.
    backend : str, optional
        As the function itself takes it.

    Returns
    -------
    Explanation
        Print it, or read its fields.

    Raises
    ------
    ValueError
        If there is no such function, or the function refuses the arguments.
    TypeError
        Likewise.

    Examples
    --------
    >>> import kernels
    >>> kernels.explain("primes.sum_below", 10**9, backend="python").rule
    'chosen by the argument backend='
    """
    this = _contract_of(function)
    checked_arguments = this.check(*arguments, **options)
    chosen: Backend | None = None
    rule = failure = None
    try:
        chosen, rule = _choose(this, checked_arguments, backend)
    except (BackendError, TypeError) as error:
        failure = error
    others = {
        other.name: _why_another(this, other, checked_arguments, chosen, rule)
        for other in _all_backends()
        if other is not chosen
    }
    return Explanation(this.full_name, chosen.name if chosen else None, rule, others, failure)


def _why_another(
    this: Contract, other: Backend, arguments: Sequence[Any], chosen: Backend | None, rule: str | None
) -> str:
    reason = other.why_not_installed() or this.why_impossible(other, arguments)
    if reason is not None:
        return reason
    if chosen is None:
        return "it was not asked for"
    if rule != BY_DEFAULT:
        return f"{chosen.name} was {rule}"
    if other.name not in DEFAULTS:
        return "it never runs unasked: name it to use it"
    return this.why_not_worth(other, arguments) or f"{chosen.name} comes before it"


def _contract_of(function: str | Callable[..., Any]) -> Contract:
    if not isinstance(function, str):
        found = getattr(function, "contract", None)
        if not isinstance(found, Contract):
            raise TypeError(f"{function!r} is no function that a backend runs")
        return found
    name = function.removeprefix("kernels.")
    if name not in CONTRACTS:
        import difflib

        nearest = difflib.get_close_matches(name, CONTRACTS, n=3, cutoff=0.4)
        raise ValueError(
            f"there is no function {function!r}; the nearest are {', '.join(nearest or sorted(CONTRACTS))}"
        )
    return CONTRACTS[name]
