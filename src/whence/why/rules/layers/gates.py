"""Gated units, weights that are normalised, and products of chosen groups of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.picks import by_slot
from whence.why.rules.forms.positions import column, coordinates, position
from whence.why.rules.forms.rerun import computed, linear
from whence.why.rules.opening import Factor, Opened, Part, Rule


def gated(call: Call, at: Index) -> Opened:
    """Open x[first half]·σ(x[second half])."""
    x: Ref = call["self"]
    dim = call["dim"] % len(x.size)
    where = coordinates(at, call.output.size)
    first = position(where, x.size)
    where[dim] = where[dim] + call.output.size[dim]
    gate = Factor(x, column(position(where, x.size)), "gate")
    coefficient = 1 / (1 + np.exp(-gate.values))
    part = Part("x·σ(gate)", (Factor(x, column(first), "x"),), coefficient, (gate,))
    return Opened("x·σ(gate)", [part], roundings=12)


def _normed(given: dict[str, Any]) -> Tensor:
    v, dims = given["v"], _others(given)
    return v * (given["g"] / torch.linalg.vector_norm(v, 2, dims, keepdim=True))


def _others(given: dict[str, Any], of: str = "v") -> list[int]:
    return [d for d in range(given[of].ndim) if d != given["dim"] % given[of].ndim]


def _by_direction(given: dict[str, Any]) -> Tensor:
    w, v, g = given["grad_w"], given["saved_v"], given["saved_g"]
    norms, dims = given["saved_norms"].reshape(g.shape), _others(given, "saved_v")
    return g / norms * (w - v * (w * v).sum(dims, keepdim=True) / norms**2)


def _by_length(given: dict[str, Any]) -> Tensor:
    w, v = given["grad_w"], given["saved_v"]
    total = (w * v).sum(_others(given, "saved_v"), keepdim=True)
    return total / given["saved_norms"].reshape(total.shape)


def _norms(given: dict[str, Any]) -> Tensor:
    return torch.linalg.vector_norm(given["v"], 2, _others(given))


def grouped(call: Call, at: Index) -> Opened:
    """Open Σₖ a[i,k]·b[group of i,k,j] (_grouped_mm), its groups the rows of either factor."""
    a, b = call["self"], call["mat2"]
    ends = call["offs"].gather(np.arange(call["offs"].numel)).astype(np.int64)
    where = coordinates(at, call.output.size)
    if len(a.size) == 2 and len(b.size) == 3:  # rows of a fall into groups
        i, j = (column(c) for c in where)
        group = np.minimum(np.searchsorted(ends, i, side="right"), len(ends) - 1)
        k = np.arange(a.size[1]).reshape(1, -1)
        one, two, valid = position([i, k], a.size), position([group, k, j], b.size), None
        valid = np.broadcast_to(i < ends[-1], one.shape)
    elif len(a.size) == 3 and len(b.size) == 2:  # columns of b do
        i, j = (column(c) for c in where)
        group = np.minimum(np.searchsorted(ends, j, side="right"), len(ends) - 1)
        k = np.arange(a.size[2]).reshape(1, -1)
        one, two = position([group, i, k], a.size), position([k, j], b.size)
        valid = np.broadcast_to(j < ends[-1], one.shape)
    elif len(a.size) == 2:  # what is added up over does: a product for each group
        group, i, j = (column(c) for c in where)
        k = np.arange(a.size[1]).reshape(1, -1)
        starts = np.concatenate([[0], ends[:-1]])
        valid = (k >= starts[group]) & (k < ends[group])
        one, two = position([i, k], a.size), position([k, j], b.size)
    else:
        group, i, j = (column(c) for c in where)
        k = np.arange(a.size[2]).reshape(1, -1)
        one, two, valid = position([group, i, k], a.size), position([group, k, j], b.size), None
    part = Part("a[i,k]·b[k,j]", (Factor(a, one, "a"), Factor(b, two, "b")), valid=valid)
    return Opened("Σₖ a[i,k]·b[k,j], by groups", [part])


RULES: dict[str, Rule] = {
    "glu": gated,
    "glu_backward": linear("g·slope", "grad_output", shared=("self",), inner=24),
    "_weight_norm_interface": by_slot(
        computed("g·v/‖v‖", "v", "g", formula=_normed), computed("‖v‖", "v", formula=_norms)
    ),
    "_weight_norm_interface_backward": by_slot(
        linear(
            "Σ g/‖v‖·(δ − v·v/‖v‖²)·g[w]", "grad_w", shared=("saved_v", "saved_g"),
            formula=_by_direction, backward=16,
        ),
        linear("Σ v/‖v‖·g[w]", "grad_w", shared=("saved_v",), formula=_by_length, backward=16),
    ),
    "_grouped_mm": grouped,
}  # fmt: skip
