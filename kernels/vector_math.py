"""`exp` and `log` for loops in compiled code, free of branches and calls, so that LLVM vectorises the loop around them.

The argument is reduced as in W. J. Cody and W. Waite, "Software Manual for the Elementary Functions" (Prentice-Hall,
1980); what is left goes into a minimax polynomial. The logarithm takes the series in s = f/(2 + f) and sums it up in
the order of K. C. Ng's fdlibm. NaN, infinities, zeros and subnormal numbers come out as from NumPy; the error is less
than one unit in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

__all__ = ["exp", "fma", "log", "maximum", "polynomial", "select"]

# Whatever the caller is compiled with: reordered sums would be wrong here, and the check of a division is a branch.
OPTIONS = {"fastmath": False, "error_model": "numpy", "forceinline": True}

MANTISSA = {"float": 23, "double": 52}
BIAS = {"float": 127, "double": 1023}

LOG2_E = 1 / math.log(2)
# ln 2 in two parts, of which the first has so few bits that its products with all exponents are exact.
LN2 = {
    types.float32: (float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cf79abcap-20")),
    types.float64: (float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")),
}
# (exp(r) - 1 - r) / r² for |r| <= log(2) / 2, the lowest power first
EXP = {
    types.float32: (0.49999994, 0.16666521, 0.0416684, 0.008368741, 0.0013813989),
    types.float64: (
        0.5000000000000011,
        0.16666666666666413,
        0.04166666666652962,
        0.008333333333493497,
        0.0013888888943782637,
        0.00019841269509320578,
        2.4801492929703323e-05,
        2.755758346079327e-06,
        2.7630312466000517e-07,
        2.5001110959209476e-08,
    ),
}
# (log((1 + s) / (1 - s)) / s - 2) / s² for 1/sqrt(2) <= (1 + s) / (1 - s) <= sqrt(2), by powers of s²
LOG = {
    types.float32: (0.6666677594184875, 0.39977535605430603, 0.2987191677093506),
    types.float64: (
        0.6666666666666734,
        0.39999999999414054,
        0.2857142874252628,
        0.222221985588986,
        0.18183565067556035,
        0.15314031665344535,
        0.14796137764272962,
    ),
}


def exp(x: float) -> float:
    """Exponential of a float32 or float64."""
    return math.exp(x)


def log(x: float) -> float:
    """Natural logarithm of a float32 or float64."""
    return math.log(x)


@overload(exp, jit_options=OPTIONS)
def _exp(x: Any) -> Callable[[Any], Any]:
    real = np.dtype(x.name).type
    log2_e = real(LOG2_E)
    ln2_high, ln2_low = map(real, LN2[x])
    coefficients = tuple(map(real, EXP[x]))
    info = np.finfo(real)
    # Beyond these the result is inf and 0 anyway; within them the exponent fits into its field.
    lowest, highest = real((info.minexp - info.nmant - 2) * math.log(2)), real((info.maxexp + 0.3) * math.log(2))
    shift = real(1.5 * 2**info.nmant)  # added, it rounds to an integer and leaves that in the lowest bits
    one = real(1)

    def implementation(x: Any) -> Any:
        x = select(x > highest, highest, x)
        x = select(x < lowest, lowest, x)
        shifted = fma(x, log2_e, shift)
        k = shifted - shift
        r_high = fma(k, -ln2_high, x)  # exact
        r_low = k * -ln2_low
        r = r_high + r_low
        power = one + (r_high + fma(r * r, polynomial(r, coefficients), r_low))
        return _times_power_of_two(power, shifted)

    return implementation


@overload(log, jit_options=OPTIONS)
def _log(x: Any) -> Callable[[Any], Any]:
    real = np.dtype(x.name).type
    ln2_high, ln2_low = map(real, LN2[x])
    coefficients = tuple(map(real, LOG[x]))
    info = np.finfo(real)
    smallest, lift, lifted = info.smallest_normal, real(2.0**info.nmant), real(info.nmant)
    zero, one, two, inf, nan = map(real, (0, 1, 2, math.inf, math.nan))

    def implementation(x: Any) -> Any:
        subnormal = x < smallest
        k, m = _split(select(subnormal, x * lift, x))
        k = select(subnormal, k - lifted, k)
        f = m - one
        s = f / (two + f)
        square = s * s
        difference = s * fma(-square, polynomial(square, coefficients), f)  # f - log(m)
        result = fma(k, ln2_high, f - fma(k, -ln2_low, difference))
        result = select(x < inf, result, x)
        return select(x > zero, result, select(x == zero, -inf, nan))

    return implementation


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c: in one instruction where the processor has it, else in two."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _fma(builder, *arguments)

    return a(a, b, c), code


def _fma(builder: ir.IRBuilder, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "llvm.fmuladd", a, b, c)


@intrinsic
def maximum(typing: Any, a: Any, b: Any) -> Any:
    """Return the larger one, or NaN where one of the two is; a loop of it is vectorised, one of comparisons is not."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.maximum", *arguments)

    return a(a, b), code


def _call(builder: ir.IRBuilder, name: str, *arguments: Any) -> Any:
    real = arguments[0].type
    signature = ir.FunctionType(real, [real] * len(arguments))
    return builder.call(builder.module.declare_intrinsic(name, [real], signature), arguments)


@intrinsic
def select(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """Return a if the condition holds, else b, without the branch for which LLVM may give up a loop."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return a(condition, a, b), code


@intrinsic
def polynomial(typing: Any, x: Any, coefficients: Any) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        x, values = arguments
        result, *rest = (builder.extract_value(values, i) for i in reversed(range(len(coefficients))))
        for value in rest:
            result = _fma(builder, result, x, value)
        return result

    return x(x, coefficients), code


@intrinsic
def _times_power_of_two(typing: Any, x: Any, shifted: Any) -> Any:
    """Return x * 2**k, `shifted` being k + 1.5 * 2**mantissa; in two steps, as 2**k may be subnormal or too large."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        x, shifted = arguments
        integer, mantissa, bias = _format(x.type)
        shift = builder.bitcast(x.type(1.5 * 2**mantissa), integer)
        exponent = builder.add(builder.sub(builder.bitcast(shifted, integer), shift), integer(2 * bias))
        first = builder.lshr(exponent, integer(1))
        for part in (first, builder.sub(exponent, first)):
            x = builder.fmul(x, builder.bitcast(builder.shl(part, integer(mantissa)), x.type))
        return x

    return x(x, shifted), code


@intrinsic
def _split(typing: Any, x: Any) -> Any:
    """Return (k, m) with x = m * 2**k and m about from 1/sqrt(2) to sqrt(2), for a normal x > 0."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        integer, mantissa, _ = _format(x.type)
        bits = builder.bitcast(x, integer)
        k = builder.ashr(builder.sub(bits, builder.bitcast(x.type(math.sqrt(0.5)), integer)), integer(mantissa))
        m = builder.bitcast(builder.sub(bits, builder.shl(k, integer(mantissa))), x.type)
        # By addition, since not every processor converts vectors of 64-bit integers.
        shift = x.type(1.5 * 2**mantissa)
        k = builder.fsub(builder.bitcast(builder.add(k, builder.bitcast(shift, integer)), x.type), shift)
        return context.make_tuple(builder, signature.return_type, (k, m))

    return types.UniTuple(x, 2)(x), code


def _format(real: Any) -> tuple[ir.IntType, int, int]:
    name = str(real)
    return ir.IntType({"float": 32, "double": 64}[name]), MANTISSA[name], BIAS[name]
