"""Softmax, log-softmax and the losses, with their backward passes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import number, product
from whence.why.rules.elements.functions import evaluate, slope
from whence.why.rules.forms.positions import (
    broadcast,
    column,
    column_values,
    coordinates,
    operand,
    position,
)
from whence.why.rules.forms.rounding import accuracy, narrow
from whence.why.rules.opening import UNIT, Factor, Opened, Part, Rule

NONE, MEAN, SUM = range(3)


def _line(ref: Ref, at: Index, dim: int) -> tuple[Index, np.ndarray]:
    """Positions along `dim` through each element, [m, n], and which of them is the element."""
    rank = max(len(ref.size), 1)
    size = ref.size or (1,)
    where = [column(c) for c in coordinates(at, size)]
    own = where[dim % rank]
    where[dim % rank] = np.arange(size[dim % rank]).reshape(1, -1)
    return position(where, size), own


def _exp_roundings(n: int) -> float:
    """Roundings of a vectorised exponential (up to 20) and of the sum under it."""
    return 24 + min(n, 6 * math.sqrt(n))


def softmax(call: Call, at: Index) -> Opened:
    """Open e^x[i] / Σₖ e^x[k]."""
    x: Ref = call["self"]
    across, own = _line(x, at, call["dim"])
    values = Factor(x, across, "x")
    top = values.values.max(1, keepdims=True)
    powers = np.exp(values.values - np.where(top == -np.inf, 0.0, top))
    shares = powers / powers.sum(1, keepdims=True)
    value = np.take_along_axis(shares, own, 1)
    same = np.arange(across.shape[1]) == own
    part = Part(
        "e^x[i] / Σₖ e^x[k]", value=value, shared=(values,), slope=lambda: value * (same - shares)
    )
    distance = np.abs(np.take_along_axis(values.values, own, 1) - top)[:, 0]
    slack = accuracy(call) * np.where(np.isfinite(distance), distance, 0.0)
    n = across.shape[1]
    slack = slack + narrow(call) / 2  # the powers, where they are kept in the narrower types
    return Opened("e^x[i] / Σₖ e^x[k]", [part], _exp_roundings(n), inner=slack)


def softmax_backward(call: Call, at: Index) -> Opened:
    """Open y[i]·(g[i] − Σₖ g[k]·y[k]): the sum over k of y[i]·(δ − y[k])·g[k]."""
    y: Ref = call["output"]
    across, own = _line(y, at, call["dim"])
    arriving, shares = Factor(call["grad_output"], across, "g"), Factor(y, across, "y")
    mine = np.take_along_axis(shares.values, own, 1)
    same = np.arange(across.shape[1]) == own
    coefficient = mine * (same - shares.values)
    part = Part("y[i]·(δ − y[k])·g[k]", (arriving,), coefficient, (shares,))
    wide = (mine * (same + shares.values) * np.abs(arriving.values)).sum(1)
    rounds = 6 + min(across.shape[1], 6 * math.sqrt(across.shape[1]))
    return Opened("y[i]·(g[i] − Σₖ g[k]·y[k])", [part], absolute=wide * accuracy(call) * rounds)


def log_softmax(call: Call, at: Index) -> Opened:
    """Open x[i] − ln Σₖ e^x[k]."""
    x: Ref = call["self"]
    across, own = _line(x, at, call["dim"])
    values = Factor(x, across, "x")
    top = values.values.max(1, keepdims=True)
    rest = np.log(np.exp(values.values - top).sum(1, keepdims=True)) + top
    mine = Factor(x, np.take_along_axis(across, own, 1))
    shares = np.exp(values.values - rest)
    sums = Part("−ln Σₖ e^x[k]", value=-rest, shared=(values,), slope=lambda: -shares)
    parts = [product("x[i]", mine), sums]
    slack = accuracy(call) * (_exp_roundings(across.shape[1]) + 2 * np.abs(top[:, 0]))
    if UNIT[x.dtype] > accuracy(call):  # in the narrower types the logarithm is rounded to them
        slack = slack + UNIT[x.dtype] * (1.5 * np.abs(rest[:, 0]) + np.abs(top[:, 0]))
    return Opened("x[i] − ln Σₖ e^x[k]", parts, roundings=4, absolute=slack)


def log_softmax_backward(call: Call, at: Index) -> Opened:
    """Open g[i] − e^y[i]·Σₖ g[k]: the sum over k of (δ − e^y[i])·g[k]."""
    y: Ref = call["output"]
    across, own = _line(y, at, call["dim"])
    arriving = Factor(call["grad_output"], across, "g")
    mine = Factor(y, column(at), "y")
    probability = np.exp(mine.values)
    same = np.arange(across.shape[1]) == own
    part = Part("(δ − P[i])·g[k]", (arriving,), same - probability, (mine,))
    wide = ((same + probability) * np.abs(arriving.values)).sum(1)
    rounds = _exp_roundings(across.shape[1]) + np.abs(mine.values[:, 0])
    return Opened("g[i] − e^y[i]·Σₖ g[k]", [part], absolute=wide * accuracy(call) * rounds)


def _targets(call: Call) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the targets [n], which of them count, and the weight of each."""
    target: Ref = call["target"]
    classes = target.gather(np.arange(target.numel)).astype(np.int64)
    counts = classes != call["ignore_index"]
    weight: Ref | None = call["weight"]
    weights = (
        np.ones(classes.size) if weight is None else weight.gather(np.where(counts, classes, 0))
    )
    return np.where(counts, classes, 0), counts, weights * counts


