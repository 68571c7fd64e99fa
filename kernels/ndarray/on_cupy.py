"""Array pipelines on a GPU, in CUDA C, beside cuBLAS for the products of large matrices.

Reductions along axes are one kernel, or two where few long columns are cut into slices (``reductions.cu``); attention
is online and in tiles (``flash.cu``), unless values are wide or queries few; distances are made in tiles and never
stored, and medians found digit by digit (``distances.cu``); a round of routing reads the votes once (``routing.cu``).
Each module names its sources. Nothing here waits for the device or copies to the host, but for the number of `hsic`.
"""

from __future__ import annotations

from math import prod
from typing import Any

import cupy
import numpy as np

from kernels.cuda_sources import RESIDENT, THREADS, Sources, clamp, multiprocessors, power_of_two
from kernels.ndarray import BatchNorm
from kernels.ndarray.angles import normaliser

__all__ = [
    "angle_pdf",
    "attention",
    "batch_norm",
    "capsule_routing",
    "causal_conv1d",
    "hsic",
    "log_gram",
    "logsumexp",
    "random_angles",
    "seq2seq_mask",
    "softmax",
]

WARP = 32
SCRATCH = 1 << 26  # bytes of what is stored beside arguments and results
NARROW = 16  # columns up to which the product is made where the logarithms are
GRAM_TILE = 2048  # items in a tile of gram.cu
FEW_FEATURES = 16  # products of in and out up to which a convolution is no product of matrices
LONG = 1024  # up to so many items, a warp does for a column
WORTH_A_SLICE = 32  # items that each thread of a team should have
TILE = 64  # queries in a tile of flash.cu, rows in one of distances.cu
FLASH_VALUES = 128  # features of a value up to which flash.cu goes
FEW_QUERIES = 2048  # keys from which on too few queries to fill the GPU are left to cuBLAS
VOTES = 1 << 14  # items that a block routes at a time: they stay in the first-level cache
BINS = 1 << 11  # counters of a digit, as in distances.cu
DIGITS = ((53, 11), (42, 11), (31, 11), (20, 11), (9, 11), (0, 9))  # shift and width of each digit of 64 bits

_u32 = np.uint32
_SOURCES = Sources(__file__)


def log_gram(x: cupy.ndarray) -> cupy.ndarray:
    x = cupy.ascontiguousarray(x)
    if not x.size:
        return cupy.zeros((x.shape[1],) * 2, x.dtype)
    y = (_narrow_gram if x.shape[1] <= NARROW else _blocked_gram)(x)
    return y - y.mean(axis=0)


