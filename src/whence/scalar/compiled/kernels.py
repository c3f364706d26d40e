"""The instructions of a tape in machine code: each number once, in the graph's own order."""

import math

import numpy as np
from numba import njit

from whence.scalar.compiled.tape import (
    ABS,
    CODE,
    COPY,
    COUNT,
    DIV,
    DOT,
    EXP,
    LOG,
    MAX,
    MIN,
    MINUS_ONE,
    OUT,
    PICK,
    POW,
    RELU,
    SIGMOID,
    SQRT,
    START,
    TANH,
    A,
    B,
)

# error_model="numpy": 1/0 is ∞, as in the table of operations. No fastmath: the order of adding is
# part of the result.
_compiled = njit(cache=True, error_model="numpy", nogil=True)


@_compiled
def power(x, y):
    """Return xʸ as the C library does."""
    return math.pow(x, y)


@_compiled
def value_of(op, x, y):
    """Return the result of an operation on one or two numbers."""
    if op == RELU:
        return 0.0 if x < 0.0 else x
    if op == TANH:
        return math.tanh(x)
    if op == EXP:
        return math.exp(x)
    if op == LOG:
        return math.log(x)
    if op == DIV:
        return x / y
    if op == POW:
        return power(x, y)
    if op == SIGMOID:
        if x >= 0.0:
            return 1.0 / (1.0 + math.exp(-x))
        e = math.exp(x)
        return e / (1.0 + e)
    if op == SQRT:
        return math.sqrt(x)
    if op == ABS:
        return abs(x)
    if op == MAX:
        return x if x > y or x != x else y
    if op == MIN:
        return x if x < y or x != x else y
    return x  # COPY


@_compiled
def slope_of_first(op, x, y, z):
    """Return ∂z/∂x."""
    if op == RELU:
        return 1.0 if x > 0.0 else 0.0
    if op == TANH:
        return 1.0 - z * z
    if op == EXP:
        return z
    if op == LOG:
        return 1.0 / x
    if op == DIV:
        return 1.0 / y
    if op == POW:
        return 0.0 if y == 0.0 else y * power(x, y - 1.0)
    if op == SIGMOID:
        return z * (1.0 - z)
    if op == SQRT:
        return 0.5 / z
    if op == ABS:
        return 0.0 if x == 0.0 else math.copysign(1.0, x)
    if op == MAX:
        return 1.0 if x > y else 0.0 if y > x else 0.5
    if op == MIN:
        return 1.0 if x < y else 0.0 if y < x else 0.5
    return 0.0  # COPY holds its input fixed


@_compiled
def slope_of_second(op, x, y, z):
    """Return ∂z/∂y."""
    if op == DIV:
        return -(z / y)
    if op == POW:
        return 0.0 if x == 0.0 and y >= 0.0 else z * math.log(x)
    if op == MAX:
        return 1.0 if y > x else 0.0 if x > y else 0.5
    return 1.0 if y < x else 0.0 if x < y else 0.5  # MIN


@_compiled
def forward(rows, terms, data):
    """Compute every slot; return False where an index is outside its choices."""
    for i in range(len(rows)):
        op = rows[i, CODE]
        start = rows[i, START]
        if op == DOT:
            total = 0.0
            if rows[i, COUNT] > 0:
                total = data[terms[start, 0]] * data[terms[start, 1]]
            for k in range(start + 1, start + rows[i, COUNT]):
                total += data[terms[k, 0]] * data[terms[k, 1]]
            data[rows[i, OUT]] = total
        elif op == PICK:
            index = data[rows[i, A]]
            if not 0.0 <= index < rows[i, COUNT] or index != math.floor(index):
                return False
            data[rows[i, OUT]] = data[terms[start + int(index), 0]]
        else:
            y = data[rows[i, B]] if rows[i, B] >= 0 else 0.0
            data[rows[i, OUT]] = value_of(op, data[rows[i, A]], y)
    return True


@_compiled
def backward(rows, terms, back, data, grad):
    """Add up every slot's gradient, from the root's, which is in `grad` already."""
    for i in back:
        op = rows[i, CODE]
        start = rows[i, START]
        a = rows[i, A]
        b = rows[i, B]
        g = grad[rows[i, OUT]]
        if op == DOT:
            for k in range(start + rows[i, COUNT] - 1, start - 1, -1):
                p = terms[k, 0]
                q = terms[k, 1]
                x = data[p]
                grad[p] += g * data[q]
                if q > MINUS_ONE:  # nobody asks for the gradients of 1 and −1
                    grad[q] += g * x
        elif op == PICK:
            grad[terms[start + int(data[a]), 0]] += g
        elif op != COPY:
            z = data[rows[i, OUT]]
            if b >= 0:
                grad[b] += g * slope_of_second(op, data[a], data[b], z)
                grad[a] += g * slope_of_first(op, data[a], data[b], z)
            else:
                grad[a] += g * slope_of_first(op, data[a], 0.0, z)


@_compiled
def holds(kind, x, y, held):
    """Return whether a guard's comparison comes out as it did in the recording."""
    if kind == 0:
        return (x < y) == held
    if kind == 1:
        return (x <= y) == held
    if kind == 2:
        return (x > y) == held
    if kind == 3:
        return (x >= y) == held
    if kind == 4:
        return (x == y) == held
    return x == y or (x != x and y != y)


@_compiled
def all_hold(guards, data):
    """Return whether every guard holds."""
    for i in range(len(guards)):
        kind, left, right, held = guards[i]
        if not holds(kind, data[left], data[right], held == 1):
            return False
    return True


@_compiled
def replay(rows, terms, guards, data):
    """Compute every slot; return whether the graph fits the numbers."""
    return forward(rows, terms, data) and all_hold(guards, data)


@_compiled
def gradients(rows, terms, back, root, data):
    """Return ∂root/∂(slot) of every slot."""
    grad = np.zeros(len(data))
    grad[root] = 1.0
    backward(rows, terms, back, data, grad)
    return grad
