"""The operations on arrays against NumPy's best forms, SciPy and torch, and against the limits of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from . import best, compare


def main() -> None:
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        print(f"{library['internal_api']}: {library.get('architecture', '')}, {library['num_threads']} threads")
    print(f"NUMBA_NUM_THREADS={os.environ.get('NUMBA_NUM_THREADS', 'not set')}")
    for part in (log_gram, rows, hsic, routing, torch, sparse):
        part()


def log_gram() -> None:
    from kernels import ndarray

    def plain(x: Any) -> Any:
        y = x.T @ (np.log(x) + 1)
        return y - y.mean(axis=0)

    for shape in ((10**6, 3), (2 * 10**5, 128)):
        x = np.random.default_rng(1).random(shape) + 0.1
        other = x.copy()  # x.T @ x would be half a product, by symmetry
        product = best(lambda x=x, other=other: x.T @ other, 7)
        floor = max(x.nbytes / bandwidth(), best(lambda x=x: logs(x), 7) + product)
        time = best(lambda x=x: ndarray.log_gram(x, backend="numba"), 7)
        print(f"log_gram {shape}: numba reaches {floor / time:.0%} of the floor of {1000 * floor:.3g} ms")
    for n in (10**3, 10**4, 10**5, 10**6):
        for d in (3, 16, 128):
            x = np.random.default_rng(1).random((n, d)) + 0.1
            compare(
                f"log_gram {n, d}, numba / NumPy",
                lambda x=x: ndarray.log_gram(x, backend="numba"),
                lambda x=x: plain(x),
                5,
                burst=1 if n == 10**6 else 5,
            )


def bandwidth() -> float:
    """Bytes a second of one thread that reads two long arrays and writes a third (triad)."""
    import numba

    @numba.njit
    def triad(a, b, c):
        for i in range(a.size):
            a[i] = b[i] + 3.0 * c[i]

    a, b, c = np.zeros((3, 2 * 10**7))
    return 3 * a.nbytes / best(lambda: triad(a, b, c), 7)


def logs(x: Any) -> None:
    """The logarithm by blocks that stay in the cache."""
    flat = x.reshape(-1)
    block = np.empty(4096)
    for start in range(0, len(flat) - 4095, 4096):
        np.log(flat[start : start + 4096], out=block)


def rows() -> None:
    import scipy.special

    from kernels import ndarray

    x = np.random.default_rng(1).normal(size=(2048, 2048)).astype("float32")
    out = np.empty_like(x)
    call = lambda: ndarray.softmax(x, backend="numba")  # noqa: E731
    compare("softmax, float32, 2048², numba / np.exp alone", call, lambda: np.exp(x, out=out))
    compare("softmax, float32, 2048², numba / scipy", call, lambda: scipy.special.softmax(x, axis=-1))
    compare(
        "logsumexp, float32, 2048², numba / scipy",
        lambda: ndarray.logsumexp(x, backend="numba"),
        lambda: scipy.special.logsumexp(x, axis=-1),
        5,
    )


def hsic() -> None:
    from kernels import ndarray

    def kernel(x: Any, sigma: float | None) -> Any:
        squares = np.einsum("ij,ij->i", x, x)
        k = x @ x.T
        k *= -2
        k += squares
        k += squares[:, None]
        if sigma is None:
            distances = np.sqrt(np.maximum(k[np.triu_indices(len(x), 1)], 0))
            sigma = np.median(distances)
        k *= -0.5 / sigma**2
        return np.exp(k, out=k)

    def identity(x: Any, y: Any, sigma: float | None) -> float:
        k, m = kernel(x, sigma), kernel(y, sigma)
        n = len(x)
        of_k, of_m = k.sum(axis=0), m.sum(axis=0)
        return (np.vdot(k, m) - 2 / n * of_k @ of_m + of_k.sum() * of_m.sum() / n**2) / (n - 1) ** 2

    for features in (1, 10, 50):
        x, y = np.random.default_rng(1).normal(size=(2, 2000, features))
        for sigma in (3.0, None):
            widths = {"sigma_x": sigma, "sigma_y": sigma}
            forms: dict[str, Callable[[], Any]] = {
                "the identity on whole matrices": lambda x=x, y=y, sigma=sigma: identity(x, y, sigma),
                "the identity in tiles (our numpy)": lambda x=x, y=y, w=widths: ndarray.hsic(
                    x, y, **w, backend="numpy"
                ),
            }
            for name, form in forms.items():
                compare(
                    f"hsic, n = 2000, {features} features, sigma {sigma}, numba / {name}",
                    lambda x=x, y=y, w=widths: ndarray.hsic(x, y, **w, backend="numba"),
                    form,
                    5,
                    burst=4,
                )


def routing() -> None:
    from kernels import ndarray

    def by_matmul(votes: Any) -> Any:
        by_output = np.ascontiguousarray(np.moveaxis(votes, -2, -3))
        logits = np.zeros(by_output.shape[:-1], votes.dtype)
        for step in range(3):
            shares = np.exp(logits - logits.max(axis=-2, keepdims=True))
            shares /= shares.sum(axis=-2, keepdims=True)
            s = (shares[..., None, :] @ by_output)[..., 0, :]
            squares = (s**2).sum(axis=-1, keepdims=True)
            v = s * np.sqrt(squares) / (1 + squares)
            if step < 2:
                logits += (by_output @ v[..., None])[..., 0]
        return v

    def by_einsum(votes: Any) -> Any:
        logits = np.zeros(votes.shape[:-1], votes.dtype)
        for step in range(3):
            shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
            shares /= shares.sum(axis=-1, keepdims=True)
            s = np.einsum("...ij,...ijd->...jd", shares, votes, optimize=True)
            squares = (s**2).sum(axis=-1, keepdims=True)
            v = s * np.sqrt(squares) / (1 + squares)
            if step < 2:
                logits += np.einsum("...ijd,...jd->...ij", votes, v, optimize=True)
        return v

    for shape in ((32, 1152, 10, 16), (1152, 10, 16)):
        for dtype in ("float32", "float64"):
            votes = np.random.default_rng(1).normal(size=shape).astype(dtype) / 10
            for name, form in (("matmul", by_matmul), ("einsum", by_einsum)):
                compare(
                    f"capsule_routing {shape}, {dtype}, numba / NumPy's {name}",
                    lambda votes=votes: ndarray.capsule_routing(votes, backend="numba"),
                    lambda votes=votes, form=form: form(votes),
                    5,
                )


def torch() -> None:
    try:
        import torch
        import torch.nn.functional as F
    except ImportError:
        print("torch is not installed")
        return
    from kernels import ndarray

    torch.set_num_threads(int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count() or 1)))
    rng = np.random.default_rng(1)
    x, w = (rng.normal(size=shape).astype("float32") for shape in ((8, 1024, 64), (3, 64, 64)))
    weight = torch.from_numpy(np.ascontiguousarray(w.transpose(2, 1, 0)))
    with torch.inference_mode():
        for dilation in (1, 8, 64):

            def conv1d(dilation: int = dilation) -> Any:
                padded = F.pad(torch.from_numpy(x).transpose(1, 2), (2 * dilation, 0))
                return F.conv1d(padded, weight, dilation=dilation).transpose(1, 2).contiguous()

            compare(
                f"causal_conv1d (8, 1024, 64), width 3, dilation {dilation}, numba / torch",
                lambda dilation=dilation: ndarray.causal_conv1d(x, w, dilation=dilation, backend="numba"),
                conv1d,
                burst=5,
            )
        q, k, v = rng.normal(size=(3, 8, 2048, 64)).astype("float32")
        tensors = [torch.from_numpy(each)[None] for each in (q, k, v)]
        compare(
            "attention (8, 2048, 64), numba / torch",
            lambda: ndarray.attention(q, k, v, backend="numba"),
            lambda: F.scaled_dot_product_attention(*tensors),
            5,
            burst=3,
        )


def sparse() -> None:
    """At a density of 0.1 %, against the dense form of NumPy on the same values."""
    import sparse

    from kernels import ndarray

    rng = np.random.default_rng(1)

    def scattered(shape: tuple[int, ...], fill: float = 0.0) -> Any:
        count = int(np.prod(shape))
        places = np.sort(rng.choice(count, count // 1000, replace=False))
        coords = np.unravel_index(places, shape)
        return sparse.COO(np.array(coords), rng.random(len(places)) + 0.5, shape=shape, fill_value=fill)

    weights = sparse.COO.from_numpy(rng.normal(size=(3, 64, 64)))
    calls: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
        ("log_gram", ndarray.log_gram, (scattered((10**5, 300)),)),
        ("logsumexp", ndarray.logsumexp, (scattered((1000, 10**4)),)),
        ("softmax filled with -inf", ndarray.softmax, (scattered((1000, 10**4), -np.inf),)),
        ("softmax filled with 0, dense result", ndarray.softmax, (scattered((1000, 10**4)),)),
        ("hsic", ndarray.hsic, (scattered((2000, 1000)), scattered((2000, 1000)))),
        ("capsule_routing", ndarray.capsule_routing, (scattered((64, 1152, 10, 16)),)),
        ("causal_conv1d, dense result", ndarray.causal_conv1d, (scattered((8, 1024, 64)), weights)),
    ]
    for name, function, arrays in calls:
        dense = [array.todense() for array in arrays]
        compare(
            f"{name} of {arrays[0].shape} at 0.1 %, sparse / NumPy",
            lambda function=function, arrays=arrays: function(*arrays),
            lambda function=function, dense=dense: function(*dense, backend="numpy"),
            5,
        )