def _narrow_gram(x: cupy.ndarray) -> cupy.ndarray:
    n, d = x.shape
    blocks = clamp(-(-n * (d + d % 2) // GRAM_TILE), RESIDENT * multiprocessors())
    parts = cupy.empty((blocks, d, d), x.dtype)
    _SOURCES.kernel("gram.cu", "narrow_gram", x)((blocks,), (THREADS,), (x, parts, n, _u32(d)))
    return parts.sum(axis=0)


def _blocked_gram(x: cupy.ndarray) -> cupy.ndarray:
    n, d = x.shape
    y = cupy.zeros((d, d), x.dtype)
    rows = max(d, SCRATCH // (d * x.itemsize))
    for first in range(0, n, rows):
        part = x[first : first + rows]
        logs = cupy.empty_like(part)
        _SOURCES.launch("gram.cu", "logs", x, part.size, part, logs, part.size)
        y += cupy.matmul(part.T, logs)
    return y


def softmax(x: cupy.ndarray, axis: int) -> cupy.ndarray:
    y = cupy.empty(x.shape, x.dtype)
    if x.size:
        _reduce("sum_exp", 2, "softmax", x, _around(x, axis), (y,))
    return y


def logsumexp(x: cupy.ndarray, axis: int) -> cupy.ndarray:
    y = cupy.empty(x.shape[:axis] + x.shape[axis + 1 :], x.dtype)
    _reduce("sum_exp", 2, "logsumexp", x, _around(x, axis), (y,), reduced=True)
    return y


def _around(x: cupy.ndarray, axis: int) -> tuple[int, int, int, int]:
    """The shape (outer, rows, columns, cells) of an array that is reduced along one axis."""
    return prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :]), 1


def batch_norm(
    x: cupy.ndarray, gamma: cupy.ndarray, beta: cupy.ndarray, axes: tuple[int, ...], eps: float
) -> BatchNorm:
    shape = _alternating(x.shape, axes)
    if shape is None:
        order = [axis for axis in range(x.ndim) if axis not in axes] + list(axes)
        y, mean, var = batch_norm(x.transpose(order), gamma, beta, tuple(range(gamma.ndim, x.ndim)), eps)
        return BatchNorm(y.transpose([order.index(axis) for axis in range(x.ndim)]), mean, var)
    y, mean, var = cupy.empty(x.shape, x.dtype), cupy.empty(gamma.shape, x.dtype), cupy.empty(gamma.shape, x.dtype)
    arguments = cupy.ascontiguousarray(gamma), cupy.ascontiguousarray(beta), x.dtype.type(eps), y, mean, var
    _reduce("moments", 3, "batch_norm", x, shape, arguments)
    return BatchNorm(y, mean, var)


def _alternating(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape (outer, rows, columns, cells) where axes that are kept and reduced alternate so, neighbours merged."""
    lengths = [1]
    for axis, length in enumerate(shape):
        if length != 1 and (axis in axes) == len(lengths) % 2:
            lengths.append(1)
        lengths[-1] *= length
    return (*lengths, 1, 1, 1)[:4] if len(lengths) <= 4 else None


def _reduce(
    part: str, width: int, whole: str, x: cupy.ndarray, shape: tuple[int, ...], arguments: tuple[Any, ...],
    *, reduced: bool = False,
) -> None:  # fmt: skip
    """Run a kernel of ``reductions.cu`` along rows and cells; before it, where there are slices, the one for parts.

    A part's state is `width` numbers; `reduced` says that there is one result for a whole column.
    """
    outer, rows, columns, cells = shape
    n_columns, length = outer * columns, rows * cells
    if not n_columns:
        return
    if cells > 1 or columns == 1:
        team = THREADS if length > LONG else min(WARP, power_of_two(length))
        stride = 1
    else:
        team = min(THREADS // min(WARP, power_of_two(n_columns)), power_of_two(length))
        stride = THREADS // team
    blocks = -(-n_columns // (THREADS // team))
    slices = clamp(RESIDENT * multiprocessors() // blocks, length // (team * WORTH_A_SLICE))
    x = cupy.ascontiguousarray(x)
    parts = cupy.empty(slices * n_columns * width if slices > 1 else 0, x.dtype)
    geometry = n_columns, columns, rows, cells, _u32(team), _u32(stride)
    if slices > 1:
        _SOURCES.kernel("reductions.cu", part, x)((blocks, slices), (THREADS,), (x, parts, *geometry))
    grid = blocks, 1 if reduced else slices
    _SOURCES.kernel("reductions.cu", whole, x)(grid, (THREADS,), (x, parts, _u32(slices), *arguments, *geometry))


def causal_conv1d(
    x: cupy.ndarray, w: cupy.ndarray, bias: cupy.ndarray | None, dilation: int, state: cupy.ndarray | None
) -> cupy.ndarray:
    width, n_in, n_out = w.shape
    *lead, time = x.shape[:-1] if x.ndim > 1 else x.shape
    y = cupy.empty((prod(lead) * time, n_out), x.dtype)
    x, w = cupy.ascontiguousarray(x), cupy.ascontiguousarray(w)
    past = 0 if state is None else (width - 1) * dilation
    state = cupy.ascontiguousarray(state) if past else x[:0]
    # Without a past, taps that reach beyond the beginning meet nothing, however far they reach.
    geometry = time, _u32(n_in), _u32(width), dilation if past else min(dilation, time), past
    if n_in * n_out > FEW_FEATURES:
        _convolve_by_products(x, state, w.reshape(-1, n_out), bias, y, geometry)
    else:
        constants = w, w if bias is None else cupy.ascontiguousarray(bias)
        arrays = map(_numbers, (x, state, *constants, y))
        flags = bias is not None, y.dtype.kind == "c"
        _SOURCES.launch("convolution.cu", "filter", y, y.size, *arrays, y.size, _u32(n_out), *geometry, *flags)
    return y.reshape((*lead, time, n_out)[: x.ndim])


def _convolve_by_products(
    x: cupy.ndarray, state: cupy.ndarray, taps: cupy.ndarray, bias: cupy.ndarray | None, y: cupy.ndarray,
    geometry: tuple[Any, ...],
) -> None:  # fmt: skip
    """As many rows at a time as there is memory for what the taps meet, side by side."""
    rows = max(1, SCRATCH // max(1, len(taps) * x.itemsize))
    for first in range(0, len(y), rows):
        part = y[first : first + rows]
        seen = cupy.empty((len(part), len(taps)), x.dtype)
        items, before, result = map(_numbers, (x, state, seen))
        lanes = min(THREADS, power_of_two(result.shape[1]))
        grid, block = (-(-len(part) * lanes // THREADS),), (lanes, THREADS // lanes)
        kernel = _SOURCES.kernel("convolution.cu", "unfold", items)
        kernel(grid, block, (items, before, result, first, len(part), *geometry, _u32(result.shape[1] // len(taps))))
        cupy.matmul(seen, taps, out=part)
        if bias is not None:
            part += bias


def _numbers(array: cupy.ndarray) -> cupy.ndarray:
    """A complex item is two of them."""
    return array.view(np.finfo(array.dtype).dtype)


def attention(
    q: cupy.ndarray, k: cupy.ndarray, v: cupy.ndarray, mask: cupy.ndarray | None, scale: float
) -> cupy.ndarray:
    *lead, n, d = q.shape
    m, e = v.shape[-2:]
    batch = prod(lead)
    result = cupy.empty((*lead, n, e), q.dtype)
    if not result.size:
        return result
    q, k, v, y = (array.reshape(batch, *array.shape[-2:]) for array in (q, k, v, result))
    starts, mask, *strides = _mask_layout(mask, tuple(lead))
    blocks = batch * -(-n // TILE)
    if e > FLASH_VALUES or (m >= FEW_QUERIES and blocks < multiprocessors()):
        _attention_by_products(q, k, v, (mask, starts), (*strides, q.dtype.type(scale)), y)
        return result
    q, k, v = map(cupy.ascontiguousarray, (q, k, v))
    arguments = q, k, v, mask, starts, y, n, m, d, e, *strides, q.dtype.type(scale)
    _SOURCES.kernel("flash.cu", "flash", q)((blocks,), (THREADS,), arguments)
    return result


def _mask_layout(mask: cupy.ndarray | None, lead: tuple[int, ...]) -> tuple[Any, ...]:
    """Where each element of the batch has its mask, the mask, the strides of its axes, and whether there is one.

    Nothing is expanded: an axis along which the mask is the same has one item, and the stride 0.
    """
    if mask is None:
        return cupy.empty(0, np.int64), cupy.empty(0, bool), 0, 0, False
    mask = mask[tuple(slice(None) if stride else slice(1) for stride in mask.strides)]
    *axes, rows, columns = (1,) * (2 - mask.ndim) + mask.shape
    starts = rows * columns * cupy.arange(prod(axes)).reshape(axes)
    starts = cupy.ascontiguousarray(cupy.broadcast_to(starts, lead)).ravel()
    return starts, cupy.ascontiguousarray(mask), columns if rows > 1 else 0, int(columns > 1), True


def _attention_by_products(
    q: cupy.ndarray, k: cupy.ndarray, v: cupy.ndarray, mask: tuple[Any, ...], how: tuple[Any, ...], y: cupy.ndarray
) -> None:
    """Scores by cuBLAS, as many at a time as memory is set aside for."""
    (batch, n, _), m = q.shape, k.shape[1]
    queries = clamp(SCRATCH // max(1, m * q.itemsize), n)
    elements = clamp(SCRATCH // max(1, queries * m * q.itemsize), batch)
    softmax_kernel = _SOURCES.kernel("flash.cu", "masked_softmax", q)
    for b in range(0, batch, elements):
        for i in range(0, n, queries):
            scores = _scores(q[b : b + elements, i : i + queries], k[b : b + elements])
            rows = scores.shape[0] * scores.shape[1]
            softmax_kernel((rows,), (THREADS,), (scores, *mask, b, i, scores.shape[1], m, *how))
            y[b : b + elements, i : i + queries] = cupy.matmul(scores, v[b : b + elements])


def _scores(q: cupy.ndarray, k: cupy.ndarray) -> cupy.ndarray:
    """Products of queries and keys; transposed is what is smaller, the keys or the products."""
    if q.shape[1] < q.shape[2]:
        return cupy.ascontiguousarray(cupy.matmul(k, q.transpose(0, 2, 1)).transpose(0, 2, 1))
    return cupy.matmul(q, k.transpose(0, 2, 1))


def seq2seq_mask(n_source: int, n_target: int) -> cupy.ndarray:
    places = cupy.arange(n_source + n_target)
    return places <= cupy.maximum(places, n_source - 1)[:, None]


def hsic(x: cupy.ndarray, y: cupy.ndarray, sigma_x: float | None, sigma_y: float | None) -> float:
    n = len(x)
    x, y = (cupy.ascontiguousarray(array.astype(np.float64).reshape(n, -1)) for array in (x, y))
    widths = [
        _median_distance(array) if sigma is None else cupy.full((), sigma)
        for array, sigma in ((x, sigma_x), (y, sigma_y))
    ]
    tiles, slices = _tiles(n)
    parts = cupy.empty((3, slices, n))
    arguments = x, y, *widths, parts, n, x.shape[1], y.shape[1]
    _SOURCES.kernel("distances.cu", "gaussians", x)((tiles, slices), (THREADS,), arguments)
    of_x, of_y, of_both = parts.sum(axis=1)
    total = of_both.sum() - 2 / n * (of_x @ of_y) + of_x.sum() * of_y.sum() / n**2
    return float(total) / (n - 1) ** 2


def _tiles(n: int) -> tuple[int, int]:
    """How many tiles n rows make, and in how many slices others walk over them."""
    tiles = -(-n // TILE)
    return tiles, clamp(RESIDENT * multiprocessors() // tiles, tiles)


def _median_distance(x: cupy.ndarray) -> cupy.ndarray:
    """By the digits of the two squared distances in the middle, one for all pairs at a time."""
    n, p = x.shape
    pairs = n * (n - 1) // 2
    wanted, counts = cupy.zeros(4, np.uint64), cupy.zeros(2 * BINS, np.uint64)
    wanted[2], wanted[3] = (pairs - 1) // 2, pairs // 2
    for shift, width in DIGITS:
        arguments = x, n, p, wanted, counts, _u32(shift), _u32(width)
        _SOURCES.kernel("distances.cu", "count_digits", x)(_tiles(n), (THREADS,), arguments)
        _SOURCES.kernel("distances.cu", "choose_digit", x)((1,), (64,), (wanted, counts, _u32(shift)))
    return cupy.sqrt(wanted[:2].view(np.float64)).mean()


def capsule_routing(votes: cupy.ndarray, iterations: int) -> cupy.ndarray:
    *lead, n_in, n_out, d = votes.shape
    if not votes.size:
        return cupy.zeros((*lead, n_out, d), votes.dtype)
    votes = cupy.ascontiguousarray(votes)
    batch = prod(lead)
    tile = clamp(VOTES // (n_out * d), TILE, n_in)
    slices = clamp(RESIDENT * multiprocessors() // batch, -(-n_in // tile))
    lanes = min(WARP, power_of_two(-(-d // 2)))
    weights = cupy.empty(batch * slices * tile * n_out, votes.dtype)
    sums = cupy.empty(batch * slices * n_out * d, votes.dtype)
    directions, outputs = (cupy.empty((*lead, n_out, d), votes.dtype) for _ in range(2))
    capsules = batch * n_out
    for i in range(iterations):
        to_route = votes, directions, weights, sums, n_in, n_out, d, tile, _u32(slices), _u32(lanes), i == 0
        _SOURCES.kernel("routing.cu", "route", votes)((batch * slices,), (THREADS,), to_route)
        to_squash = sums, directions, outputs, capsules, n_out, d, _u32(slices), i == 0
        _SOURCES.kernel("routing.cu", "squash", votes)((-(-capsules * WARP // THREADS),), (THREADS,), to_squash)
    return outputs


def random_angles(dim: int, size: int, key: int) -> cupy.ndarray:
    angles = cupy.empty(size)
    _SOURCES.launch("angles.cu", "sample_angles", angles, angles.size, angles, size, float(dim - 1), np.uint64(key))
    return angles


def angle_pdf(theta: cupy.ndarray, dim: int) -> cupy.ndarray:
    result = cupy.empty(theta.shape, theta.dtype)
    arguments = cupy.ascontiguousarray(theta), result, result.size, float(dim - 2), normaliser(dim)
    _SOURCES.launch("angles.cu", "densities", result, result.size, *arguments)
    return result
