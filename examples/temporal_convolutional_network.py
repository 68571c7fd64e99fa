"""A temporal convolutional network: causal convolutions of doubling dilation, with residuals, on any backend's arrays.

``python examples/temporal_convolutional_network.py`` streams a series through the network in pieces, and shows that the
pieces give what the whole gives, and how far back the output sees.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from kernels.ndarray import causal_conv1d


class Block(NamedTuple):
    """Two convolutions of one dilation; their sum with the input goes on."""

    dilation: int
    first: Any
    second: Any


def random_blocks(channels: int, width: int, depth: int, rng: np.random.Generator) -> list[Block]:
    """Blocks of dilations 1, 2, 4, ...; the weights keep the variance of what passes."""
    shape = (2, width, channels, channels)
    scale = (2 / (width * channels)) ** 0.5
    return [Block(2**level, *(rng.normal(size=shape) * scale)) for level in range(depth)]


def receptive_field(blocks: list[Block]) -> int:
    """Number of time steps that one output sees, the present among them."""
    return 1 + sum(2 * (len(block.first) - 1) * block.dilation for block in blocks)


def network(x: Any, blocks: list[Block], states: list[Any] | None = None) -> tuple[Any, list[Any]]:
    """Output for ``x`` of shape (batch, time, channels), and the states that a next piece of the series needs."""
    xp = array_namespace(x)
    left: list[Any] = []

    def layer(x: Any, w: Any, dilation: int) -> Any:
        reach = (len(w) - 1) * dilation
        past = states[len(left)] if states else xp.zeros((x.shape[0], reach, x.shape[2]), dtype=x.dtype)
        left.append(xp.concat([past, x], axis=1)[:, x.shape[1] :])
        return xp.maximum(causal_conv1d(x, w, dilation=dilation, state=past), xp.asarray(0.0, dtype=x.dtype))

    for block in blocks:
        x = x + layer(layer(x, block.first, block.dilation), block.second, block.dilation)
    return x, left


def main() -> None:
    rng = np.random.default_rng(1)
    blocks = random_blocks(channels=16, width=3, depth=5, rng=rng)
    x = rng.normal(size=(4, 1000, 16))
    whole, _ = network(x, blocks)

    states, pieces = None, []
    for start in range(0, 1000, 64):
        piece, states = network(x[:, start : start + 64], blocks, states)
        pieces.append(piece)
    error = np.abs(np.concatenate(pieces, axis=1) - whole).max() / np.abs(whole).max()
    print(f"fed in pieces of 64 steps: relative difference {error:.1e}")

    changed = x.copy()
    changed[:, 500] += 1
    moved = np.flatnonzero(np.abs(network(changed, blocks)[0] - whole).max(axis=(0, 2)))
    print(f"step 500 moves the outputs {moved[0]} to {moved[-1]}; the receptive field is {receptive_field(blocks)}")
    assert error < 1e-12
    assert (moved[0], moved[-1]) == (500, 500 + receptive_field(blocks) - 1)


if __name__ == "__main__":
    main()
