"""Strong pseudoprime tests for Numba kernels, in Montgomery's arithmetic (Math. Comp. 44, 1985)."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.jit import jit

__all__ = ["is_prime"]

# Sinclair's seven leave no composite below 2**64: checked against Feitsma's list of all pseudoprimes to base 2.
BASES = np.array([2, 325, 9375, 28178, 450775, 9780504, 1795265022], np.uint64)


@intrinsic
def high_product(typing_context, a, b):
    """Upper half of the 128-bit product of two uint64."""

    def generate(context, builder, signature, arguments):
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@jit
def _product(a, b, n, inverse):
    """``a * b / 2**64 mod n``; with the inverse of n, not of -n, nothing overflows."""
    high, correction = high_product(a, b), high_product(a * b * inverse, n)
    return high - correction if high >= correction else high + n - correction


@jit
def is_prime(n):
    """Whether an odd uint64 between 2**31 and 2**63 is prime."""
    one = (np.uint64(0) - n) % n  # 2**64 mod n, which stands for 1
    minus_one = n - one
    inverse = np.uint64(3) * n ^ np.uint64(2)
    for _ in range(4):
        inverse *= np.uint64(2) - n * inverse
    two = one + one if one < minus_one else one - minus_one
    square = two
    for _ in range(6):
        square = _product(square, square, n, inverse)  # stands for 2**64 in the end
    odd, twos = n - np.uint64(1), 0
    while odd & np.uint64(1) == 0:
        odd >>= np.uint64(1)
        twos += 1
    for base in BASES:
        factor, power, exponent = _product(base, square, n, inverse), one, odd
        while exponent:
            if exponent & np.uint64(1):
                power = _product(power, factor, n, inverse)
            factor = _product(factor, factor, n, inverse)
            exponent >>= np.uint64(1)
        if power == one:
            continue
        for _ in range(twos - 1):
            if power == minus_one:
                break
            power = _product(power, power, n, inverse)
        if power != minus_one:
            return False
    return True
