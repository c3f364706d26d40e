"""One graph for many samples in machine code, a block of samples at a time."""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from whence.scalar.compiled import kernels
from whence.scalar.compiled.kernels import holds, slope_of_first, slope_of_second, value_of
from whence.scalar.compiled.lanes import NEURON, U_ONE, U_V, V_ONE, V_V, LaneProgram
from whence.scalar.compiled.simd import (
    FOLDED,
    LANES,
    accumulate,
    add,
    divide,
    load,
    multiply,
    relu,
    splat,
    step,
    store,
)
from whence.scalar.compiled.tape import (
    CODE,
    COPY,
    COUNT,
    DIV,
    DOT,
    EXP,
    OUT,
    PICK,
    RELU,
    START,
    A,
    B,
)

_compiled = njit(cache=True, error_model="numpy", nogil=True)


@_compiled
def _forward(rows, terms, common, lanes, inside):
    """Compute every row; clear `inside` of a sample whose index is outside its choices."""
    for i in range(len(rows)):
        op = rows[i, CODE]
        start = rows[i, START]
        if op == NEURON:
            total = splat(common[terms[start, 0]])
            for k in range(start + 1, start + rows[i, COUNT]):
                product = multiply(splat(common[terms[k, 0]]), load(lanes, terms[k, 1]))
                total = add(total, product)
            store(lanes, rows[i, OUT], total)
            continue
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
        elif op == DIV:
            store(lanes, rows[i, OUT], divide(load(lanes, rows[i, A]), load(lanes, rows[i, B])))
        elif op == EXP:
            for lane in range(LANES):
                lanes[o + lane] = math.exp(lanes[x + lane])
        elif op == PICK:
            for lane in range(LANES):
                index = lanes[x + lane]
                if not 0.0 <= index < rows[i, COUNT] or index != math.floor(index):
                    inside[lane] = False
                    index = 0.0
                slot = terms[start + int(index), 0]
                lanes[o + lane] = common[slot] if rows[i, B] == 1 else lanes[slot * LANES + lane]
        elif rows[i, B] < 0:
            for lane in range(LANES):
                lanes[o + lane] = value_of(op, lanes[x + lane], 0.0)
        else:
            y = rows[i, B] * LANES
            for lane in range(LANES):
                lanes[o + lane] = value_of(op, lanes[x + lane], lanes[y + lane])


