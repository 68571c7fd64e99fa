"""Vectors of sixteen numbers for compiled code whose inner loops are too short for LLVM to vectorise.

`load` and `store` move up to sixteen consecutive items from and to a one-dimensional array; what is beyond the count
reads as 0 and is not written. LLVM breaks a vector up where the processor's are narrower.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = ["LANES", "add_product", "load", "splat", "store", "totals"]

LANES = 16


class Lanes(types.Type):
    """As many floating-point numbers of one type."""

    def __init__(self, item: Any) -> None:
        self.item = item
        super().__init__(name=f"Lanes({item})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, ir.VectorType(manager.lookup(lanes.item).get_value_type(), LANES))


@intrinsic
def load(typing: Any, array: Any, start: Any, count: Any) -> Any:
    """The items of a contiguous array from `start` on."""
    lanes = Lanes(array.dtype)

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(lanes)
        pointer, mask = _place(context, builder, array, arguments)
        name = f"llvm.masked.load.v{LANES}f{array.dtype.bitwidth}.p0"
        kind = ir.FunctionType(vector, [pointer.type, ir.IntType(32), mask.type, vector])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [pointer, _alignment(array), mask, vector(None)])

    return lanes(array, types.intp, types.intp), code


@intrinsic
def store(typing: Any, vector: Any, array: Any, start: Any, count: Any) -> Any:
    """Write the first lanes into a contiguous array from `start` on."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        value, *arguments = arguments
        pointer, mask = _place(context, builder, array, arguments)
        name = f"llvm.masked.store.v{LANES}f{array.dtype.bitwidth}.p0"
        kind = ir.FunctionType(ir.VoidType(), [value.type, pointer.type, ir.IntType(32), mask.type])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        builder.call(function, [value, pointer, _alignment(array), mask])
        return context.get_dummy_value()

    return types.void(vector, array, types.intp, types.intp), code


@intrinsic
def splat(typing: Any, value: Any, like: Any) -> Any:
    """The same number in each lane."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _splat(builder, arguments[0])

    return like(value, like), code


@intrinsic
def add_product(typing: Any, total: Any, a: Any, b: Any) -> Any:
    """Return total + a * b."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        total, a, b = arguments
        return builder.fadd(total, builder.fmul(a, b, flags=["contract"]), flags=["contract"])

    return total(total, a, b), code


@intrinsic
def totals(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The sums of the lanes of four vectors: halves are added until four lanes are left, one for each vector."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        a, b, c, d = arguments
        part = LANES // 2
        result = _add_halves(builder, part // 2, _add_halves(builder, part, a, b), _add_halves(builder, part, c, d))
        while (part := part // 2) > 1:
            result = _add_halves(builder, part // 2, result, None)
        items = [builder.extract_element(result, ir.IntType(32)(place)) for place in range(4)]
        return context.make_tuple(builder, signature.return_type, items)

    return types.UniTuple(a.item, 4)(a, a, a, a), code


def _add_halves(builder: ir.IRBuilder, half: int, a: Any, b: Any) -> Any:
    """Of each part of a, then of b, that has two halves, and then in b: the first half plus the second one."""
    width = a.type.count * (1 if b is None else 2)
    lanes = ir.VectorType(ir.IntType(32), width // 2)
    first = [start + lane for start in range(0, width, 2 * half) for lane in range(half)]
    second = [lane + half for lane in first]
    b = ir.Constant(a.type, ir.Undefined) if b is None else b
    return builder.fadd(*(builder.shuffle_vector(a, b, ir.Constant(lanes, places)) for places in (first, second)))


def _place(context: Any, builder: ir.IRBuilder, array: Any, arguments: Any) -> tuple[Any, Any]:
    """Pointer to the item at `start`, and the mask of the lanes up to `count`."""
    value, start, count = arguments
    data = context.make_array(array)(context, builder, value).data
    pointer = builder.gep(data, [start])
    steps = ir.Constant(ir.VectorType(count.type, LANES), [*range(LANES)])
    return pointer, builder.icmp_signed("<", steps, _splat(builder, count))


def _splat(builder: ir.IRBuilder, value: Any) -> Any:
    first = builder.insert_element(
        ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined), value, ir.IntType(32)(0)
    )
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _alignment(array: Any) -> Any:
    return ir.IntType(32)(array.dtype.bitwidth // 8)
