"""``python -m benchmarks.crossovers``: from which size each backend beats NumPy, as a table in Markdown.

Sizes grow by factors of ten; both sides are timed on their own arrays, results computed, and a backend that
takes more than half a second for a call goes no further. It beats NumPy from the smallest size on from which it stays
ahead by more than a tenth.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any

from .common import BACKENDS, Input
from .peers import seconds

TURNS, LIMIT, LARGEST = 7, 0.5, 10**7

ARGUMENTS: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "log_gram": lambda n: (Input((n // 16, 16)),),
    "softmax": lambda n: (Input((isqrt(n), isqrt(n)), -4, 4),),
    "logsumexp": lambda n: (Input((isqrt(n), isqrt(n)), -4, 4),),
    "batch_norm": lambda n: (Input((n // 64 + 1, 64)), Input((64,)), Input((64,))),
    "causal_conv1d": lambda n: (Input((1, n // 32 + 1, 32)), Input((3, 32, 32), -1)),
    "attention": lambda n: tuple(Input((n // 64 + 1, 64), -1) for _ in range(3)),
    "seq2seq_mask": lambda n: (isqrt(n) // 2, isqrt(n) // 2),
    "hsic": lambda n: (Input((n // 4 + 2, 4)), Input((n // 4 + 2, 4))),
    "capsule_routing": lambda n: (Input((n // 160 + 1, 10, 16), -0.5, 0.5),),
    "random_angles": lambda n: (100, n),
    "angle_pdf": lambda n: (Input((n,), 0, 3), 100),
}
QUADRATIC = {"attention", "hsic"}


def main() -> None:
    from kernels.registry import BUILT_IN

    backends = [name for name in BACKENDS if name != "numpy" and BUILT_IN[name].why_not() is None]
    print(f"| function | {' | '.join(backends)} |")
    print("|---|" + "--:|" * len(backends))
    for name, arguments in ARGUMENTS.items():
        sizes = [10**k for k in range(2, 8) if 10**k <= LARGEST // (10 if name in QUADRATIC else 1)]
        cells = [cell(name, arguments, backend, sizes) for backend in backends]
        print(f"| `ndarray.{name}` | {' | '.join(cells)} |", flush=True)


def cell(name: str, arguments: Callable[[int], tuple[Any, ...]], backend: str, sizes: list[int]) -> str:
    """The size from which on the backend is ahead, and how far at the largest one."""
    ratios: dict[int, float] = {}
    for size in sizes:
        ours, numpy_ = (prepared(name, arguments(size), each) for each in (backend, "numpy"))
        if not ratios:
            ours(), numpy_()  # what is compiled and started now is compiled and started for all sizes
        if max(seconds(ours), seconds(numpy_)) > LIMIT:
            break
        ratios[size] = best(numpy_) / best(ours)
    ahead = None
    for size in reversed(ratios):
        if ratios[size] < 1.1:
            break
        ahead = size
    last = f"×{list(ratios.values())[-1]:.2g} at {max(ratios):.0e}".replace("e+0", "e") if ratios else "too slow"
    return f"{ahead:.0e} ({last})".replace("e+0", "e") if ahead else f"never ({last})"


def best(call: Callable[[], Any]) -> float:
    """Of calls one after the other, since idle threads of one side may spin into the time of the other."""
    return min(seconds(call) for _ in range(TURNS))


def prepared(name: str, arguments: tuple[Any, ...], backend: str) -> Callable[[], Any]:
    from kernels import ndarray
    from kernels.registry import BUILT_IN

    kind = BUILT_IN[backend]
    arrays = [kind.from_numpy(each.make()) if isinstance(each, Input) else each for each in arguments]
    options = {"rng": 1} if name == "random_angles" else {}
    return lambda: kind.compute(getattr(ndarray, name)(*arrays, **options, backend=backend))


if __name__ == "__main__":
    main()
