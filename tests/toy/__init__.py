"""A core with one function of arrays, so that dispatch is tested apart from the real cores."""

from typing import Any

from kernels.dispatch import checked, contract


@contract(
    arrays=["x", "offset"],
    cannot={"numpy": lambda x, factor, offset: "factor is complex" if isinstance(factor, complex) else None},
    not_worth={"numpy": lambda x, factor, offset: "a zero factor needs no NumPy" if factor == 0 else None},
)
def scale(x: Any, factor: Any, offset: Any = None, *, backend: str | None = None) -> Any:
    return checked(x, factor, offset)


@contract()
def only_numpy(*, backend: str | None = None) -> str:
    return checked()


@contract(arrays=["x"])
def halves(x: Any, *, backend: str | None = None) -> Any:
    return checked(x)
