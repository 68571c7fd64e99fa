"""Sampled products against the limit of the machine and naive NumPy; randomized SVD against scikit-learn and torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import TURNS, compare, seconds

N = 2048


def main() -> None:
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        print(f"{library['internal_api']}: {library.get('architecture', '')}, {library['num_threads']} threads")
    print(f"NUMBA_NUM_THREADS={os.environ.get('NUMBA_NUM_THREADS', 'not set')}")
    for part in (limit, naive, reweighting, svd):
        part()


def operands() -> tuple[Any, Any]:
    """Normal entries, and terms of very different weights."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(N, N)) * rng.lognormal(size=N), rng.normal(size=(N, N))
    return x.astype("float32"), y.astype("float32")


def limit() -> None:
    """That part of the exact product which the rank is of l, and one pass over both operands."""
    from kernels import lowrank

    x, y = operands()
    for rank in (N // 4, N // 8, N // 32):
        times = in_turns(
            exact=lambda: x @ y,
            norms=lambda: (np.vdot(x, x), np.vdot(y, y)),
            product=lambda rank=rank: x[:, :rank] @ y[:rank],
            numba=lambda rank=rank: lowrank.cr_matmul(x, y, rank, rng=1, backend="numba"),
            numpy=lambda rank=rank: lowrank.cr_matmul(x, y, rank, rng=1, backend="numpy"),
        )
        least = rank / N * times["exact"] + times["norms"]
        print(
            f"cr_matmul, float32, n = {N}, {rank} terms: numba reaches {least / times['numba']:.0%} of the limit of "
            f"{1000 * least:.3g} ms, numpy {least / times['numpy']:.0%}; the exact product takes "
            f"{1000 * times['exact']:.3g} ms, the norms {1000 * times['norms']:.3g}, a product of so many terms "
            f"{1000 * times['product']:.3g}",
            flush=True,
        )


def in_turns(turns: int = TURNS, **calls: Callable[[], Any]) -> dict[str, float]:
    """The shortest time of each call."""
    for call in calls.values():
        call()
    times = [{name: seconds(call) for name, call in calls.items()} for _ in range(turns)]
    return {name: min(turn[name] for turn in times) for name in calls}


def naive() -> None:
    from kernels import lowrank

    x, y = operands()

    def by_numpy(rank: int) -> Any:
        weights = np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=1)
        p = weights.astype(float) / weights.sum(dtype=float)
        drawn = np.random.choice(N, rank, p=p)  # noqa: NPY002 - it is what most people write
        return (x[:, drawn] / (rank * p[drawn]).astype("float32")) @ y[drawn]

    for rank in (N // 4, N // 8, N // 32):
        for sampling in ("systematic", "importance"):
            compare(
                f"cr_matmul, {sampling}, {rank} of {N} terms, numba / naive importance sampling in NumPy",
                lambda rank=rank, sampling=sampling: lowrank.cr_matmul(
                    x, y, rank, sampling=sampling, rng=1, backend="numba"
                ),
                lambda rank=rank: by_numpy(rank),
            )


def reweighting() -> None:
    from kernels import lowrank

    x, y = operands()
    for rank in (N // 8, N // 32):
        compare(
            f"cr_matmul, topk_reweighted, {rank} of {N} terms, numba / a product of {3 * rank} terms",
            lambda rank=rank: lowrank.cr_matmul(x, y, rank, sampling="topk_reweighted", backend="numba"),
            lambda rank=rank: x[:, : 3 * rank] @ y[: 3 * rank],
        )


def svd() -> None:
    """At equal rank, oversampling and rounds of the power method, of singular values that fall as 1 / i."""
    from kernels import lowrank

    rng = np.random.default_rng(1)
    for shape in ((N, N), (8 * N, N // 4)):
        u, v = (np.linalg.qr(rng.normal(size=(size, min(shape))).astype("float32"))[0] for size in shape)
        a = (u / np.arange(1, min(shape) + 1, dtype="float32")) @ v.T
        for rank in (8, 64):
            best = np.sqrt((1 / np.arange(rank + 1, min(shape) + 1) ** 2).sum())
            for backend in ("numba", "numpy"):
                ours = partial(lowrank.randomized_svd, a, rank, rng=1, backend=backend)
                for name, theirs in svd_peers(a, rank).items():
                    off = [np.linalg.norm(a - (u * s) @ vh) / best for u, s, vh in (ours(), theirs())]
                    compare(
                        f"randomized_svd {shape}, rank {rank}, {backend} ({off[0]:.4f} times the least error) / "
                        f"{name} ({off[1]:.4f})",
                        ours,
                        theirs,
                        5,
                    )


def svd_peers(a: Any, rank: int) -> dict[str, Callable[[], tuple[Any, Any, Any]]]:
    peers: dict[str, Callable[[], tuple[Any, Any, Any]]] = {}
    try:
        from sklearn.utils.extmath import randomized_svd
    except ImportError:
        print("scikit-learn is not installed")
    else:
        for normalizer in ("auto", "QR"):
            peers[f"scikit-learn, {normalizer}"] = lambda normalizer=normalizer: randomized_svd(
                a, rank, n_oversamples=8, n_iter=2, power_iteration_normalizer=normalizer, random_state=1
            )
    try:
        import torch
    except ImportError:
        print("torch is not installed")
    else:
        torch.set_num_threads(int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count() or 1)))
        tensor = torch.from_numpy(a)

        def by_torch() -> tuple[Any, Any, Any]:
            u, s, v = (part.numpy()[..., :rank] for part in torch.svd_lowrank(tensor, rank + 8, niter=2))
            return u, s, v.T

        peers["torch"] = by_torch
    return peers