def nll_loss(call: Call, at: Index) -> Opened:
    """Open −Σₙ w·x[n, target] / Σ w, or the Σ w it is divided by."""
    x: Ref = call["self"]
    classes, counts, weights = _targets(call)
    if call.slot:
        if call["reduction"] == NONE:
            return Opened("0, for nothing is divided", [Part("0", value=np.zeros((1, 1)))])
        part = Part("w[n]", value=weights.reshape(1, -1))
        return Opened("Σₙ w[n]", [part])
    width = x.size[-1]
    rows = np.arange(classes.size)
    picked = Factor(x, (rows * width + classes).reshape(1, -1), "x")
    if call["reduction"] == NONE:
        picked.at = column(rows[at] * width + classes[at])
        weight = column_values(-weights[at])
        return Opened("−w·x[n, target]", [product("−w·x[n, target]", picked, coefficient=weight)])
    whole = weights.sum() if call["reduction"] == MEAN else 1.0
    coefficient = (-weights / whole).reshape(1, -1)
    part = Part("−x[n, target[n]] / N", (picked,), coefficient, valid=counts.reshape(1, -1))
    return Opened("−Σₙ x[n, target[n]] / N", [part], roundings=3, unit=UNIT.get(x.dtype))


def nll_loss_backward(call: Call, at: Index) -> Opened:
    """Open −g·w / N at the target, 0 at every other class."""
    classes, counts, weights = _targets(call)
    width = call["self"].size[-1]
    row, place = np.divmod(at, width)
    hit = ((place == classes[row]) & counts[row]).reshape(-1, 1)
    whole = weights.sum() if call["reduction"] == MEAN else 1.0
    each = column(row) if call["reduction"] == NONE else np.zeros((len(at), 1), dtype=np.int64)
    part = Part(
        "−g / N", (Factor(call["grad_output"], each, "g"),), column_values(-weights[row] / whole),
        valid=hit,
    )  # fmt: skip
    return Opened("−g / N at the target, else 0", [part], roundings=2)


def _squared(x: Tensor, y: Tensor) -> Tensor:
    return (x - y) ** 2


