"""Integers of 128 bits for Numba kernels: pairs (low, high) of int64, in two's complement."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.jit import jit

__all__ = ["add_product", "nearest", "to_int"]


@intrinsic
def add_product(typing_context, low, high, a_low, a_high, b):
    """``(low, high) + (a_low, a_high) * b``, modulo 2**128."""

    def generate(context, builder, signature, arguments):
        wide, half = ir.IntType(128), ir.Constant(ir.IntType(128), 64)
        low, high, a_low, a_high, b = arguments

        def pair(low, high):
            return builder.or_(builder.zext(low, wide), builder.shl(builder.zext(high, wide), half))

        total = builder.add(pair(low, high), builder.mul(pair(a_low, a_high), builder.sext(b, wide)))
        halves = [builder.trunc(part, ir.IntType(64)) for part in (total, builder.lshr(total, half))]
        return context.make_tuple(builder, signature.return_type, halves)

    return types.UniTuple(types.int64, 2)(*[types.int64] * 5), generate


@jit
def nearest(wrapped, shadow):
    """The integer closest to a float among those that are `wrapped` modulo 2**64."""
    return wrapped, (wrapped >> 63) + np.int64(np.rint((shadow - wrapped) / 2.0**64))


def to_int(low: int, high: int) -> int:
    """A pair as a Python int."""
    return (high << 64) + (low & (1 << 64) - 1)
