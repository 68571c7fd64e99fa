"""Some steps of a linear recurrence at once, in vectors whose lanes are consecutive steps of a few features.

Steps compose by ``(a2 a1, a2 b1 + b2)``; a vector of 2**n steps takes n rounds, in each of which all lanes compose with
what lies 1, 2, 4, ... steps before them (W. D. Hillis and G. L. Steele, "Data parallel algorithms", Communications of
the ACM 29 (1986), 1170-1183). Only the state goes from vector to vector. Complex vectors are kept as real and imaginary
parts.

Compiled code is told of the number of features by the length of a tuple, which it knows when it compiles.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = ["after", "is_sound", "lanes_of", "last", "load", "product", "store"]

LANES = 16


class Steps(types.Type):
    """Numbers of one type, those of some features at consecutive steps, in the first lanes."""

    def __init__(self, item: Any, features: int) -> None:
        self.item, self.features, self.used = item, features, lanes_of(features)
        self.real = getattr(item, "underlying_float", item)
        self.parts = 1 if self.real is item else 2
        super().__init__(name=f"Steps({item}, {features})")


@register_model(Steps)
class _StepsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, steps: Any) -> None:
        real = manager.lookup(steps.real).get_value_type()
        super().__init__(manager, steps, ir.ArrayType(ir.VectorType(real, LANES), steps.parts))


def lanes_of(features: int) -> int:
    """Lanes in use: those of as many steps as fit in, a power of 2."""
    steps = 1
    while 2 * steps * features <= LANES:
        steps *= 2
    return steps * features


@intrinsic
def load(typing: Any, array: Any, start: Any, features: Any) -> Any:
    """The items of a contiguous array from `start` on; `features` is a tuple of as many items."""
    steps = Steps(array.dtype, len(features))

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        together = builder.load(_place(context, builder, array, steps, arguments), align=steps.real.bitwidth // 8)
        unused = [0] * (LANES - steps.used)
        parts = [
            _shuffled(builder, together, None, [*range(part, steps.used * steps.parts, steps.parts), *unused])
            for part in range(steps.parts)
        ]
        return _joined(context, builder, steps, parts)

    return steps(array, types.intp, features), code


@intrinsic
def store(typing: Any, vector: Any, array: Any, start: Any) -> Any:
    """Write the lanes in use into a contiguous array from `start` on."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        value, *arguments = arguments
        parts = _parts(builder, value)
        places = [lane + part * LANES for lane in range(vector.used) for part in range(vector.parts)]
        together = _shuffled(builder, parts[0], parts[-1], places)
        builder.store(together, _place(context, builder, array, vector, arguments), align=vector.real.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(vector, array, types.intp), code


@intrinsic(prefer_literal=True)
def after(typing: Any, a: Any, b: Any, state: Any, back: Any) -> Any:
    """The states after each step, from that before the first one, which is in all lanes; `back` goes to lower lanes."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        factor, total, before = (_parts(builder, value) for value in arguments[:3])
        shift = a.features
        while shift < a.used:
            way = shift if back.literal_value else -shift
            factors_before = [
                _moved(builder, part, way, neutral, a.used) for part, neutral in zip(factor, (1.0, 0.0), strict=False)
            ]
            totals_before = [_moved(builder, part, way, 0.0, a.used) for part in total]
            total = _added(builder, factor, totals_before, total)
            factor = _multiplied(builder, factor, factors_before)
            shift *= 2
        return _joined(context, builder, a, _added(builder, factor, before, total))

    return a(a, b, state, back), code


@intrinsic(prefer_literal=True)
def last(typing: Any, states: Any, back: Any) -> Any:
    """The last state in the lanes of all steps."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        start = 0 if back.literal_value else states.used - states.features
        places = [start + lane % states.features for lane in range(LANES)]
        return _joined(
            context, builder, states, [_shuffled(builder, part, None, places) for part in _parts(builder, arguments[0])]
        )

    return states(states, back), code


@intrinsic
def product(typing: Any, a: Any, b: Any) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _joined(context, builder, a, _multiplied(builder, *(_parts(builder, value) for value in arguments)))

    return a(a, b), code


@intrinsic
def is_sound(typing: Any, states: Any, before: Any) -> Any:
    """Whether the states are what single steps would give.

    All finite, they are; NaN goes on as NaN either way. Otherwise products of factors may have overflowed that single
    steps never form.
    """

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        found, given = (_parts(builder, value) for value in arguments)
        zero = found[0].type(None)
        wrong = [builder.fcmp_unordered("!=", builder.fsub(part, part), zero) for part in found]
        number = [builder.fcmp_ordered("ord", part, part) for part in given]
        bad = builder.and_(_all(builder.or_, wrong), _all(builder.and_, number))
        bits = ir.IntType(LANES)
        return builder.icmp_unsigned("==", builder.bitcast(bad, bits), bits(0))

    return types.boolean(states, before), code


def _all(combine: Any, values: list[Any]) -> Any:
    first, *others = values
    for value in others:
        first = combine(first, value)
    return first


def _place(context: Any, builder: ir.IRBuilder, array: Any, steps: Steps, arguments: Any) -> Any:
    data = context.make_array(array)(context, builder, arguments[0]).data
    vector = ir.VectorType(context.get_value_type(steps.real), steps.used * steps.parts)
    return builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer())


def _parts(builder: ir.IRBuilder, value: Any) -> list[Any]:
    return cgutils.unpack_tuple(builder, value)


def _joined(context: Any, builder: ir.IRBuilder, steps: Steps, parts: list[Any]) -> Any:
    return cgutils.pack_array(builder, parts)


def _moved(builder: ir.IRBuilder, vector: Any, way: int, neutral: float, used: int) -> Any:
    """Each lane from so many lanes on; from beyond those in use, what changes nothing."""
    places = [lane + way if 0 <= lane + way < used else LANES + lane for lane in range(LANES)]
    return _shuffled(builder, vector, vector.type([neutral] * LANES), places)


def _shuffled(builder: ir.IRBuilder, a: Any, b: Any, places: Any) -> Any:
    indices = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), [*places])
    return builder.shuffle_vector(a, ir.Constant(a.type, ir.Undefined) if b is None else b, indices)


def _multiplied(builder: ir.IRBuilder, a: list[Any], b: list[Any]) -> list[Any]:
    if len(a) == 1:
        return [builder.fmul(a[0], b[0])]
    return [
        _sum(builder, builder.fmul(a[0], b[0]), builder.fneg(a[1]), b[1]),
        _sum(builder, builder.fmul(a[0], b[1]), a[1], b[0]),
    ]


def _added(builder: ir.IRBuilder, a: list[Any], b: list[Any], total: list[Any]) -> list[Any]:
    """total + a * b."""
    if len(a) == 1:
        return [_sum(builder, total[0], a[0], b[0])]
    return [
        _sum(builder, _sum(builder, total[0], a[0], b[0]), builder.fneg(a[1]), b[1]),
        _sum(builder, _sum(builder, total[1], a[0], b[1]), a[1], b[0]),
    ]


def _sum(builder: ir.IRBuilder, total: Any, a: Any, b: Any) -> Any:
    """total + a * b."""
    return builder.fadd(total, builder.fmul(a, b, flags=["contract"]), flags=["contract"])
