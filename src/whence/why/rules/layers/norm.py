"""Layer norm and RMS norm, and their backward passes."""

from __future__ import annotations

import math

import numpy as np
import torch

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.positions import column, column_values
from whence.why.rules.forms.rounding import accuracy
from whence.why.rules.opening import UNIT, Factor, Opened, Part, Rule


def _across(call: Call, at: Index, x: Ref) -> tuple[Index, Index, np.ndarray]:
    """Split positions in x into (row, place in the row), and list the row's positions [m, D]."""
    width = math.prod(call["normalized_shape"])
    row, place = np.divmod(at, width)
    return row, place, column(row) * width + np.arange(width)


def _narrow(*cells: Ref) -> float:
    """Relative error of statistics that the kernel stores more narrowly than it uses them."""
    worst = max((UNIT.get(c.dtype, 0.0) for c in cells), default=0.0)
    return 2 * worst if worst > UNIT[torch.float32] else 0.0


def _most(x: Ref) -> float:
    """The most that the kernel's own type holds: it works in float32 where x is narrower."""
    return torch.finfo(torch.float64 if x.dtype == torch.float64 else torch.float32).max


def layer_norm(call: Call, at: Index) -> Opened:
    """Open γ·(x − mean)·rstd + β, or one of its statistics."""
    x: Ref = call["input"]
    if call.slot:
        return _statistics(call, at, x)
    row, place, _ = _across(call, at, x)
    _, mean, rstd = call.outputs
    assert mean is not None
    assert rstd is not None
    middle = Factor(mean, column(row), "mean")
    scale = Factor(rstd, column(row), "rstd")
    weight = () if call["weight"] is None else (Factor(call["weight"], column(place), "γ"),)
    parts = [
        product("γ·rstd·x", Factor(x, column(at), "x"), scale, *weight),
        product("−γ·rstd·mean", middle, scale, *weight, coefficient=-1.0),
    ]
    if call["bias"] is not None:
        parts.append(product("β", Factor(call["bias"], column(place), "β")))
    formula = "γ·(x − mean)·rstd" + (" + β" if call["bias"] is not None else "")
    return Opened(formula, parts, roundings=6, inner=_narrow(mean, rstd))


def _statistics(call: Call, at: Index, x: Ref) -> Opened:
    width = math.prod(call["normalized_shape"])
    values = Factor(x, column(at) * width + np.arange(width), "x")
    if call.slot == 1:
        return Opened(f"Σₖ x[k] / {width}", [product("x[k] / D", values, coefficient=1 / width)], 2)
    eps = float(call["eps"])
    middle = values.values.mean(1, keepdims=True)
    variance = values.values.var(1) + eps
    value = column_values(1 / np.sqrt(variance))
    # The kernel's mean is off by a rounding of the terms; its square is added to the variance.
    off = (accuracy(call) * np.abs(middle[:, 0]) * 8) ** 2 + accuracy(call) * np.abs(
        middle[:, 0]
    ) * np.sqrt(variance)
    slopes = -(value**3) * (values.values - middle) / width
    part = Part("1/√(var + ε)", value=value, shared=(values,), slope=lambda: slopes)
    rounds = 8 + min(width, 6 * math.sqrt(width))
    # The kernel adds up squares, which may be more than its type holds.
    squares = width * (variance + middle[:, 0] ** 2)
    size = np.where(squares > _most(x), math.inf, np.abs(value[:, 0]))
    return Opened("1/√(var(x) + ε)", [part], rounds, inner=off / variance, magnitude=size)


def layer_norm_backward(call: Call, at: Index) -> Opened:
    """Open the gradient of a layer norm's input, weight or bias."""
    x, gradient, mean, rstd = call["input"], call["grad_out"], call["mean"], call["rstd"]
    weight = call["weight"]
    inner = _narrow(mean, rstd)
    if call.slot:
        return _weight_gradient(call, at, x, gradient, mean, rstd, inner)
    row, _, across = _across(call, at, x)
    width = across.shape[1]
    place = at % width
    shared = (Factor(rstd, column(row)), Factor(mean, column(row)), Factor(x, across))
    scale, middle, values = (s.values for s in shared)
    normal = (values - middle) * scale
    own = np.take_along_axis(normal, column(place), 1)
    same = np.arange(width) == column(place)
    coefficient = scale * (same - (1 + own * normal) / width)
    factors = [Factor(gradient, across, "g")]
    if weight is not None:
        factors.append(Factor(weight, np.arange(width).reshape(1, -1), "γ"))
    part = Part("rstd·(δ − (1 + x̂[j]·x̂[k])/D)·γ[k]·g[k]", tuple(factors), coefficient, shared)
    size = np.abs(factors[0].values * (factors[1].values if weight is not None else 1.0))
    wide = (scale * (same + (1 + np.abs(own * normal)) / width) * size).sum(1)
    rounds = 8 + 2 * min(width, 6 * math.sqrt(width))
    return Opened(
        "rstd·(γ[j]·g[j] − Σₖ γ[k]·g[k]·(1 + x̂[j]·x̂[k]) / D)",
        [part],
        absolute=wide * accuracy(call) * rounds,
        inner=inner,
    )


