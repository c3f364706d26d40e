"""The parts of a GPT's block for one more token, each for several threads at once.

A token costs what it takes to read the weights from memory, so nothing else may take long: the
threads share out the rows of each product, some at a time, and a part waits for the one before it
until the last of its rows is done. A thread that comes late finds less to do; one that doesn't come
isn't missed.

The formulas are those of `whence.models.gpt.block`. A layer is described by rows of addresses.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import carray

from whence.models.gpt.row_atomics import (
    add_one,
    bf16_at,
    count_now,
    fp32_at,
    int8_at,
    let_others_run,
    widened,
)
from whence.models.gpt.row_dots import (
    FOUR,
    bf16_dot,
    block,
    fetch,
    fp32_dot,
    int4_dot,
    int4_widen,
    int8_dot,
)

FP32, BF16, INT8, INT4 = range(4)  # how a matrix is stored
NO_NORM, RMS, LAYER = range(3)
RELU, RELU2, GELU, GELU_TANH, SILU = range(5)
# Of a matrix: its address, kind, rows, columns, rows that a thread takes at a time, its scales'
# address, its bias's or 0.
ADDRESS, KIND, ROWS, COLUMNS, CHUNK, SCALES, BIAS = range(7)
# Of a layer: its matrices, then addresses of norms' weights and biases (0: none), keys, values.
Q, K, V, OUT, UP, GATE, DOWN, HEAD = range(8)
NORM1, NORM1_BIAS, NORM2, NORM2_BIAS, Q_NORM, K_NORM, KEYS, VALUES = range(8)
PHASES = 8  # of a layer: a counter each for the matrices but HEAD, and one for attention
ATTENTION = 7
GROUP = 32  # weights of a row that share a scale in 4 bits
AHEAD = 7  # rows after those that are computed, which memory is asked for
SPINS = 2000  # looks at a counter before the processor is offered to others

# Sums may be added in another order; infinities and NaN stay what they are.
FAST = {"reassoc", "contract", "nsz", "arcp"}
native: Callable[[Any], Any] = numba.njit(nogil=True, fastmath=FAST)


@native
def _rows(matrix, first, last, x, sums, out):
    """Write W·x + b from row `first` to ahead of `last` for each text; sums: of each 32 places."""
    if len(x) == 1:
        _rows_of_one(matrix, first, last, x[0], sums[0], out[0])
    else:
        _rows_of_four(matrix, first, last, x, out)
    if matrix[BIAS]:
        bias = carray(fp32_at(matrix[BIAS]), (last,))
        for b in range(len(x)):
            for i in range(first, last):
                out[b, i] += bias[i]


@native
def _rows_of_one(matrix, first, last, x, sums, out):
    n, kind, start = matrix[COLUMNS], matrix[KIND], matrix[ADDRESS]
    if kind == BF16:
        for i in range(first, last):
            out[i] = bf16_dot(start + 2 * i * n, x, n)
    elif kind == FP32:
        for i in range(first, last):
            out[i] = fp32_dot(start + 4 * i * n, x, n)
    elif kind == INT8:
        scales = carray(fp32_at(matrix[SCALES]), (last,))
        for i in range(first, last):
            out[i] = scales[i] * int8_dot(start + i * n, x, n)
    else:
        groups = n // GROUP
        for i in range(first, last):
            ranges = matrix[SCALES] + 8 * i * groups
            out[i] = int4_dot(start + i * (n // 2), ranges, x, sums, groups)


@native
def _rows_of_four(matrix, first, last, x, y):
    """The same for texts in fours, two rows at a time: all that is read serves several products.

    Rows are widened to fp32 ahead of that, one after the other: memory is quickest in order.
    """
    n, texts, size = matrix[COLUMNS], len(x), _bytes_of_row(matrix)
    wide = np.empty(2 * n, np.float32)
    for i in range(first, last, 2):
        j = min(i + 1, last - 1)
        _widen(matrix, i, wide[:n])
        _widen(matrix, j, wide[n:])
        fetch(matrix[ADDRESS] + (j + AHEAD) * size, 2 * size)
        for t in range(0, texts, FOUR):
            a, b, c, d, e, f, g, h = block(wide, x, t, n)
            y[t, i], y[t + 1, i], y[t + 2, i], y[t + 3, i] = a, b, c, d
            y[t, j], y[t + 1, j], y[t + 2, j], y[t + 3, j] = e, f, g, h


@native
def _bytes_of_row(matrix):
    n, kind = matrix[COLUMNS], matrix[KIND]
    return 4 * n if kind == FP32 else 2 * n if kind == BF16 else n if kind == INT8 else n // 2


@native
def _widen(matrix, i, out):
    """Write row i of a matrix as fp32."""
    n, kind, start = matrix[COLUMNS], matrix[KIND], matrix[ADDRESS]
    if kind == BF16:
        bf16 = carray(bf16_at(start + 2 * i * n), (n,))
        for k in range(n):
            out[k] = widened(bf16[k])
    elif kind == FP32:
        fp32 = carray(fp32_at(start + 4 * i * n), (n,))
        for k in range(n):
            out[k] = fp32[k]
    elif kind == INT8:
        scale = carray(fp32_at(matrix[SCALES]), (i + 1,))[i]
        int8 = carray(int8_at(start + i * n), (n,))
        for k in range(n):
            out[k] = scale * np.float32(int8[k])
    else:
        int4_widen(start + i * (n // 2), matrix[SCALES] + 8 * i * (n // GROUP), out, n // GROUP)


@native
def wait(counts, phase, chunks):
    """Wait until all chunks of a phase are done."""
    looks = 0
    while count_now(counts, 2 * phase + 1) < chunks:
        looks += 1
        if looks > SPINS:
            let_others_run()


@native
def chunks_of(matrix):
    """Count the turns in which the rows of a matrix are taken."""
    return (matrix[ROWS] + matrix[CHUNK] - 1) // matrix[CHUNK]


@native
def product(matrix, counts, phase, x, sums, out):
    """Compute out = W·x + b; this thread's share of it."""
    rows, size, chunks = matrix[ROWS], matrix[CHUNK], chunks_of(matrix)
    while True:
        chunk = add_one(counts, 2 * phase)
        if chunk >= chunks:
            return
        _rows(matrix, chunk * size, min(rows, (chunk + 1) * size), x, sums, out)
        add_one(counts, 2 * phase + 1)


