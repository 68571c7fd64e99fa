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
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from kernels import registry, transfer
from kernels.errors import BackendError, BackendNotInstalledError, BackendWarning, UnsupportedError
from kernels.namesake import refuse_namesake
from kernels.registry import BUILT_IN, Backend, all_backends, find

__all__ = [
    "CONTRACTS",
    "DEFAULTS",
    "EVERY_OTHER",
    "Contract",
    "Predicate",
    "checked",
    "contract",
    "default_backend",
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

EVERY_OTHER = "every other"

Predicate = Callable[..., "str | None"]
Function = TypeVar("Function", bound=Callable[..., Any])

# os.environ.get takes 0.7 µs where the variable is not set, a third of what dispatch may cost; its own dict 0.02 µs.
_ENVIRONMENT, _KEY = (
    (os.environ._data, os.environ.encodekey(VARIABLE)) if hasattr(os.environ, "_data") else (os.environ, VARIABLE)
)

_broken: dict[Backend, str] = {}
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
    The choice belongs to the current thread or task. A `threading.Thread` started in the block does not inherit it;
    tasks of asyncio and `asyncio.to_thread` do, since they copy the context.

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
    arrays, inexact : tuple of int
        Positions of the array arguments, and of those that the backend gets in one floating-point dtype: the one that
        NumPy's promotion gives, integers counting as float64.
    cannot, not_worth : mapping of str to callable
        For a backend, a function of the checked arguments that returns the reason why this call is impossible there,
        or is answered sooner elsewhere; None where there is no such reason. What `cannot` says of `EVERY_OTHER` holds
        for the backends that it does not name, a third party's among them.
    notes : mapping of str to str
        What the capability table says of a backend beside that it has the function.
    """

    def __init__(
        self,
        check: Callable[..., Any],
        arrays: Sequence[str],
        inexact: Sequence[str],
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
        self.inexact = tuple(parameters.index(name) for name in inexact)
        self.cannot = cannot
        self.not_worth = not_worth
        self.notes = notes

    def array_types(self, arguments: Sequence[Any]) -> tuple[type, ...]:
        """The types of the array arguments: all that dispatch looks at in them."""
        return tuple([type(arguments[position]) for position in self.arrays]) if self.arrays else ()

    def why_impossible(self, backend: Backend, arguments: Sequence[Any]) -> str | None:
        """Why `backend`, were it installed, could not run this call."""
        if self.name not in backend.functions(self.core):
            return f"it has no {self.full_name}"
        cannot = self.limits_of(backend)
        return cannot(*arguments) if cannot else None

    def limits_of(self, backend: Backend) -> Predicate | None:
        return self.cannot.get(backend.name) or self.cannot.get(EVERY_OTHER)

    def why_not_worth(self, backend: Backend, arguments: Sequence[Any]) -> str | None:
        """Why another backend is likely to answer this call sooner."""
        not_worth = self.not_worth.get(backend.name)
        return not_worth(*arguments) if not_worth else None


CONTRACTS: dict[str, Contract] = {}


def contract(
    *,
    arrays: Sequence[str] = (),
    inexact: Sequence[str] = (),
    cannot: Mapping[str, Predicate] | None = None,
    not_worth: Mapping[str, Predicate] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Callable[[Function], Function]:
    """Turn a function that checks its arguments into one that every backend can run; see `Contract`."""

    def decorate(check: Function) -> Function:
        this = Contract(check, arrays, inexact, cannot or {}, not_worth or {}, notes or {})
        CONTRACTS[this.full_name] = this

        @functools.wraps(check)
        def function(*args: Any, backend: str | None = None, **options: Any) -> Any:
            arguments = check(*args, **options)
            types = this.array_types(arguments)
            chosen, rule = choose(this, arguments, types, backend)
            try:
                run = _implementation(this, chosen)
            except ImportError as error:
                _give_up(chosen, rule, error)
                return function(*args, backend=backend, **options)
            return transfer.run(run, this.arrays, this.inexact, types, arguments, chosen, rule in ORDERS)

        function.contract = this  # type: ignore[attr-defined]
        return function  # type: ignore[return-value]

    return decorate


def choose(
    this: Contract, arguments: Sequence[Any], types: tuple[type, ...], argument: str | None, *, quiet: bool = False
) -> tuple[Backend, str]:
    """The backend that runs a call and the rule that chose it; `quiet` keeps a preference's warning for later."""
    try:
        owner = transfer.owner(types) if types else None
    except TypeError as error:
        raise TypeError(f"{this.full_name}: {error}") from None
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
        return _prefer(this, arguments, quiet) or _default(this, arguments)
    if obstacle := _obstacle(this, backend, rule, arguments):
        raise obstacle
    return backend, rule


def _obstacle(this: Contract, backend: Backend, rule: str, arguments: Sequence[Any]) -> BackendError | None:
    """The error that says why `backend` cannot run this call here, or None if it can."""
    if reason := _missing(backend):
        return BackendNotInstalledError(f"{backend.name} ({rule}) cannot run here: {reason}")
    if reason := this.why_impossible(backend, arguments):
        able = [other.name for other in all_backends() if not this.why_impossible(other, arguments)]
        return UnsupportedError(
            f"{backend.name} ({rule}) does not support this call of {this.full_name}: {reason}. "
            f"Supported by: {', '.join(able) or 'no backend'}"
        )
    return None


def _prefer(this: Contract, arguments: Sequence[Any], quiet: bool) -> tuple[Backend, str] | None:
    """The backend in the environment variable; one warning for each reason for which it could not serve."""
    if not _ENVIRONMENT.get(_KEY):
        return None
    preferred = _preferred(os.environ[VARIABLE])
    if isinstance(preferred, BackendError):
        reason = preferred
    elif (obstacle := _obstacle(this, preferred, BY_VARIABLE, arguments)) is None:
        return preferred, BY_VARIABLE
    else:
        reason = obstacle
    if not quiet:
        _warn_once(str(reason))
    return None


@functools.cache
def _preferred(name: str) -> Backend | BackendError:
    try:
        return find(name, BY_VARIABLE)
    except BackendError as error:
        return error


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"{reason}; the default is used instead", BackendWarning, stacklevel=5)


