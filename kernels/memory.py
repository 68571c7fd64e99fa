"""What Numba has no word for: hints to the processor about memory."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["prefetch"]

READ, EVERY_CACHE, DATA = 0, 3, 1


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Have an item of a one-dimensional array fetched; an index beyond its end does no harm."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        data = context.make_array(array)(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        function = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        hints = [ir.Constant(word, hint) for hint in (READ, EVERY_CACHE, DATA)]
        builder.call(builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], function), [pointer, *hints])
        return context.get_dummy_value()

    return types.void(array, index), code