def _absolute(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs()


def _smooth(x: Tensor, y: Tensor, beta: Tensor) -> Tensor:
    return F.smooth_l1_loss(x, y, reduction="none", beta=float(beta))


def _huber(x: Tensor, y: Tensor, delta: Tensor) -> Tensor:
    return F.huber_loss(x, y, reduction="none", delta=float(delta))


def _soft_margin(x: Tensor, y: Tensor) -> Tensor:
    return torch.log1p(torch.exp(-y * x))


def _binary(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return weight * F.binary_cross_entropy(x, y, reduction="none")


def _binary_logits(x: Tensor, y: Tensor, weight: Tensor, positive: Tensor) -> Tensor:
    raised = 1 + (positive - 1) * y  # weighs what is true
    return weight * ((1 - y) * x + raised * (F.softplus(-x.abs()) + F.relu(-x)))


def _compared(call: Call, at: Index | None, names: tuple[str, ...]) -> list[Factor | float]:
    """A loss's operands at some elements, or at all of them; a weight that isn't given is 1."""
    x: Ref = call["self"]
    found: list[Factor | float] = []
    for name in names:
        value = call.get(name)
        if isinstance(value, Ref):
            every = np.arange(x.numel) if at is None else at
            where = broadcast(every, x.size, value)
            found.append(Factor(value, where.reshape(1, -1) if at is None else column(where)))
        else:
            found.append(1.0 if value is None else float(value))
    return found


def _cancelling(call: Call, factors: list[Factor | float], options: tuple[str, ...]) -> np.ndarray:
    """What a loss of logits leaves of a rounding of x, in the narrower types: its parts cancel."""
    if "pos_weight" not in options:
        return np.zeros(1)
    x, _, weight, positive = (np.abs(number(f)) for f in factors)
    size = (x + 1) * weight * np.maximum(positive, 1)
    return 2 * narrow(call) * size.mean(1)


def pointwise_loss(symbol: str, formula: Any, *options: str) -> Rule:
    """Make the rule of a loss that compares element by element, and then adds up or averages.

    Args:
        symbol: one element's loss in symbols.
        formula: the same on tensors.
        options: what it takes beside prediction and target.
    """

    def opened(call: Call, at: Index) -> Opened:
        reduce, x = call["reduction"], call["self"]
        factors = _compared(call, at if reduce == NONE else None, ("self", "target", *options))
        values = evaluate(formula, *(number(f) for f in factors))
        if reduce == MEAN:
            values = values / x.numel
        shared = tuple(f for f in factors if isinstance(f, Factor))
        # Each element's error is some roundings of 1 or of itself.
        extra = 4 * accuracy(call) * np.abs(number(factors[2]) if options else 1.0)
        extra = np.broadcast_to(extra, values.shape).mean(1) * (1 if reduce != SUM else x.numel)
        extra = extra + _cancelling(call, factors, options) * (1 if reduce != SUM else x.numel)
        over = " / n" if reduce == MEAN else ""
        words = symbol if reduce == NONE else f"Σ {symbol}{over}"
        part = Part(symbol + over, value=values, shared=shared)
        return Opened(words, [part], 24, inner=narrow(call), absolute=extra)

    return opened


def pointwise_loss_backward(symbol: str, formula: Any, *options: str) -> Rule:
    """Make the rule of such a loss's backward pass: g · slope (/ n)."""

    def opened(call: Call, at: Index) -> Opened:
        x: Ref = call["self"]
        factors = _compared(call, at, ("self", "target", *options))
        local = slope(formula, *(number(f) for f in factors))
        if call["reduction"] == MEAN:
            local = local / x.numel
        arriving = operand(call, "grad_output", at)
        assert isinstance(arriving, Factor)
        shared = tuple(f for f in factors if isinstance(f, Factor))
        over = " / n" if call["reduction"] == MEAN else ""
        part = Part(f"g·{symbol}{over}", (arriving,), local, shared)
        wide = 4 * accuracy(call) * np.abs(arriving.values * (1 if not over else 1 / x.numel))
        return Opened(
            f"g·{symbol}{over}", [part], 16, inner=3 * narrow(call), absolute=wide.reshape(-1)
        )

    return opened


RULES: dict[str, Rule] = {
    "_softmax": softmax,
    "_safe_softmax": softmax,
    "_softmax_backward_data": softmax_backward,
    "_log_softmax": log_softmax,
    "_log_softmax_backward_data": log_softmax_backward,
    "nll_loss_forward": nll_loss,
    "nll_loss_backward": nll_loss_backward,
    "mse_loss": pointwise_loss("(x − y)²", _squared),
    "mse_loss_backward": pointwise_loss_backward("2·(x − y)", _squared),
    "l1_loss": pointwise_loss("|x − y|", _absolute),
    "binary_cross_entropy": pointwise_loss("w·(−y·ln x − (1−y)·ln(1−x))", _binary, "weight"),
    "binary_cross_entropy_backward": pointwise_loss_backward(
        "w·(x − y)/(x·(1−x))", _binary, "weight"
    ),
    "binary_cross_entropy_with_logits": pointwise_loss(
        "w·(ln(1+e^x) − y·x)", _binary_logits, "weight", "pos_weight"
    ),
    "smooth_l1_loss": pointwise_loss("(x−y)²/2β near, |x−y| − β/2 far", _smooth, "beta"),
    "smooth_l1_loss_backward": pointwise_loss_backward("(x−y)/β near, ±1 far", _smooth, "beta"),
    "huber_loss": pointwise_loss("(x−y)²/2 near, δ·(|x−y| − δ/2) far", _huber, "delta"),
    "huber_loss_backward": pointwise_loss_backward("x−y near, ±δ far", _huber, "delta"),
    "soft_margin_loss": pointwise_loss("ln(1 + e^−y·x)", _soft_margin),
    "soft_margin_loss_backward": pointwise_loss_backward("−y/(1 + e^y·x)", _soft_margin),
}