def default_backend(function: Callable[..., Any], *arguments: Any, among: Sequence[str] = DEFAULTS) -> str:
    """Name of the backend that the last rule alone would choose for a call, for a backend that hands work on.

    Neither the context nor the environment is asked, so that the choice cannot lead back to where it is made.
    """
    return _default(contract_of(function), arguments, tuple(among))[0].name


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
        (backend, this.limits_of(backend), this.not_worth.get(backend.name))
        for backend in map(BUILT_IN.__getitem__, among)
        if _missing(backend) is None and this.name in backend.functions(this.core)
    ]


@functools.cache
def _missing(backend: Backend) -> str | None:
    return _broken.get(backend) or backend.why_not()


def _give_up(backend: Backend, rule: str, error: ImportError) -> None:
    """Treat a backend that is installed but cannot be imported as missing, or raise if it was not our choice."""
    reason = f"it is installed, but cannot be imported: {error}"
    if rule not in (BY_VARIABLE, BY_DEFAULT):
        raise BackendNotInstalledError(f"{backend.name} ({rule}) cannot run here: {reason}") from error
    _broken[backend] = reason
    _missing.cache_clear()
    _candidates.cache_clear()
    warnings.warn(f"{backend.name} ({rule}): {reason}", BackendWarning, stacklevel=3)


def forget_installed() -> None:
    """Look anew for what is installed, after a package was added to the running process."""
    _broken.clear()
    ours = (_missing, _candidates, _implementation, _preferred)
    for cached in (*ours, transfer.owner, transfer.moves, registry.owner_of, registry.third_party):
        cached.cache_clear()


@functools.cache
def _implementation(this: Contract, backend: Backend) -> Callable[..., Any]:
    return getattr(importlib.import_module(backend.implementation(this.core)), this.name)


def contract_of(function: str | Callable[..., Any]) -> Contract:
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
