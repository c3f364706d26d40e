"""Running products and logarithms, and reductions that give two numbers at once."""

from __future__ import annotations

import math

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.positions import column, column_values, coordinates, position
from whence.why.rules.forms.rerun import computed
from whence.why.rules.forms.rounding import accuracy
from whence.why.rules.opening import Factor, Opened, Part, Rule
from whence.why.rules.tensors.reductions import along, deviation, mean, variance


def _so_far(call: Call, at: Index) -> tuple[Factor, np.ndarray]:
    """The elements up to each one's own place, [m, n], and which of them those are."""
    x: Ref = call["self"]
    if not x.size:
        return Factor(x, column(at), "x"), np.ones((len(at), 1), dtype=bool)
    dim = call["dim"] % len(x.size)
    where = [column(c) for c in coordinates(at, x.size)]
    last = where[dim]
    where[dim] = np.arange(x.size[dim]).reshape(1, -1)
    return Factor(x, position(where, x.size), "x"), where[dim] <= last


def running_product(call: Call, at: Index) -> Opened:
    """Open Π of x up to and with the element's own place (cumprod)."""
    x, there = _so_far(call, at)
    value = np.where(there, x.values, 1.0).prod(1)
    part = Part("Π_{k≤i} x[k]", value=column_values(value), shared=(x,))
    return Opened("Π_{k≤i} x[k]", [part], roundings=there.shape[1] + 1)


def running_log_sum_exp(call: Call, at: Index) -> Opened:
    """Open ln Σ of e^x up to and with the element's own place."""
    x, there = _so_far(call, at)
    known = np.where(there, x.values, -math.inf)
    peak = known.max(1, keepdims=True)
    safe = np.where(np.isfinite(peak), peak, 0.0)
    value = np.log(np.exp(known - safe).sum(1, keepdims=True)) + safe
    part = Part("ln Σ_{k≤i} e^x[k]", value=value, shared=(x,))
    slack = accuracy(call) * (4 * there.sum(1) + 2 * np.abs(safe[:, 0]) + 4)
    return Opened("ln Σ_{k≤i} e^x[k]", [part], absolute=slack)


def _spread_and_mean(root: bool) -> Rule:
    def opened(call: Call, at: Index) -> Opened:
        if call.slot:
            return mean(call, at)
        return (deviation if root else variance)(call, at)

    return opened


def sum_of_known(call: Call, at: Index) -> Opened:
    """Open the sum over what isn't NaN."""
    x, _ = along(call, at)
    part = product("x[k]", x)
    part.valid = ~np.isnan(x.values)
    return Opened("Σₖ x[k], NaN left out", [part])


RULES: dict[str, Rule] = {
    "cumprod": running_product,
    "logcumsumexp": running_log_sum_exp,
    "_logcumsumexp": running_log_sum_exp,
    "var_mean": _spread_and_mean(root=False),
    "std_mean": _spread_and_mean(root=True),
    "nansum": sum_of_known,
    "renorm": computed("x, shortened where its norm is larger than allowed", "self"),
    "dist": computed("(Σₖ |x[k] − y[k]|^p)^(1/p)"),
}
