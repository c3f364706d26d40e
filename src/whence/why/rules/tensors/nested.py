"""Nested tensors, which are recorded as the rows of all their parts, one below the other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.positions import column
from whence.why.rules.opening import Factor, Opened, Part, Rule
from whence.why.rules.tensors import shape


def _starts(ref: Ref) -> np.ndarray:
    """The first row of each part."""
    lengths = ref.version.memory.lengths
    assert lengths is not None
    return np.cumsum([0, *lengths[:-1]])


def listed(call: Call, at: Index) -> Opened:
    """Open the part that a row comes from."""
    rows = replace(call, values={**call.values, "tensors": call["list"], "dim": 0})
    return shape.RULES["cat"](rows, at)


def padded(call: Call, at: Index) -> Opened:
    """Open the row where the part has one, the padding behind its end."""
    x: Ref = call["self"]
    width = math.prod(call.output.size[2:])
    place, inside = np.divmod(at, width)
    part, row = np.divmod(place, call.output.size[1])
    there = row < np.array(x.version.memory.lengths)[part]
    source = np.where(there, (_starts(x)[part] + row) * width + inside, 0)
    fill = float(call["padding"])
    parts = [
        Part("x", (Factor(x, column(source), "x"),), valid=column(there)),
        Part("padding", value=column(np.where(there, 0.0, fill))),
    ]
    return Opened(f"x, {fill:g} behind its end", parts, exact=True)


def unpadded(source: str) -> Rule:
    """Make the rule of what takes the rows of each part out of a padded tensor."""

    def opened(call: Call, at: Index) -> Opened:
        x: Ref = call[source]
        width = math.prod(x.size[2:])
        place, inside = np.divmod(at, width)
        starts = _starts(call.output)
        part = np.searchsorted(starts, place, side="right") - 1
        row = part * x.size[1] + place - starts[part]
        return Opened("x", [Part("x", (Factor(x, column(row * width + inside), "x"),))], exact=True)

    return opened


def linear_gradient(call: Call, at: Index) -> Opened:
    """Open Σ g·w (by x), Σ g·x (by the weight) or Σ g (by the bias)."""
    x, g, w = call["self"], call["grad_output"], call["weight"]
    n_out, n_in = w.size
    rows = np.arange(g.size[0]).reshape(1, -1)
    if call.slot == 0:
        row, i = np.divmod(at, n_in)
        k = np.arange(n_out).reshape(1, -1)
        factors = (
            Factor(g, column(row) * n_out + k, "g"), Factor(w, k * n_in + column(i), "w"),
        )  # fmt: skip
        return Opened("Σⱼ g[r,j]·w[j,i]", [product("g[r,j]·w[j,i]", *factors)])
    if call.slot == 1:
        j, i = np.divmod(at, n_in)
        factors = Factor(g, rows * n_out + column(j), "g"), Factor(x, rows * n_in + column(i), "x")
        return Opened("Σᵣ g[r,j]·x[r,i]", [product("g[r,j]·x[r,i]", *factors)])
    return Opened("Σᵣ g[r,j]", [product("g[r,j]", Factor(g, rows * n_out + column(at), "g"))])


RULES: dict[str, Rule] = {
    "_nested_tensor_size": shape.constant("the lengths of the parts"),
    "_nested_tensor_from_tensor_list": listed,
    "_nested_tensor_from_mask": unpadded("t"),
    "_nested_from_padded": unpadded("padded"),
    "to_padded_tensor": padded,
    "linear_backward": linear_gradient,
}
