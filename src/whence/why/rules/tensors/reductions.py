"""Sums, means, norms and extremes along dimensions."""

from __future__ import annotations

import math

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.positions import (
    column,
    column_values,
    coordinates,
    dimensions,
    position,
    reduced,
)
from whence.why.rules.forms.rounding import accuracy, narrow
from whence.why.rules.opening import Factor, Opened, Part, Rule


def along(call: Call, at: Index) -> tuple[Factor, int]:
    """Return the elements that are reduced to each output, [m, n], and their number n."""
    x: Ref = call["self"]
    dims = dimensions(call.get("dim"), len(x.size))
    elements = Factor(x, reduced(at, x, dims, call.output.size), "x")
    return elements, elements.at.shape[1]


def total(call: Call, at: Index) -> Opened:
    """Open Σₖ x[k]."""
    x, _ = along(call, at)
    return Opened("Σₖ x[k]", [product("x[k]", x)])


def mean(call: Call, at: Index) -> Opened:
    """Open Σₖ x[k] / n."""
    x, n = along(call, at)
    return Opened(f"Σₖ x[k] / {n}", [product(f"x[k] / {n}", x, coefficient=1 / n)], roundings=2)


def _moments(call: Call, at: Index) -> tuple[Factor, np.ndarray, float]:
    x, n = along(call, at)
    correction = call.get("correction")
    if correction is None:
        correction = 1 if call.get("unbiased") in (None, True) else 0
    return x, x.values.mean(1, keepdims=True), max(n - float(correction), 0.0)


def variance(call: Call, at: Index) -> Opened:
    """Open Σₖ (x[k] − mean)² / (n − correction)."""
    x, middle, n = _moments(call, at)
    spread = x.values - middle
    part = Part(f"(x[k] − mean)² / {n:g}", (x,), spread / n, value=spread**2 / n)
    # The mean is itself rounded: an error of it counts twice the distance, which adds to nothing.
    slack = (accuracy(call) * np.abs(middle[:, 0])) ** 2 + accuracy(call) * 8 * (
        np.abs(x.values) * np.abs(spread)
    ).sum(1) / n
    return Opened("Σₖ (x[k] − mean)² / n", [part], roundings=8, absolute=slack)


def deviation(call: Call, at: Index) -> Opened:
    """Open √(Σₖ (x[k] − mean)² / n)."""
    squared = variance(call, at)
    value, _, _ = squared.total(len(at))
    root = np.sqrt(value)
    part = Part("√var", value=column_values(root), shared=squared.parts[0].factors)
    slack = np.asarray(squared.absolute) / np.maximum(2 * root, 1e-30)
    n = squared.parts[0].terms().shape[1]
    return Opened("√(Σₖ (x[k] − mean)²/n)", [part], 8 + min(n, 6 * math.sqrt(n)), absolute=slack)


def norm(call: Call, at: Index) -> Opened:
    """Open (Σₖ |x[k]|^p)^(1/p)."""
    x, n = along(call, at)
    order = float(next((v for n in ("ord", "p") if (v := call.get(n)) is not None), 2))
    size = np.abs(x.values)
    if math.isinf(order):
        value, symbol = (size.max(1), "maxₖ |x[k]|") if order > 0 else (size.min(1), "minₖ |x[k]|")
    elif order == 0:
        value, symbol = (size != 0).sum(1), "how many x[k] aren't 0"
    else:
        value, symbol = (size**order).sum(1) ** (1 / order), f"(Σₖ |x[k]|^{order:g})^(1/{order:g})"
    part = Part(symbol, value=column_values(value), shared=(x,))
    return Opened(symbol, [part], roundings=4 + min(n, 6 * math.sqrt(n)))


def product_of_all(call: Call, at: Index) -> Opened:
    """Open Πₖ x[k]."""
    x, n = along(call, at)
    part = Part("Πₖ x[k]", value=column_values(x.values.prod(1)), shared=(x,))
    return Opened("Πₖ x[k]", [part], roundings=n, inner=n * narrow(call))


def extreme(call: Call, at: Index) -> Opened:
    """Open maxₖ x[k] or minₖ x[k], or where it lies."""
    x, _ = along(call, at)
    largest = "max" in call.name
    best = x.values.argmax(1) if largest else x.values.argmin(1)
    word = "max" if largest else "min"
    if call.name.startswith("arg") or call.slot == 1:
        part = Part(f"arg{word}ₖ x[k]", value=column_values(best), shared=(x,))
        return Opened(f"arg{word}ₖ x[k]", [part], exact=True)
    chosen = Factor(x.cells, np.take_along_axis(np.asarray(x.at), column(best), 1))
    return Opened(f"{word}ₖ x[k]", [product("x[k]", chosen)], exact=True)


def log_sum_exp(call: Call, at: Index) -> Opened:
    """Open ln Σₖ e^x[k]."""
    x, n = along(call, at)
    peak = x.values.max(1, keepdims=True)
    value = np.log(np.exp(x.values - peak).sum(1)) + peak[:, 0]
    part = Part("ln Σₖ e^x[k]", value=column_values(value), shared=(x,))
    slack = accuracy(call) * (8 + min(n, 6 * math.sqrt(n)) + np.abs(peak[:, 0]))
    slack = slack + narrow(call) * (np.abs(value) + np.abs(peak[:, 0]))
    return Opened("ln Σₖ e^x[k]", [part], absolute=slack)


def running(call: Call, at: Index) -> Opened:
    """Open Σ of x up to and with the element's own place (cumsum)."""
    x: Ref = call["self"]
    dim = call["dim"] % max(len(x.size), 1)
    where = [column(c) for c in coordinates(at, x.size)]
    last = where[dim]
    where[dim] = np.arange(x.size[dim]).reshape(1, -1)
    valid = where[dim] <= last
    part = Part("x[k]", (Factor(x, position(where, x.size)),), valid=valid)
    return Opened("Σ_{k≤i} x[k]", [part], exact=not call.output.dtype.is_floating_point)


def truth(call: Call, at: Index) -> Opened:
    """Open whether all or any of the elements hold."""
    x, _ = along(call, at)
    held = x.values != 0
    value = held.all(1) if call.name == "all" else held.any(1)
    part = Part(f"{call.name} x[k]", value=column_values(value), shared=(x,))
    return Opened(f"{call.name}ₖ x[k]", [part], exact=True)


RULES: dict[str, Rule] = {
    "sum": total,
    "mean": mean,
    "var": variance,
    "std": deviation,
    "linalg_vector_norm": norm,
    "norm": norm,
    "prod": product_of_all,
    "amax": extreme,
    "amin": extreme,
    "max": extreme,
    "min": extreme,
    "argmax": extreme,
    "argmin": extreme,
    "logsumexp": log_sum_exp,
    "cumsum": running,
    "all": truth,
    "any": truth,
}
