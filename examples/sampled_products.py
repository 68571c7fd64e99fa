"""When does a sampled matrix product pay? The error against the time, for every sampling and for randomized SVD.

``python examples/sampled_products.py`` (with matplotlib) measures four kinds of products in single precision and draws
``sampled_products.png`` beside itself. A curve pays where it is left of the exact product and below the error that one
can live with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from kernels.lowrank import SAMPLINGS, cr_matmul, randomized_svd

N = 2048
FRACTIONS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
TURNS = 5
SVD = "randomized SVD of x"
COLOURS = ("#0072b2", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#444444")  # told apart with any colour vision

Pair = tuple[np.ndarray, np.ndarray]
Product = Callable[[Any, Any, int, int], Any]


def flat(rng: np.random.Generator) -> Pair:
    return rng.normal(size=(N, N)), rng.normal(size=(N, N))


def concentrated(rng: np.random.Generator) -> Pair:
    x, y = flat(rng)
    roots = np.arange(1, N + 1) ** -0.5
    return x / np.linalg.norm(x, axis=0) * roots, y / np.linalg.norm(y, axis=1)[:, None] * roots[:, None]


def positive(rng: np.random.Generator) -> Pair:
    return rng.random((N, N)), rng.random((N, N))


def tall_gram(rng: np.random.Generator) -> Pair:
    a = rng.normal(size=(8 * N, N // 8)) * rng.lognormal(size=(8 * N, 1))
    return a.T, a


FAMILIES: dict[str, Callable[[np.random.Generator], Pair]] = {
    "flat: normal items": flat,
    "concentrated: weights fall as 1 / i": concentrated,
    "positive: items from 0 to 1": positive,
    "tall Gram: a.T @ a, rows of lognormal size": tall_gram,
}


def sampled(sampling: Any) -> Product:
    return lambda x, y, rank, key: cr_matmul(x, y, rank, sampling=sampling, rng=key)


def by_svd(x: np.ndarray, y: np.ndarray, rank: int, key: int) -> np.ndarray:
    u, s, vh = randomized_svd(x, rank, rng=key)
    return (u * s) @ (vh @ y)


PRODUCTS: dict[str, Product] = {**{sampling: sampled(sampling) for sampling in SAMPLINGS}, SVD: by_svd}


class Curve(NamedTuple):
    """For each rank the seconds and the relative error (the least and the median); and of the exact product."""

    seconds: list[float]
    errors: list[float]
    exact: float


def curve(product: Product, x: np.ndarray, y: np.ndarray, exact: np.ndarray) -> Curve:
    """Measured in turns, up to the first rank that takes longer than the exact product."""
    result = Curve([], [], math.inf)
    size = np.linalg.norm(exact)
    for fraction in FRACTIONS:
        rank = max(1, round(min(x.shape) * fraction) if product is by_svd else round(len(y) * fraction))
        own, off = [], []
        for key in range(TURNS):
            result = result._replace(exact=min(result.exact, seconds(lambda: x @ y)[0]))
            duration, w = seconds(lambda rank=rank, key=key: product(x, y, rank, key))
            own.append(duration)
            off.append(float(np.linalg.norm(w - exact) / size))
        result.seconds.append(min(own))
        result.errors.append(median(off))
        if min(own) > result.exact:
            break
    return result


def seconds(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.5), sharex=True, sharey=True, layout="constrained")
    for axis, (title, family) in zip(axes.flat, FAMILIES.items(), strict=True):
        x, y = (operand.astype(np.float32) for operand in family(np.random.default_rng(1)))
        exact = x @ y
        axis.axvline(1, color="0.6", linewidth=1)
        axis.axhline(1, color="0.6", linewidth=1, linestyle="--")
        curves = {name: curve(product, x, y, exact) for name, product in PRODUCTS.items()}
        unit = min(found.exact for found in curves.values())
        for colour, (name, found) in zip(COLOURS, curves.items(), strict=True):
            times, errors = [duration / unit for duration in found.seconds], found.errors
            axis.loglog(times, errors, "o-" if name != SVD else "s--", color=colour, markersize=4, label=name)
            print(f"{title}; {name}: " + ", ".join(f"{t:.3f}×: {e:.3g}" for t, e in zip(times, errors, strict=True)))
        axis.set_title(f"{title}\n({x.shape[0]}, {x.shape[1]}) @ ({y.shape[0]}, {y.shape[1]})", fontsize=10)
        axis.grid(alpha=0.25)
    figure.supxlabel("time over that of the exact product")
    figure.supylabel("relative error (Frobenius norm)")
    axes[0, 0].text(
        1.05, 0.02, "exact product", rotation=90, color="0.4", fontsize=8, transform=axes[0, 0].get_xaxis_transform()
    )
    axes[0, 0].text(
        0.02, 1.08, "an array of zeros", color="0.4", fontsize=8, transform=axes[0, 0].get_yaxis_transform()
    )
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=9, frameon=False
    )
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
