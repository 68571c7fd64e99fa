"""Why a backend runs a call, and why each other one does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kernels.dispatch import BY_DEFAULT, DEFAULTS, Contract, choose, contract_of
from kernels.errors import BackendError
from kernels.registry import Backend, all_backends

__all__ = ["Explanation", "explain"]


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
    this = contract_of(function)
    checked_arguments = this.check(*arguments, **options)
    chosen: Backend | None = None
    rule = failure = None
    try:
        chosen, rule = choose(this, checked_arguments, this.array_types(checked_arguments), backend, quiet=True)
    except (BackendError, TypeError) as error:
        failure = error
    others = {
        other.name: _why_another(this, other, checked_arguments, chosen, rule)
        for other in all_backends()
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