@_compiled
def _backward(rows, terms, back, common, lanes, g_common, g_lanes):
    """Add up the gradients of rows, and of common slots lane by lane."""
    for i in back:
        op = rows[i, CODE]
        start = rows[i, START]
        if op == NEURON:
            g = load(g_lanes, rows[i, OUT])
            for k in range(start + rows[i, COUNT] - 1, start, -1):
                p = terms[k, 0]
                q = terms[k, 1]
                accumulate(g_common, p, multiply(g, load(lanes, q)))
                store(g_lanes, q, add(load(g_lanes, q), multiply(g, splat(common[p]))))
            accumulate(g_common, terms[start, 0], g)
            continue
        if op == DOT:
            g = load(g_lanes, rows[i, OUT])
            for k in range(start + rows[i, COUNT] - 1, start - 1, -1):
                what = terms[k, 2]
                p = terms[k, 0]
                q = terms[k, 1]
                if what == U_V:
                    accumulate(g_common, p, multiply(g, load(lanes, q)))
                    store(g_lanes, q, add(load(g_lanes, q), multiply(g, splat(common[p]))))
                elif what == U_ONE:
                    accumulate(g_common, p, g)
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
                    accumulate(g_common, p, multiply(g, y))
                    accumulate(g_common, q, multiply(g, x))
            continue
        o = rows[i, OUT] * LANES
        x = rows[i, A] * LANES
        if op == RELU:
            slope = step(load(lanes, rows[i, A]))
            g = multiply(load(g_lanes, rows[i, OUT]), slope)
            store(g_lanes, rows[i, A], add(load(g_lanes, rows[i, A]), g))
        elif op == DIV:
            g = load(g_lanes, rows[i, OUT])
            y = load(lanes, rows[i, B])
            by_y = multiply(splat(-1.0), divide(load(lanes, rows[i, OUT]), y))
            store(g_lanes, rows[i, B], add(load(g_lanes, rows[i, B]), multiply(g, by_y)))
            by_x = divide(splat(1.0), y)
            store(g_lanes, rows[i, A], add(load(g_lanes, rows[i, A]), multiply(g, by_x)))
        elif op == EXP:
            g = multiply(load(g_lanes, rows[i, OUT]), load(lanes, rows[i, OUT]))
            store(g_lanes, rows[i, A], add(load(g_lanes, rows[i, A]), g))
        elif op == PICK:
            for lane in range(LANES):
                slot = terms[start + int(lanes[x + lane]), 0]
                if rows[i, B] == 1:
                    g_common[slot * FOLDED + lane % FOLDED] += g_lanes[o + lane]
                else:
                    g_lanes[slot * LANES + lane] += g_lanes[o + lane]
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
    common_rows, common_terms, common_back, rows, terms, back, guards, root,
    constants, sources, used, parameters, data, weight,
    common, grad, g_common, lanes, g_lanes,
):  # fmt: skip
    """Go through all samples in blocks: `run()` says what comes out."""
    n = len(data)
    losses = np.zeros(n)
    fits = np.zeros(n, dtype=np.bool_)
    gradient = np.zeros(len(sources))
    common[:] = constants
    for i in range(len(sources)):
        common[sources[i]] = parameters[i]
    if not kernels.forward(common_rows, common_terms, common):
        return losses, gradient, fits, False, 0.0
    g_common[:] = 0.0
    inside = np.ones(LANES, dtype=np.bool_)
    whole = True
    for block in range(0, n, LANES):
        for j in range(len(used)):
            for lane in range(LANES):
                # The last block is filled up with its last sample, at weight 0.
                lanes[j * LANES + lane] = data[min(block + lane, n - 1), used[j]]
        inside[:] = True
        _forward(rows, terms, common, lanes, inside)
        for lane in range(min(LANES, n - block)):
            fit = inside[lane] and _guarded(guards, common, lanes, lane)
            fits[block + lane] = fit
            losses[block + lane] = lanes[root * LANES + lane]
            whole = whole and fit
        if whole:
            g_lanes[:] = 0.0
            for lane in range(min(LANES, n - block)):
                g_lanes[root * LANES + lane] = weight
            _backward(rows, terms, back, common, lanes, g_common, g_lanes)
    grad[:] = 0.0
    for slot in range(len(g_common) // FOLDED):
        half = FOLDED // 2  # in pairs: additions one after the other would wait
        while half:
            for lane in range(slot * FOLDED, slot * FOLDED + half):
                g_common[lane] += g_common[lane + half]
            half //= 2
        grad[slot] = g_common[slot * FOLDED]
    kernels.backward(common_rows, common_terms, common_back, common, grad)
    for i in range(len(sources)):
        gradient[i] = grad[sources[i]]
    total = losses[0]
    for k in range(1, n):
        total += losses[k]
    return losses, gradient, fits, whole, total


def _aligned(size: int) -> Any:
    """Return zeros that begin at a line of the cache: a vector across two lines costs double."""
    bytes_of_a_line = 64
    room = np.zeros(size + bytes_of_a_line // 8)
    return room[-room.ctypes.data % bytes_of_a_line // 8 :][:size]


class Room(NamedTuple):
    """The arrays that a replay works in, kept: new ones would be paged in at every call."""

    common: Any
    grad: Any
    g_common: Any
    lanes: Any
    g_lanes: Any

    @classmethod
    def of(cls, program: LaneProgram) -> "Room":
        """Return room for a program."""
        common, lanes = program.common.size, program.size * LANES
        sizes = (common, common, program.reach * FOLDED, lanes, lanes)
        return cls(*map(_aligned, sizes))


def run(
    program: LaneProgram,
    room: Room,
    constants: Any,
    sources: Any,
    used: Any,
    parameters: Any,
    data: Any,
    weight: float,
) -> Any:
    """Replay all samples.

    Args:
        program: the graph of one sample, split.
        room: where to compute; nobody else may use it meanwhile.
        constants: what the tape's slots hold to begin with.
        sources: the slots of the parameters.
        used: which columns of `data` the inputs read, in the order of their rows.
        parameters: the parameters.
        data: `[samples, numbers]`.
        weight: ∂total/∂(loss of a sample).

    Returns:
        Losses `[samples]`, the gradient of every parameter, which samples the graph fits, whether
        it fits all, and Σ losses; where it does not fit all, gradient and sum mean nothing.
    """
    c = program.common
    return _all_samples(
        c.rows, c.terms, c.back, program.rows, program.terms, program.back, program.guards,
        program.root, constants, sources, used, parameters, data, weight, *room,
    )  # fmt: skip
