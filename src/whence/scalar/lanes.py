"""One graph for many samples, replayed sixteen samples at a time.

What depends on no input (parameters, and what is made of them alone) is computed once; the rest has
a row of sixteen lanes for each slot.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from whence.scalar import kernels
from whence.scalar.kernels import holds, slope_of_first, slope_of_second, value_of
from whence.scalar.simd import LANES, add, load, multiply, relu, splat, step, store
from whence.scalar.tape import (
    CODE,
    COPY,
    COUNT,
    DOT,
    ONE,
    OUT,
    PICK,
    RELU,
    START,
    A,
    B,
    Program,
    Tape,
)

# The two factors of a term: u one number for all samples, v a number for each.
U_ONE, U_V, V_ONE, V_V, U_U = range(5)

_compiled = njit(cache=True, error_model="numpy", nogil=True)


class LaneProgram(NamedTuple):
    """A tape split in what is common to all samples and what is not.

    Attributes:
        common: the instructions over common slots, in the tape's numbering.
        rows: the instructions over lanes; of `PICK`, b is 1 where the choices are common slots.
        terms: the two factors of each term, and what they are.
        guards: `[kind, left, left is common, right, right is common, held]` each.
        root: the result's row of lanes.
        size: how many rows of lanes there are.
    """

    common: Program
    rows: Any
    terms: Any
    guards: Any
    root: int
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
    common, varying = [], []
    for i, (code, out, a, b, start, count) in enumerate(instructions):
        read = [slot for term in factors[start : start + count] for slot in term]
        read += [slot for slot in (a, b) if slot >= 0]
        if any(row[slot] >= 0 for slot in read):
            row[out], rows = rows, rows + 1
            varying.append((code, out, a, b, start, count))
        else:
            common.append(i)
    writer = _Writer(row, rows)
    for code, out, a, b, start, count in varying:
        begin = len(writer.terms)
        if code == DOT:
            writer.terms += [writer.term(*term) for term in factors[start : start + count]]
            first = second = -1
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
        writer.table.append((code, row[out], first, second, begin, count))
    root = writer.spread(p.root)  # a row of its own only if no input reaches the loss
    guards = []
    for kind, left, right, held in tape.guards.tolist():
        sides = [(row[slot], 0) if row[slot] >= 0 else (slot, 1) for slot in (left, right)]
        guards.append((kind, *sides[0], *sides[1], held))
    before = sum(1 for i in common if i < p.last)
    return LaneProgram(
        Program(p.rows[common], p.terms, size=p.size, root=p.root, last=before),
        np.array(writer.table, dtype=np.int32).reshape(-1, 6),
        np.array(writer.terms, dtype=np.int32).reshape(-1, 3),
        np.array(guards, dtype=np.int32).reshape(-1, 6),
        root,
        writer.rows,
    )


@_compiled
def _forward(rows, terms, common, lanes):
    """Compute every row; return False where an index is outside its choices."""
    for i in range(len(rows)):
        op = rows[i, CODE]
        start = rows[i, START]
        if op == DOT:
            total = splat(0.0)
            for k in range(start, start + rows[i, COUNT]):
                what = terms[k, 2]
                if what == U_V:
                    term = multiply(splat(common[terms[k, 0]]), load(lanes, terms[k, 1]))
                elif what == U_ONE:
                    term = splat(common[terms[k, 0]])
                elif what == V_ONE:
                    term = load(lanes, terms[k, 0])
                elif what == V_V:
                    term = multiply(load(lanes, terms[k, 0]), load(lanes, terms[k, 1]))
                else:
                    term = splat(common[terms[k, 0]] * common[terms[k, 1]])
                total = term if k == start else add(total, term)
            store(lanes, rows[i, OUT], total)
            continue
        o = rows[i, OUT] * LANES
        x = rows[i, A] * LANES
        if op == RELU:
            store(lanes, rows[i, OUT], relu(load(lanes, rows[i, A])))
        elif op == PICK:
            for lane in range(LANES):
                index = lanes[x + lane]
                if not 0.0 <= index < rows[i, COUNT] or index != math.floor(index):
                    return False
                slot = terms[start + int(index), 0]
                lanes[o + lane] = common[slot] if rows[i, B] == 1 else lanes[slot * LANES + lane]
        elif rows[i, B] < 0:
            for lane in range(LANES):
                lanes[o + lane] = value_of(op, lanes[x + lane], 0.0)
        else:
            y = rows[i, B] * LANES
            for lane in range(LANES):
                lanes[o + lane] = value_of(op, lanes[x + lane], lanes[y + lane])
    return True


@_compiled
def _backward(rows, terms, common, lanes, g_common, g_lanes):
    """Add up the gradients of rows, and of common slots lane by lane."""
    for i in range(len(rows) - 1, -1, -1):
        op = rows[i, CODE]
        start = rows[i, START]
        if op == DOT:
            g = load(g_lanes, rows[i, OUT])
            for k in range(start + rows[i, COUNT] - 1, start - 1, -1):
                what = terms[k, 2]
                p = terms[k, 0]
                q = terms[k, 1]
                if what == U_V:
                    store(g_common, p, add(load(g_common, p), multiply(g, load(lanes, q))))
                    store(g_lanes, q, add(load(g_lanes, q), multiply(g, splat(common[p]))))
                elif what == U_ONE:
                    store(g_common, p, add(load(g_common, p), g))
                elif what == V_ONE:
                    store(g_lanes, p, add(load(g_lanes, p), g))
                elif what == V_V:
                    x = load(lanes, p)
                    y = load(lanes, q)
                    store(g_lanes, p, add(load(g_lanes, p), multiply(g, y)))
                    store(g_lanes, q, add(load(g_lanes, q), multiply(g, x)))
                else:
                    x = splat(common[p])
                    y = splat(common[q])
                    store(g_common, p, add(load(g_common, p), multiply(g, y)))
                    store(g_common, q, add(load(g_common, q), multiply(g, x)))
            continue
        o = rows[i, OUT] * LANES
        x = rows[i, A] * LANES
        if op == RELU:
            slope = step(load(lanes, rows[i, A]))
            g = multiply(load(g_lanes, rows[i, OUT]), slope)
            store(g_lanes, rows[i, A], add(load(g_lanes, rows[i, A]), g))
        elif op == PICK:
            for lane in range(LANES):
                slot = terms[start + int(lanes[x + lane]), 0] * LANES + lane
                if rows[i, B] == 1:
                    g_common[slot] += g_lanes[o + lane]
                else:
                    g_lanes[slot] += g_lanes[o + lane]
        elif op != COPY:
            for lane in range(LANES):
                first = lanes[x + lane]
                z = lanes[o + lane]
                g1 = g_lanes[o + lane]
                if rows[i, B] >= 0:
                    y = rows[i, B] * LANES + lane
                    second = lanes[y]
                    g_lanes[y] += g1 * slope_of_second(op, first, second, z)
                    g_lanes[x + lane] += g1 * slope_of_first(op, first, second, z)
                else:
                    g_lanes[x + lane] += g1 * slope_of_first(op, first, 0.0, z)


@_compiled
def _guarded(guards, common, lanes, lane):
    """Return whether every guard holds for one sample."""
    for i in range(len(guards)):
        kind, left, left_common, right, right_common, held = guards[i]
        x = common[left] if left_common == 1 else lanes[left * LANES + lane]
        y = common[right] if right_common == 1 else lanes[right * LANES + lane]
        if not holds(kind, x, y, held == 1):
            return False
    return True


@_compiled
def _all_samples(
    common_rows, common_terms, last, rows, terms, guards, root, size, common, used, data, seeds
):
    """Go through all samples in blocks.

    Returns losses, the gradient of every common slot, which samples the graph fits, and whether it
    fits all of them; if not, the gradient is to be thrown away.
    """
    n = len(data)
    losses = np.zeros(n)
    fits = np.zeros(n, dtype=np.bool_)
    grad = np.zeros(len(common))
    if not kernels.forward(common_rows, common_terms, common):
        return losses, grad, fits, False
    g_common = np.zeros(len(common) * LANES)
    lanes = np.zeros(size * LANES)
    g_lanes = np.zeros(size * LANES)
    whole = True
    for block in range(0, n, LANES):
        for j in range(len(used)):
            for lane in range(LANES):
                # The last block is filled up with its last sample, at weight 0.
                lanes[j * LANES + lane] = data[min(block + lane, n - 1), used[j]]
        inside = _forward(rows, terms, common, lanes)
        for lane in range(min(LANES, n - block)):
            fit = inside and _guarded(guards, common, lanes, lane)
            fits[block + lane] = fit
            losses[block + lane] = lanes[root * LANES + lane]
            whole = whole and fit
        if whole:
            g_lanes[:] = 0.0
            for lane in range(min(LANES, n - block)):
                g_lanes[root * LANES + lane] = seeds[block + lane]
            _backward(rows, terms, common, lanes, g_common, g_lanes)
    for slot in range(len(common)):
        half = LANES // 2  # in pairs: sixteen additions one after the other would wait
        while half:
            for lane in range(slot * LANES, slot * LANES + half):
                g_common[lane] += g_common[lane + half]
            half //= 2
        grad[slot] = g_common[slot * LANES]
    kernels.backward(common_rows, common_terms, last, common, grad)
    return losses, grad, fits, whole


def run(program: LaneProgram, used: Any, common: Any, data: Any, seeds: Any) -> Any:
    """Replay all samples.

    Args:
        program: the graph of one sample, split.
        used: which columns of `data` the inputs read, in the order of their rows.
        common: the tape's slots, with parameters set.
        data: `[samples, numbers]`.
        seeds: ∂total/∂(loss of the sample) for each.

    Returns:
        Losses `[samples]`, the gradient of every common slot, which samples the graph fits, and
        whether it fits all; where it does not, the gradient means nothing.
    """
    c = program.common
    return _all_samples(
        c.rows, c.terms, c.last, program.rows, program.terms, program.guards,
        program.root, program.size, common, used, data, seeds,
    )  # fmt: skip
