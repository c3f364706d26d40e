"""Attention for one more token of each text: its part of the step, for several threads at once.

The formulas are those of `whence.models.layers.attention`; keys and values are at addresses.
"""

import math

import numpy as np
from numba import carray

from whence.models.gpt.row_atomics import add_one, bf16_at, fp32_at, narrowed, widened
from whence.models.gpt.row_dots import bf16_dot, fp32_dot
from whence.models.gpt.row_kernels import (
    FP32,
    K_NORM,
    KEYS,
    Q_NORM,
    RMS,
    VALUES,
    native,
    norm_of_one,
)


@native
def _rotated(x, angles, out):
    """Compute out = x with each pair of features turned: x·cos + swapped x·sin."""
    half = len(x) // 2
    for i in range(half):
        out[i] = x[i] * angles[0, i] + x[i + half] * angles[1, i]
        out[i + half] = x[i + half] * angles[0, i + half] + x[i] * angles[1, i + half]


@native
def _prepared(x, norm, has_norm, eps, has_angles, angles, spare, out):
    """Compute out = a query or a key as attention compares it: normed, and turned by its place."""
    if has_norm:
        norm_of_one(RMS, norm, 0, eps, x, spare)
    else:
        spare[:] = x
    if has_angles:
        _rotated(spare, angles, out)
    else:
        out[:] = spare


@native
def _read(address, kind, place, q):
    """Compute q · the key at a place."""
    d = len(q)
    if kind == FP32:
        return fp32_dot(address + 4 * place * d, q, d)
    return bf16_dot(address + 2 * place * d, q, d)


@native
def _gather(address, kind, place, weight, out):
    """Compute out += weight · the value at a place."""
    d = len(out)
    if kind == FP32:
        fp32 = carray(fp32_at(address + 4 * place * d), (d,))
        for i in range(d):
            out[i] += weight * fp32[i]
    else:
        bf16 = carray(bf16_at(address + 2 * place * d), (d,))
        for i in range(d):
            out[i] += weight * widened(bf16[i])


@native
def _remember(address, kind, place, x):
    """Write a key or a value to its place."""
    d = len(x)
    if kind == FP32:
        fp32 = carray(fp32_at(address + 4 * place * d), (d,))
        fp32[:] = x
    else:
        bf16 = carray(bf16_at(address + 2 * place * d), (d,))
        for i in range(d):
            bf16[i] = narrowed(x[i])


@native
def attend(layer, counts, phase, sizes, eps, seats, places, angles, qkv, scores, small, out):
    """Compute out = softmax(q·kᵀ / √d) · v of each text's heads, each head by one thread."""
    heads, groups, d, room, kind, has_norm, has_angles = sizes
    q, k, spare = small[0], small[1], small[2]
    each = heads // groups
    scale = np.float32(1 / math.sqrt(d))
    while True:
        taken = add_one(counts, 2 * phase)
        if taken >= heads * len(places):
            return
        b, h = taken // heads, taken % heads
        g, place, turned, of = h // each, places[b], angles[b], qkv[b]
        own = of[(heads + g) * d : (heads + g + 1) * d]
        v = of[(heads + groups + g) * d : (heads + groups + g + 1) * d]
        asked = of[h * d : (h + 1) * d]
        _prepared(asked, layer[Q_NORM], has_norm, eps, has_angles, turned, spare, q)
        _prepared(own, layer[K_NORM], has_norm, eps, has_angles, turned, spare, k)
        start = (seats[b] * groups + g) * room
        if h % each == 0:
            _remember(layer[KEYS], kind, start + place, k)
            _remember(layer[VALUES], kind, start + place, v)
        largest = np.float32(0)
        for i in range(d):
            largest += q[i] * k[i]
        largest *= scale
        scores[place] = largest
        for s in range(place):
            scores[s] = _read(layer[KEYS], kind, start + s, q) * scale
            largest = max(largest, scores[s])
        total = np.float32(0)
        for s in range(place + 1):
            scores[s] = math.exp(scores[s] - largest)
            total += scores[s]
        y = out[b, h * d : (h + 1) * d]
        for i in range(d):
            y[i] = scores[place] * v[i]
        for s in range(place):
            _gather(layer[VALUES], kind, start + s, scores[s], y)
        for i in range(d):
            y[i] /= total
        add_one(counts, 2 * phase + 1)
