"""Numbers side by side in a few vector registers: a type for compiled kernels.

The compiler wouldn't vectorise loops over lanes by itself, since their arrays might overlap.
Additions and products stay apart (no fused multiply-add), so that every lane has the bits that the
scalar code gives.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model

intrinsic: Any = _intrinsic  # what it makes takes one argument less than it is written with

LANES = 16
FOLDED = LANES // 2
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_HALF = ir.VectorType(ir.DoubleType(), FOLDED)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"lanes({LANES})")


_lanes = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, width: int = LANES) -> Any:
    """Return the address of row `i` of a flat array, `width` numbers a row."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    i = context.cast(builder, arguments[1], signature.args[1], types.intp)
    offset = builder.mul(i, context.get_constant(types.intp, width))
    row = _VECTOR if width == LANES else _HALF
    return builder.bitcast(builder.gep(array.data, [offset]), row.as_pointer())


@intrinsic
def load(typing: Any, array: Any, i: Any) -> Any:
    """Return row i of a flat array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(_pointer(context, builder, signature, arguments))
        loaded.align = 8
        return loaded

    return _lanes(array, i), generate


@intrinsic
def store(typing: Any, array: Any, i: Any, lanes: Any) -> Any:
    """Write row i of a flat array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        written = builder.store(arguments[2], _pointer(context, builder, signature, arguments))
        written.align = 8
        return context.get_dummy_value()

    return types.void(array, i, lanes), generate


@intrinsic
def accumulate(typing: Any, array: Any, i: Any, lanes: Any) -> Any:
    """Add lanes to row i of a flat array of half as many a row, its two halves on one another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _pointer(context, builder, signature, arguments, FOLDED)
        mask = ir.VectorType(ir.IntType(32), FOLDED)
        empty = ir.Constant(_VECTOR, ir.Undefined)
        low, high = (
            builder.shuffle_vector(arguments[2], empty, ir.Constant(mask, list(part)))
            for part in (range(FOLDED), range(FOLDED, LANES))
        )
        before = builder.load(address)
        before.align = 8
        after = builder.store(builder.fadd(before, builder.fadd(low, high)), address)
        after.align = 8
        return context.get_dummy_value()

    return types.void(array, i, lanes), generate


@intrinsic
def splat(typing: Any, x: Any) -> Any:
    """Return one number in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        empty = ir.Constant(_VECTOR, ir.Undefined)
        index = ir.IntType(32)
        first = builder.insert_element(empty, arguments[0], ir.Constant(index, 0))
        mask = ir.Constant(ir.VectorType(index, LANES), [0] * LANES)
        return builder.shuffle_vector(first, empty, mask)

    return _lanes(types.float64), generate


@intrinsic
def add(typing: Any, x: Any, y: Any) -> Any:
    """Return x + y, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments)

    return _lanes(_lanes, _lanes), generate


@intrinsic
def multiply(typing: Any, x: Any, y: Any) -> Any:
    """Return x · y, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(*arguments)

    return _lanes(_lanes, _lanes), generate


@intrinsic
def divide(typing: Any, x: Any, y: Any) -> Any:
    """Return x / y, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fdiv(*arguments)

    return _lanes(_lanes, _lanes), generate


@intrinsic
def relu(typing: Any, x: Any) -> Any:
    """Return max(x, 0), lane by lane; nan stays nan."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        below = builder.fcmp_ordered("<", arguments[0], zero)
        return builder.select(below, zero, arguments[0])

    return _lanes(_lanes), generate


@intrinsic
def step(typing: Any, x: Any) -> Any:
    """Return 1 where x > 0 and else 0, lane by lane: the slope of relu."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero, one = (ir.Constant(_VECTOR, [number] * LANES) for number in (0.0, 1.0))
        above = builder.fcmp_ordered(">", arguments[0], zero)
        return builder.select(above, one, zero)

    return _lanes(_lanes), generate
