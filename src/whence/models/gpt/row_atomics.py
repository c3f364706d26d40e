"""What threads need to share out the rows of a product, as single instructions for numba."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

intrinsic: Any = _intrinsic  # what it makes takes one argument less than it is written with
_INT64 = ir.IntType(64)


def _place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The address of element i of an array of int64."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    i = context.cast(builder, arguments[1], signature.args[1], types.intp)
    return builder.gep(array.data, [i])


@intrinsic
def add_one(typing: Any, counts: Any, i: Any) -> Any:
    """counts[i] += 1, whoever else does so; returns what it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature, arguments)
        return builder.atomic_rmw("add", place, ir.Constant(_INT64, 1), "seq_cst")

    return types.int64(counts, i), generate


@intrinsic
def count_now(typing: Any, counts: Any, i: Any) -> Any:
    """counts[i], as the other threads have left it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, arguments), "seq_cst", 8)

    return types.int64(counts, i), generate


@intrinsic
def let_others_run(typing: Any) -> Any:
    """Offer the processor to another thread: POSIX's sched_yield."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(_declared(builder, kind), [])
        return context.get_dummy_value()

    return types.void(), generate


def _declared(builder: Any, kind: Any) -> Any:
    known = builder.module.globals.get("sched_yield")
    return known or ir.Function(builder.module, kind, "sched_yield")


@intrinsic
def widened(typing: Any, bits: Any) -> Any:
    """The number whose bfloat16 these 16 bits are, in fp32: the upper half of its bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(wide, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def narrowed(typing: Any, x: Any) -> Any:
    """The bits of the bfloat16 that is nearest to an fp32, the even one of two (NaN stays NaN)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        int32 = ir.IntType(32)
        bits = builder.bitcast(arguments[0], int32)
        odd = builder.and_(builder.lshr(bits, ir.Constant(int32, 16)), ir.Constant(int32, 1))
        rounded = builder.add(bits, builder.add(odd, ir.Constant(int32, 0x7FFF)))
        unordered = builder.fcmp_unordered("uno", arguments[0], arguments[0])
        chosen = builder.select(unordered, ir.Constant(int32, 0x7FC00000), rounded)
        return builder.trunc(builder.lshr(chosen, ir.Constant(int32, 16)), ir.IntType(16))

    return types.uint16(types.float32), generate


def _pointer_to(element: Any) -> Any:
    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        """An address as a pointer, for `numba.carray`."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = context.get_value_type(signature.return_type)
            return builder.inttoptr(arguments[0], kind)

        return types.CPointer(element)(types.int64), generate

    return pointer


fp32_at = _pointer_to(types.float32)
bf16_at = _pointer_to(types.uint16)
int8_at = _pointer_to(types.int8)
