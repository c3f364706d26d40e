"""A graph of `Value`s recorded as flat arrays, ready to be computed again.

Sums, differences and products are one instruction: z = Σ aₖ·bₖ, added up from the left, with 1 and
−1 as factors where there are none. A chain like ((b + w₁x₁) + w₂x₂) + … becomes one of them, where
that leaves every gradient's order of adding as it was; then the bits are those of the graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whence.scalar import ops
from whence.scalar.compiled.watch import Guard
from whence.scalar.value import Value

DOT, DIV, POW, MAX, MIN, EXP, LOG, SQRT, TANH, SIGMOID, RELU, ABS, COPY, PICK = range(14)

_CODES = {
    ops.DIV: DIV,
    ops.POW: POW,
    ops.MAX: MAX,
    ops.MIN: MIN,
    ops.EXP: EXP,
    ops.LOG: LOG,
    ops.SQRT: SQRT,
    ops.TANH: TANH,
    ops.SIGMOID: SIGMOID,
    ops.RELU: RELU,
    ops.ABS: ABS,
    ops.DETACH: COPY,
    ops.PICK: PICK,
}
_LINEAR = (ops.ADD, ops.SUB, ops.NEG, ops.MUL, ops.SUM, ops.DOT)
ONE, MINUS_ONE = 0, 1  # the first two numbers of every tape


# Columns of an instruction.
CODE, OUT, A, B, START, COUNT = range(6)


@dataclass
class Program:
    """The instructions over numbered slots.

    Attributes:
        rows: `[code, out, a, b, start, count]` each: what to do, the result's slot, the inputs'
            slots (a is the index of a `PICK`; −1 for none), and which terms or choices it has.
        terms: the two factors of each term; a choice has 1 as its second one.
        back: the instructions that gradients flow through, in the graph's own backward order. Those
            that only serve guards, or come before a `detach`, are not among them.
        size: how many slots there are.
        root: the slot of the result that was asked for.
    """

    rows: Any
    terms: Any
    back: Any
    size: int
    root: int


@dataclass
class Tape:
    """A recorded graph.

    Attributes:
        program: its instructions.
        leaves: the numbers that it reads, which own the slots from 2 on.
        constants: what each slot holds before a replay: figures of the program text.
        guards: `[kind, left, right, held]` rows.
        nodes: how many operations the graph had.
    """

    program: Program
    leaves: list[Value]
    constants: Any
    guards: Any
    nodes: int


def write_down(root: Value, guards: Sequence[Guard]) -> Tape:
    """Record a graph, together with the numbers that its guards check."""
    flowing = _flowing(root)
    order = _forward_order([*flowing, root, *(v for guard in guards for v in guard[1:3])])
    leaves: dict[int, Value] = {}
    for v in order:
        for source in v.inputs:
            if source.op is None:
                leaves.setdefault(id(source), source)
    for v in (root, *(v for guard in guards for v in guard[1:3])):
        if v.op is None:
            leaves.setdefault(id(v), v)
    slots = {key: i for i, key in enumerate(leaves, start=2)}
    fused = _fusable(order, root, guards)
    written = _assemble(order, flowing, root, dict(slots), fused)
    if written is None:
        written = _assemble(order, flowing, root, dict(slots), set())
    program, final = written
    constants = np.zeros(program.size)
    constants[ONE], constants[MINUS_ONE] = 1.0, -1.0
    constants[2 : 2 + len(leaves)] = [v._data for v in leaves.values()]
    rows = [(g.kind, final[id(g.left)], final[id(g.right)], int(g.held)) for g in guards]
    return Tape(
        program,
        list(leaves.values()),
        constants,
        np.array(rows, dtype=np.int32).reshape(-1, 4),
        len(order),
    )


def _flowing(root: Value) -> list[Value]:
    """Return `topological(root)` with detached numbers as leaves, as in a plain graph."""
    order: list[Value] = []
    seen: set[int] = set()
    stack: list[Any] = [root] if root.op not in (None, ops.DETACH) else []
    while stack:
        v = stack.pop()
        if v is None:
            order.append(stack.pop())
        elif id(v) not in seen:
            seen.add(id(v))
            stack += [v, None]
            stack += [s for s in reversed(v.inputs) if s.op not in (None, ops.DETACH)]
    return order


def _forward_order(wanted: list[Value]) -> list[Value]:
    """Return everything computed that the wanted numbers need, inputs first."""
    order: list[Value] = []
    seen: set[int] = set()
    for v in wanted:
        stack: list[Any] = [v]
        while stack:
            v = stack.pop()
            if v is None:
                order.append(stack.pop())
            elif v.op is not None and id(v) not in seen:
                seen.add(id(v))
                stack += [v, None]
                stack += [s for s in reversed(v.inputs) if s.op is not None]
    return order


def _fusable(order: list[Value], root: Value, guards: Sequence[Guard]) -> set[int]:
    """Return the sums and products that are used once, by a sum that can take them in."""
    uses: dict[int, int] = {id(root): 2}
    for guard in guards:
        uses[id(guard.left)] = uses[id(guard.right)] = 2
    for v in order:
        for source in v.inputs:
            if source.op in _LINEAR:
                uses[id(source)] = uses.get(id(source), 0) + 1
    fused = set()
    for v in order:
        if v.op is ops.ADD or v.op is ops.SUB:
            left, right = v._a, v._b
            if left.op in (ops.ADD, ops.SUB, ops.MUL) and uses[id(left)] == 1:
                fused.add(id(left))
            if v.op is ops.ADD and right.op is ops.MUL and uses[id(right)] == 1:
                fused.add(id(right))
    return fused


def _terms(v: Value, fused: set[int]) -> list[tuple[Any, Any, int]]:
    """Return the terms of a sum: two factors (a `Value`, or the slot of ±1), and whose they are.

    Whose they are is the operation in the graph that passes the gradient on to the factors.
    """
    if v.op is ops.MUL:
        return [(v._a, v._b, id(v))]
    if v.op is ops.NEG:
        return [(v._a, MINUS_ONE, id(v))]
    if v.op is ops.SUM:
        return [(source, ONE, id(v)) for source in v.inputs]
    if v.op is ops.DOT:
        c, *pairs = v.inputs
        mine = id(v)
        return [
            (c, ONE, mine),
            *((p, q, mine) for p, q in zip(pairs[::2], pairs[1::2], strict=True)),
        ]
    terms = []
    left = v
    while True:  # a loop, since a chain may be long
        right, sign = left._b, ONE if left.op is ops.ADD else MINUS_ONE
        if id(right) in fused and sign == ONE:
            terms.append((right._a, right._b, id(right)))
        else:
            terms.append((right, sign, id(left)))
        first = left._a
        if id(first) not in fused:
            terms.append((first, ONE, id(left)))
            break
        if first.op is ops.MUL:
            terms.append((first._a, first._b, id(first)))
            break
        left = first
    return terms[::-1]


def _assemble(
    order: list[Value], flowing: list[Value], root: Value, slots: dict[int, int], fused: set[int]
) -> Any:
    """Return the program, or `None` if taking sums in would change an order of adding."""
    # When the graph's own backward pass reaches each operation: the later, the larger.
    turn = {id(v): len(flowing) - i for i, v in enumerate(flowing)}
    rows: list[tuple[int, ...]] = []
    terms: list[tuple[int, int]] = []
    whose: list[int] = []
    size = len(slots) + 2
    row_of: dict[int, int] = {}
    for v in order:
        if id(v) not in fused:
            a = b = -1
            begin = len(terms)
            if v.op in _LINEAR:
                kind = DOT
                for p, q, owner in _terms(v, fused):
                    terms.append(
                        (
                            p if isinstance(p, int) else slots[id(p)],
                            q if isinstance(q, int) else slots[id(q)],
                        )
                    )
                    whose.append(turn.get(owner, 0))
            else:
                assert v.op is not None
                kind = _CODES[v.op]
                a, *others = [slots[id(source)] for source in v.inputs]
                if kind == PICK:
                    terms += [(slot, ONE) for slot in others]
                    whose += [turn.get(id(v), 0)] * len(others)
                elif others:
                    b = others[0]
            slots[id(v)] = size
            row_of[id(v)] = len(rows)
            rows.append((kind, size, a, b, begin, len(terms) - begin))
            size += 1
    flow = [v for v in reversed(flowing) if id(v) in row_of]
    program = Program(
        np.array(rows, dtype=np.int32).reshape(-1, 6),
        np.array(terms, dtype=np.int32).reshape(-1, 2),
        np.array([row_of[id(v)] for v in flow], dtype=np.int32),
        size=size,
        root=slots[id(root)],
    )
    if fused and not _same_order(program, whose, [turn[id(v)] for v in flow]):
        return None
    return program, slots


def _same_order(program: Program, whose: list[int], turns: list[int]) -> bool:
    """Return whether every slot's gradient is added up in the graph's own order."""
    latest = [0] * program.size
    rows, terms = program.rows.tolist(), program.terms.tolist()
    for i, turn in zip(program.back.tolist(), turns, strict=True):
        _, _, a, b, start, count = rows[i]
        met = [(a, turn), (b, turn)] if a >= 0 else []
        for k in range(start + count - 1, start - 1, -1):
            met += [(slot, whose[k]) for slot in terms[k]]
        for slot, when in met:
            if slot > MINUS_ONE:
                if when < latest[slot]:
                    return False
                latest[slot] = when
    return True
