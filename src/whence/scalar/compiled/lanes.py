"""One graph for many samples, split in what is common to them and what is not.

What depends on no input (parameters, and what is made of them alone) is computed once; the rest has
a row of sixteen lanes for each slot.
"""

from typing import Any, NamedTuple

import numpy as np

from whence.scalar.compiled.tape import (
    DOT,
    ONE,
    PICK,
    Program,
    Tape,
)

# The two factors of a term: u one number for all samples, v a number for each.
U_ONE, U_V, V_ONE, V_V, U_U = range(5)
NEURON = 14  # a DOT of the form b + Σ uₖ·vₖ: most of any network, so it gets a loop of its own


class LaneProgram(NamedTuple):
    """A tape split in what is common to all samples and what is not.

    Attributes:
        common: the instructions over common slots, in the tape's numbering.
        rows: the instructions over lanes; of `PICK`, b is 1 where the choices are common slots.
        terms: the two factors of each term, and what they are.
        back: the instructions over lanes that gradients flow through, in backward order.
        guards: `[kind, left, left is common, right, right is common, held]` each.
        root: the result's row of lanes.
        reach: 1 + the last common slot that lanes read.
        size: how many rows of lanes there are.
    """

    common: Program
    rows: Any
    terms: Any
    back: Any
    guards: Any
    root: int
    reach: int
    size: int


class _Writer:
    """Instructions over lanes, while they are being written."""

    def __init__(self, row: list[int], rows: int) -> None:
        self.row, self.rows = row, rows
        self.table: list[tuple[int, ...]] = []
        self.terms: list[tuple[int, int, int]] = []

    def spread(self, slot: int) -> int:
        """Return a row that holds a slot, made for it if the slot is common."""
        if self.row[slot] >= 0:
            return self.row[slot]
        made = self.rows
        self.rows += 1
        self.table.append((DOT, made, -1, -1, len(self.terms), 1))
        self.terms.append((slot, ONE, U_ONE))
        return made

    def term(self, p: int, q: int) -> tuple[int, int, int]:
        """Return a term's factors and what they are."""
        p_common, q_common = self.row[p] < 0, self.row[q] < 0
        if p_common and q_common:
            return (p, q, U_ONE) if q == ONE else (q, p, U_ONE) if p == ONE else (p, q, U_U)
        if q_common:
            return (self.row[p], q, V_ONE) if q == ONE else (q, self.row[p], U_V)
        if p_common:
            return (self.row[q], p, V_ONE) if p == ONE else (p, self.row[q], U_V)
        return self.row[p], self.row[q], V_V


def split(tape: Tape, inputs: Any) -> LaneProgram:
    """Split a tape whose inputs are the given slots."""
    p = tape.program
    row = [-1] * p.size
    rows = 0
    for slot in inputs:
        if slot >= 0:
            row[slot], rows = rows, rows + 1
    instructions, factors = p.rows.tolist(), p.terms.tolist()
    common: list[int] = []
    varying = []
    reach = 0  # 1 + the last common slot that they read
    for i, (code, out, a, b, start, count) in enumerate(instructions):
        read = [slot for term in factors[start : start + count] for slot in term]
        read += [slot for slot in (a, b) if slot >= 0]
        if any(row[slot] >= 0 for slot in read):
            row[out], rows = rows, rows + 1
            reach = max(reach, *(slot + 1 for slot in read if row[slot] < 0), 0)
            varying.append((i, code, out, a, b, start, count))
        else:
            common.append(i)
    writer = _Writer(row, rows)
    written: dict[int, list[int]] = {}  # an instruction's place, and those of what it had spread
    for i, code, out, a, b, start, count in varying:
        earlier, begin = len(writer.table), len(writer.terms)
        if code == DOT:
            writer.terms += [writer.term(*term) for term in factors[start : start + count]]
            first = second = -1
            kinds = [term[2] for term in writer.terms[begin:]]
            if kinds[:1] == [U_ONE] and kinds[1:] and set(kinds[1:]) == {U_V}:
                code = NEURON
        elif code == PICK:
            choices = [slot for slot, _ in factors[start : start + count]]
            shared = all(row[slot] < 0 for slot in choices)
            found = choices if shared else [writer.spread(slot) for slot in choices]
            first, second = writer.spread(a), int(shared)
            begin = len(writer.terms)
            writer.terms += [(slot, ONE, U_ONE) for slot in found]
        else:
            first, second = writer.spread(a), writer.spread(b) if b >= 0 else -1
            begin = len(writer.terms)
        written[i] = list(range(len(writer.table), earlier - 1, -1))
        writer.table.append((code, row[out], first, second, begin, count))
    behind = len(writer.table)
    if row[p.root] < 0:  # no input reaches the loss
        reach = max(reach, p.root + 1)
    root = writer.spread(p.root)
    back = list(range(behind, len(writer.table)))
    back += [place for i in p.back.tolist() for place in written.get(i, [])]
    place_of = {i: place for place, i in enumerate(common)}
    back_common = [place_of[i] for i in p.back.tolist() if i in place_of]
    guards = []
    for kind, left, right, held in tape.guards.tolist():
        sides = [(row[slot], 0) if row[slot] >= 0 else (slot, 1) for slot in (left, right)]
        guards.append((kind, *sides[0], *sides[1], held))
    return LaneProgram(
        Program(p.rows[common], p.terms, np.array(back_common, dtype=np.int32), p.size, p.root),
        np.array(writer.table, dtype=np.int32).reshape(-1, 6),
        np.array(writer.terms, dtype=np.int32).reshape(-1, 3),
        np.array(back, dtype=np.int32),
        np.array(guards, dtype=np.int32).reshape(-1, 6),
        root,
        reach,
        writer.rows,
    )