@native
def add_product(matrix, counts, phase, x, sums, spare, out):
    """Add W·x + b to out, the residual stream; this thread's share of it."""
    rows, size, chunks = matrix[ROWS], matrix[CHUNK], chunks_of(matrix)
    while True:
        chunk = add_one(counts, 2 * phase)
        if chunk >= chunks:
            return
        first, last = chunk * size, min(rows, (chunk + 1) * size)
        _rows(matrix, first, last, x, sums, spare)
        for b in range(len(x)):
            for i in range(first, last):
                out[b, i] += spare[b, i]
        add_one(counts, 2 * phase + 1)


@native
def _activated(kind, x):
    if kind == SILU:
        return x / (np.float32(1) + math.exp(-x))
    if kind == GELU_TANH:
        cubic = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        return np.float32(0.5) * x * (np.float32(1) + math.tanh(cubic))
    if kind == GELU:
        return np.float32(0.5) * x * (np.float32(1) + math.erf(x * np.float32(math.sqrt(0.5))))
    # NaN isn't above 0 and must not become 0.
    positive = np.float32(0) if x <= 0 else x
    return positive * positive if kind == RELU2 else positive


@native
def feed_forward(up, gate, counts, phase, activation, x, sums, gates, out):
    """Compute out = f(gate·x) · (up·x), or f(up·x) without a gate; this thread's share of it."""
    rows, size, chunks = up[ROWS], up[CHUNK], chunks_of(up)
    while True:
        chunk = add_one(counts, 2 * phase)
        if chunk >= chunks:
            return
        first, last = chunk * size, min(rows, (chunk + 1) * size)
        _rows(up, first, last, x, sums, out)
        if gate[ROWS]:
            _rows(gate, first, last, x, sums, gates)
        for b in range(len(x)):
            for i in range(first, last):
                if gate[ROWS]:
                    out[b, i] *= _activated(activation, gates[b, i])
                else:
                    out[b, i] = _activated(activation, out[b, i])
        add_one(counts, 2 * phase + 1)


@native
def normed(kind, weight, bias, eps, x, out):
    """Compute out = the norm of each x."""
    for b in range(len(x)):
        norm_of_one(kind, weight, bias, eps, x[b], out[b])


@native
def norm_of_one(kind, weight, bias, eps, x, out):
    """Compute out = the norm of x: (x − mean) / √(mean square + eps) · weight + bias."""
    n = len(x)
    mean, square = np.float32(0), np.float32(0)
    if kind == LAYER:
        for i in range(n):
            mean += x[i]
        mean /= np.float32(n)
    for i in range(n):
        square += (x[i] - mean) * (x[i] - mean)
    scale = np.float32(1)
    if kind != NO_NORM:
        scale /= math.sqrt(square / np.float32(n) + np.float32(eps))
    for i in range(n):
        out[i] = (x[i] - mean) * scale
    if weight:
        w = carray(fp32_at(weight), (n,))
        for i in range(n):
            out[i] *= w[i]
    if bias:
        b = carray(fp32_at(bias), (n,))
        for i in range(n):
            out[i] += b[i]


@native
def group_sums(x, sums):
    """Compute the sum of each 32 places of each x."""
    for b in range(len(x)):
        for g in range(x.shape[1] // GROUP):
            total = np.float32(0)
            for k in range(GROUP):
                total += x[b, g * GROUP + k]
            sums[b, g] = total
