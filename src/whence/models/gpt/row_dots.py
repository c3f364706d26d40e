"""A row of a matrix times a vector, or times four, for each way in which a row is stored.

A row is read from its beginning to its end, 64 numbers at a time. Several rows at once would share
what is read of the vector, but memory gives one stream twice as fast as two: measured.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from whence.models.gpt.row_atomics import intrinsic

LANES, AT_ONCE = 16, 4  # sums side by side in a register, and registers
LINE = 64  # bytes that a processor reads at once
TWO, FOUR = 2, 4  # rows and texts of a block: what is read of one serves all of the other
FLOAT, I16, I32, I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(FLOAT, LANES)
_BLOCK = types.UniTuple(types.float32, TWO * FOUR)
Load = Callable[[Any, Any, int], Any]  # builder, address, lanes → as many fp32


def _raw(builder: Any, address: Any, element: Any, lanes: int) -> Any:
    """Some numbers from an address, which may be any multiple of a number's bytes."""
    kind = ir.VectorType(element, lanes) if lanes > 1 else element
    found = builder.load(builder.inttoptr(address, kind.as_pointer()))
    found.align = max(1, (32 if element == FLOAT else element.width) // 8)
    return found


def _like(kind: Any, lanes: int) -> Any:
    return ir.VectorType(kind, lanes) if lanes > 1 else kind


def _splat(kind: Any, lanes: int, value: int) -> Any:
    return ir.Constant(_like(kind, lanes), [value] * lanes if lanes > 1 else value)


def _fp32(builder: Any, address: Any, lanes: int) -> Any:
    return _raw(builder, address, FLOAT, lanes)


def _bf16(builder: Any, address: Any, lanes: int) -> Any:
    """The upper halves of fp32."""
    wide = builder.zext(_raw(builder, address, I16, lanes), _like(I32, lanes))
    return builder.bitcast(builder.shl(wide, _splat(I32, lanes, 16)), _like(FLOAT, lanes))


def _int8(builder: Any, address: Any, lanes: int) -> Any:
    wide = builder.sext(_raw(builder, address, ir.IntType(8), lanes), _like(I32, lanes))
    return builder.sitofp(wide, _like(FLOAT, lanes))


def _sum_of(builder: Any, sums: Iterable[Any]) -> Any:
    """The sum of the numbers of some registers."""
    vector = functools.reduce(builder.fadd, [builder.load(each) for each in sums])
    function = _declared(builder, f"llvm.vector.reduce.fadd.v{LANES}f32", FLOAT, FLOAT, _VECTOR)
    return builder.call(function, [ir.Constant(FLOAT, 0.0), vector], fastmath=("reassoc",))


def _declared(builder: Any, name: str, *kinds: Any) -> Any:
    """A function of LLVM's own by its name, what it returns and what it takes."""
    kind = ir.FunctionType(kinds[0], kinds[1:])
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute a · b + c, rounded once."""
    suffix = "f32" if a.type == FLOAT else f"v{LANES}f32"
    function = _declared(builder, f"llvm.fma.{suffix}", a.type, a.type, a.type, a.type)
    return builder.call(function, [a, b, c])


def _zero(builder: Any, kind: Any = _VECTOR) -> Any:
    """A place for a sum."""
    return cgutils.alloca_once_value(builder, ir.Constant(kind, None))


def _dot(load: Load, size: int) -> Any:
    """Make `dot(address, x, n)`: n numbers of `size` bytes from an address on, times those of x."""

    @intrinsic
    def dot(typing: Any, address: Any, x: Any, n: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = _data(context, builder, signature, arguments, 1)
            [y] = _dots(builder, arguments[:1], [vector], arguments[2], (load, size), AT_ONCE)
            return y

        return types.float32(types.int64, x, types.int64), generate

    return dot


@intrinsic
def block(typing: Any, w: Any, x: Any, first: Any, n: Any) -> Any:
    """Two rows of fp32, w [2·n], times four rows of x, from `first` on: eight sums.

    What is read of a row serves four products, and what is read of x serves two.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, first, n = arguments
        given = (context, builder, signature, arguments)
        rows = _row_addresses(*given, (0, TWO), ir.Constant(I64, 0), n)
        vectors = _row_addresses(*given, (1, FOUR), first, n)
        found = _dots(builder, rows, vectors, n, (_fp32, 4), 1)
        return context.make_tuple(builder, signature.return_type, found)

    return _BLOCK(w, x, types.int64, types.int64), generate


def _dots(
    builder: Any, rows: Any, vectors: list[Any], n: Any, form: tuple[Load, int], at_once: int
) -> list[Any]:
    """Each of some rows times each of some vectors, by so many sums for each pair."""
    load, size = form
    pairs = [(row, vector) for row in range(len(rows)) for vector in range(len(vectors))]
    totals = [[_zero(builder) for _ in range(at_once)] for _ in pairs]
    rest = [_zero(builder, FLOAT) for _ in pairs]

    def add_products(place: Any, sums: list[Any], lanes: int) -> None:
        at, beside = _times(builder, place, size), _times(builder, place, 4)
        w = [load(builder, builder.add(row, at), lanes) for row in rows]
        x = [_fp32(builder, builder.add(vector, beside), lanes) for vector in vectors]
        for (i, j), total in zip(pairs, sums, strict=True):
            builder.store(_fma(builder, w[i], x[j], builder.load(total)), total)

    many, few = _over(builder, n, LANES * at_once), _over(builder, n, LANES)
    with cgutils.for_range(builder, many) as loop:
        start = _times(builder, loop.index, LANES * at_once)
        for i in range(at_once):
            place = builder.add(start, ir.Constant(I64, i * LANES))
            add_products(place, [each[i] for each in totals], LANES)
    with cgutils.for_range(builder, few, start=_times(builder, many, at_once)) as loop:
        add_products(_times(builder, loop.index, LANES), [each[0] for each in totals], LANES)
    with cgutils.for_range(builder, n, start=_times(builder, few, LANES)) as loop:
        add_products(loop.index, rest, 1)
    return [
        builder.fadd(_sum_of(builder, each), builder.load(one))
        for each, one in zip(totals, rest, strict=True)
    ]


def _row_addresses(
    context: Any, builder: Any, signature: Any, arguments: Any, of: tuple[int, int], first: Any,
    n: Any,
) -> list[Any]:  # fmt: skip
    """The addresses of so many rows, from the first on, of an argument of n columns."""
    i, many = of
    start = _data(context, builder, signature, arguments, i)
    rows = [builder.add(first, ir.Constant(I64, j)) for j in range(many)]
    return [builder.add(start, _times(builder, builder.mul(row, n), 4)) for row in rows]


def _data(context: Any, builder: Any, signature: Any, arguments: Any, i: int) -> Any:
    """The address of an argument's numbers."""
    array = context.make_array(signature.args[i])(context, builder, arguments[i])
    return builder.ptrtoint(array.data, I64)


def _times(builder: Any, i: Any, factor: int) -> Any:
    return builder.mul(i, ir.Constant(I64, factor))


def _over(builder: Any, n: Any, by: int) -> Any:
    return builder.sdiv(n, ir.Constant(I64, by))


fp32_dot = _dot(_fp32, 4)
bf16_dot = _dot(_bf16, 2)
int8_dot = _dot(_int8, 1)


@intrinsic
def int4_dot(typing: Any, address: Any, ranges: Any, x: Any, sums: Any, groups: Any) -> Any:
    """Σ over groups g of s_g · Σ q·x + z_g · Σ x: 32 numbers q from 0 to 15 in 16 bytes each.

    Byte i of a group has number i in its lower and number i + 16 in its upper half. The s and z of
    each group are two fp32 from the address `ranges` on; `sums` has each group's Σ x.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, ranges, _, _, groups = arguments
        vector, added = (_data(context, builder, signature, arguments, i) for i in (2, 3))
        even, odd = _zero(builder), _zero(builder)
        lowest = _zero(builder, FLOAT)

        def add(g: Any, total: Any) -> None:
            lower, upper, s, z = _int4(builder, address, ranges, g)
            place = builder.add(vector, _times(builder, g, 8 * LANES))
            first = _fp32(builder, place, LANES)
            second = _fp32(builder, builder.add(place, ir.Constant(I64, 4 * LANES)), LANES)
            part = _fma(builder, upper, second, builder.fmul(lower, first))
            builder.store(_fma(builder, part, _spread(builder, s), builder.load(total)), total)
            sum_of_g = _fp32(builder, builder.add(added, _times(builder, g, 4)), 1)
            builder.store(_fma(builder, z, sum_of_g, builder.load(lowest)), lowest)

        pairs = _over(builder, groups, 2)
        with cgutils.for_range(builder, pairs) as loop:
            add(_times(builder, loop.index, 2), even)
            add(builder.add(_times(builder, loop.index, 2), ir.Constant(I64, 1)), odd)
        with cgutils.for_range(builder, groups, start=_times(builder, pairs, 2)) as loop:
            add(loop.index, even)
        return builder.fadd(_sum_of(builder, (even, odd)), builder.load(lowest))

    return types.float32(types.int64, types.int64, x, sums, types.int64), generate


@intrinsic
def fetch(typing: Any, address: Any, n: Any) -> Any:
    """Ask for n bytes that are soon read, without waiting for them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(8).as_pointer()
        function = _declared(builder, "llvm.prefetch.p0", ir.VoidType(), kind, I32, I32, I32)
        with cgutils.for_range(builder, _over(builder, arguments[1], LINE)) as loop:
            at = builder.add(arguments[0], _times(builder, loop.index, LINE))
            builder.call(function, [builder.inttoptr(at, kind), I32(0), I32(2), I32(1)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def int4_widen(typing: Any, address: Any, ranges: Any, out: Any, groups: Any) -> Any:
    """Write s·q + z, the numbers of a row in 4 bits, as fp32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, ranges, _, groups = arguments
        place = _data(context, builder, signature, arguments, 2)
        with cgutils.for_range(builder, groups) as loop:
            *halves, s, z = _int4(builder, address, ranges, loop.index)
            for i, q in enumerate(halves):
                at = builder.add(place, _times(builder, loop.index, 8 * LANES))
                at = builder.add(at, ir.Constant(I64, 4 * LANES * i))
                w = _fma(builder, q, _spread(builder, s), _spread(builder, z))
                builder.store(w, builder.inttoptr(at, _VECTOR.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, out, types.int64), generate


def _int4(builder: Any, address: Any, ranges: Any, g: Any) -> tuple[Any, Any, Any, Any]:
    """The first and the second half of group g's numbers q, as fp32, and its s and z."""
    bytes_of_g = builder.add(address, _times(builder, g, LANES))
    two = builder.zext(_raw(builder, bytes_of_g, ir.IntType(8), LANES), _like(I32, LANES))
    lower = builder.sitofp(builder.and_(two, _splat(I32, LANES, 15)), _VECTOR)
    upper = builder.sitofp(builder.lshr(two, _splat(I32, LANES, 4)), _VECTOR)
    both = builder.add(ranges, _times(builder, g, 8))
    z = _fp32(builder, builder.add(both, ir.Constant(I64, 4)), 1)
    return lower, upper, _fp32(builder, both, 1), z


def _spread(builder: Any, value: Any) -> Any:
    """A number in every place of a register."""
    empty = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(empty, value, I32(0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(I32, LANES), None))