def _weight_gradient(
    call: Call, at: Index, x: Ref, gradient: Ref, mean: Ref, rstd: Ref, inner: float
) -> Opened:
    width = math.prod(call["normalized_shape"])
    rows = np.arange(x.numel // width).reshape(1, -1)
    where = rows * width + column(at)
    arriving = Factor(gradient, where, "g")
    # This sum is kept in the weight's own type, or in the gradient's where that is narrower.
    unit = max(UNIT.get(call.output.dtype, 0.0), UNIT.get(gradient.dtype, 0.0))
    if call.slot == 2:
        return Opened("Σₙ g[n, j]", [product("g[n,j]", arriving)], unit=unit)
    shared = (Factor(x, where), Factor(mean, rows), Factor(rstd, rows))
    values, middle, scale = (s.values for s in shared)
    part = Part("x̂[n,j]·g[n,j]", (arriving,), (values - middle) * scale, shared)
    wide = (np.abs(arriving.values) * (np.abs(values) + np.abs(middle)) * scale).sum(1)
    return Opened(
        "Σₙ g[n,j]·(x[n,j] − mean[n])·rstd[n]",
        [part],
        roundings=1,
        unit=unit,
        absolute=wide * accuracy(call) * 4,
        inner=inner,
    )


def rms_norm(call: Call, at: Index) -> Opened:
    """Open γ·x·rstd, or 1/√(mean(x²) + ε)."""
    x: Ref = call["input"]
    width = math.prod(call["normalized_shape"])
    if call.slot:
        values = Factor(x, column(at) * width + np.arange(width))
        eps = call["eps"] if call["eps"] is not None else torch.finfo(x.dtype).eps
        mean = (values.values**2).mean(1)
        mean = np.where(mean * width > _most(x), math.inf, mean)  # the kernel adds up squares
        value = 1 / np.sqrt(mean + eps)
        slopes = -column_values(value**3) * values.values / width
        part = Part(
            "1/√(mean(x²) + ε)", value=column_values(value), shared=(values,), slope=lambda: slopes
        )
        return Opened("1/√(Σₖ x[k]²/D + ε)", [part], 8 + min(width, 6 * math.sqrt(width)))
    row, place = np.divmod(at, width)
    rstd = call.outputs[1]
    assert rstd is not None
    factors = [Factor(x, column(at)), Factor(rstd, column(row))]
    if call["weight"] is not None:
        factors.append(Factor(call["weight"], column(place)))
    return Opened("γ·rstd·x", [product("γ·rstd·x", *factors)], roundings=4, inner=_narrow(rstd))


def rms_norm_backward(call: Call, at: Index) -> Opened:
    """Open the gradient of an RMS norm's input or weight."""
    x, gradient, rstd, weight = call["input"], call["grad_out"], call["rstd"], call["weight"]
    width = math.prod(call["normalized_shape"])
    if call.slot:
        rows = np.arange(x.numel // width).reshape(1, -1)
        where = rows * width + column(at)
        factors = (Factor(gradient, where), Factor(x, where), Factor(rstd, rows))
        return Opened("Σₙ g·x·rstd", [product("g[n,j]·x[n,j]·rstd[n]", *factors)], 4)
    row, place = np.divmod(at, width)
    across = column(row) * width + np.arange(width)
    shared = (Factor(rstd, column(row)), Factor(x, across))
    scale, values = (s.values for s in shared)
    normal = values * scale
    own = np.take_along_axis(normal, column(place), 1)
    same = np.arange(width) == column(place)
    factors = [Factor(gradient, across, "g")]
    if weight is not None:
        factors.append(Factor(weight, np.arange(width).reshape(1, -1), "γ"))
    coefficient = scale * (same - own * normal / width)
    part = Part("rstd·(δ − x̂[j]·x̂[k]/D)·γ[k]·g[k]", tuple(factors), coefficient, shared)
    size = np.abs(factors[0].values * (factors[1].values if weight is not None else 1.0))
    wide = (scale * (same + np.abs(own * normal) / width) * size).sum(1)
    rounds = 8 + 2 * min(width, 6 * math.sqrt(width))
    return Opened(
        "rstd·(γ[j]·g[j] − x̂[j]·Σₖ γ[k]·g[k]·x̂[k] / D)",
        [part],
        absolute=wide * accuracy(call) * rounds,
    )


RULES: dict[str, Rule] = {
    "native_layer_norm": layer_norm,
    "native_layer_norm_backward": layer_norm_backward,
    "_fused_rms_norm": rms_norm,
    "_fused_rms_norm_backward": rms_norm_backward,
}

SCHEMAS = {
    "native_layer_norm": (
        "(Tensor input, SymInt[] normalized_shape, Tensor? weight, Tensor? bias, float eps)"
        " -> (Tensor, Tensor, Tensor)"
    ),
    "native_layer_norm_backward": (
        "(Tensor grad_out, Tensor input, SymInt[] normalized_shape, Tensor mean, Tensor rstd, "
        "Tensor? weight, Tensor? bias, bool[3] output_mask) -> (Tensor, Tensor, Tensor)"
    ),
}
