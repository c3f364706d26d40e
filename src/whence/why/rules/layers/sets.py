"""Batch norm and group norm, forward and backward: numbers normalised by their set's statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.positions import column, column_values
from whence.why.rules.forms.rounding import accuracy
from whence.why.rules.layers.norm import _narrow as narrow
from whence.why.rules.opening import Factor, Opened, Part, Rule


@dataclass(slots=True)
class Sets:
    """Which elements of x [N, C, …] are normalised together.

    Attributes:
        N: examples.
        C: channels.
        S: places in each.
        groups: into how many sets an example's channels fall; 0 where a channel of all examples is
            one set.
    """

    N: int
    C: int
    S: int
    groups: int

    @classmethod
    def of(cls, call: Call) -> Sets:
        """Read it off a call."""
        size = call["input"].size
        return cls(size[0], size[1], math.prod(size[2:]), call.get("group") or 0)

    def channel(self, at: Index) -> Index:
        """The channel of each element."""
        return at // self.S % self.C

    def which(self, at: Index) -> Index:
        """The set of each element."""
        channel = self.channel(at)
        if not self.groups:
            return channel
        return at // (self.C * self.S) * self.groups + channel // (self.C // self.groups)

    def members(self, which: Index) -> Index:
        """[m] sets → [m, n] elements."""
        if not self.groups:
            return self.of_channel(which)
        width = self.C // self.groups * self.S
        return column(which) * width + np.arange(width)

    def of_channel(self, channel: Index) -> Index:
        """[m] channels → [m, N·S] elements."""
        n, s = np.indices((self.N, self.S)).reshape(2, 1, -1)
        return (n * self.C + column(channel)) * self.S + s


def _scale(call: Call, which: Index) -> tuple[Factor, np.ndarray]:
    """What elements are multiplied by: a set's 1/√(var + ε), kept or made of the running one."""
    if call.get("training", call.get("train")) is False:
        running = Factor(call["running_var"], which, "var")
        return running, 1 / np.sqrt(running.values + float(call["eps"]))
    factor = Factor(_kept_by(call, "save_invstd", "rstd", 2), which, "rstd")
    return factor, factor.values


def _kept_by(call: Call, batch: str, group: str, slot: int) -> Ref:
    """A statistic: read by the backward pass, made by the forward pass."""
    read = call.get(batch, call.get(group))
    kept = call.outputs[slot] if read is None else read
    assert kept is not None
    return kept


def _middle(call: Call, which: Index) -> Factor:
    if call.get("training", call.get("train")) is False:
        return Factor(call["running_mean"], which, "mean")
    return Factor(_kept_by(call, "save_mean", "mean", 1), which, "mean")


def normalised(call: Call, at: Index) -> Opened:
    """Open γ·(x − mean)·rstd + β, or the statistics."""
    sets = Sets.of(call)
    if call.slot in (1, 2):
        return _statistics(call, at, sets)
    if call.slot:
        return _running(call, at, sets)
    which, channel = column(sets.which(at)), column(sets.channel(at))
    (scale, rstd), middle = _scale(call, which), _middle(call, which)
    weight = () if call["weight"] is None else (Factor(call["weight"], channel, "γ"),)
    parts = [
        product("γ·rstd·x", Factor(call["input"], column(at), "x"), *weight, coefficient=rstd),
        product("−γ·rstd·mean", middle, *weight, coefficient=-rstd),
    ]
    for part in parts:
        part.shared = (scale,)
    if call["bias"] is not None:
        parts.append(product("β", Factor(call["bias"], channel, "β")))
    formula = "γ·(x − mean)·rstd" + (" + β" if call["bias"] is not None else "")
    return Opened(formula, parts, roundings=8, inner=narrow(*_kept(middle, scale)))


def _kept(*factors: Factor) -> list[Ref]:
    return [f.cells for f in factors if isinstance(f.cells, Ref)]


def _statistics(call: Call, at: Index, sets: Sets) -> Opened:
    values = Factor(call["input"], sets.members(at), "x")
    n = values.at.shape[1]
    unit = accuracy(call)
    middle = values.values.mean(1)
    if call.slot == 1:
        return Opened(f"Σₖ x[k] / {n}", [product("x[k] / n", values, coefficient=1 / n)], 4)
    spread = values.values.var(1) + float(call["eps"])
    part = Part("1/√(var + ε)", value=column_values(1 / np.sqrt(spread)), shared=(values,))
    # The kernel's mean is off by some roundings of the terms; what it takes off isn't the middle.
    off = (unit * np.abs(middle) * 8) ** 2 + 8 * unit * np.abs(middle) * np.sqrt(spread)
    if sets.groups:  # group norm takes the square of the mean off the mean of the squares
        off = off + 8 * unit * (middle**2)
    rounds, rough = 8 + min(n, 6 * math.sqrt(n)), narrow(call.output)
    off = (off + (rough * middle) ** 2) / spread + rough / 2
    return Opened("1/√(var(x) + ε)", [part], rounds, inner=off)


def _running(call: Call, at: Index, sets: Sets) -> Opened:
    """Open (1 − m)·r + m·(this batch's mean or variance); unchanged outside of training."""
    second = call.slot == 4
    past = Factor(call["running_var" if second else "running_mean"], column(at), "r")
    if not call["training"]:
        return Opened("r, unchanged", [product("r", past)], exact=True)
    m, n = float(call["momentum"]), sets.N * sets.S
    old = product(f"{1 - m:g}·r", 1 - m, past)
    if not second:
        assert call.outputs[1] is not None
        now = Factor(call.outputs[1], column(at), "mean")
        new = product(f"{m:g}·mean", m, now)
        inner = narrow(call.output, *_kept(now))
        slack = _rest(call, past)
        return Opened("(1 − m)·r + m·mean", [old, new], 4, inner=inner, absolute=slack)
    values = Factor(call["input"], sets.members(at), "x")
    middle = values.values.mean(1, keepdims=True)
    off, share = values.values - middle, m / max(n - 1, 1)
    new = Part(f"{m:g}·(x[k] − mean)²/(n−1)", (values,), share * off, value=share * off**2)
    # The mean is itself rounded: an error of it counts twice the distance, which adds to nothing.
    slack = (accuracy(call) * middle[:, 0] * 8) ** 2 * n * share
    slack = slack + accuracy(call) * 8 * (np.abs(values.values) * np.abs(off)).sum(1) * share
    inner = narrow(call.output, *_kept(past))
    slack = slack + (inner * middle[:, 0]) ** 2 * n * share + _rest(call, past)
    return Opened("(1 − m)·r + m·var", [old, new], roundings=8, absolute=slack, inner=inner)


def _rest(call: Call, past: Factor) -> np.ndarray:
    """Error of 1 − m, which the kernel takes in the type that it works in."""
    return 2 * max(narrow(call.output), accuracy(call)) * np.abs(past.values[:, 0])


def normalised_backward(call: Call, at: Index) -> Opened:
    """Open the gradient of the input, of γ or of β."""
    sets = Sets.of(call)
    x, gradient = call["input"], call["grad_out"]
    if call.slot:
        return _weight_gradient(call, at, sets)
    which = sets.which(at)
    weight = call["weight"]
    scale, rstd = _scale(call, column(which))
    if call.get("train") is False:
        channel = column(sets.channel(at))
        factors = [Factor(gradient, column(at), "g")]
        factors += [] if weight is None else [Factor(weight, channel, "γ")]
        part = Part("γ·rstd·g", tuple(factors), rstd, (scale,))
        return Opened("γ·rstd·g", [part], roundings=6)
    across = sets.members(which)
    middle = _middle(call, column(which))
    values = Factor(x, across, "x")
    normal = (values.values - middle.values) * rstd
    same = across == column(at)
    own = (normal * same).sum(1, keepdims=True)
    n = across.shape[1]
    factors = [Factor(gradient, across, "g")]
    if weight is not None:
        factors.append(Factor(weight, sets.channel(across), "γ"))
    size = np.abs(factors[0].values * (factors[1].values if weight is not None else 1.0))
    coefficient = rstd * (same - (1 + own * normal) / n)
    symbol = "rstd·(δ − (1 + x̂[j]·x̂[k])/n)·γ[k]·g[k]"
    part = Part(symbol, tuple(factors), coefficient, (scale, middle, values))
    wide = (rstd * (same + (1 + np.abs(own * normal)) / n) * size).sum(1)
    rounds = 12 + min(n, 6 * math.sqrt(n))
    return Opened(
        "rstd·(γ·g[j] − Σₖ γ·g[k]·(1 + x̂[j]·x̂[k]) / n)",
        [part],
        absolute=wide * accuracy(call) * rounds,
        inner=narrow(*_kept(scale, middle)),
    )


def _weight_gradient(call: Call, at: Index, sets: Sets) -> Opened:
    across = sets.of_channel(at)
    arriving = Factor(call["grad_out"], across, "g")
    if call.slot == 2:
        return Opened("Σₙ g[n]", [product("g[n]", arriving)], 4)
    which = sets.which(across)
    (scale, rstd), middle = _scale(call, which), _middle(call, which)
    values = Factor(call["input"], across, "x")
    shared = (values, middle, scale)
    part = Part("x̂[n]·g[n]", (arriving,), (values.values - middle.values) * rstd, shared)
    wide = np.abs(arriving.values) * (np.abs(values.values) + np.abs(middle.values)) * rstd
    rounds = 4 + min(across.shape[1], 6 * math.sqrt(across.shape[1]))
    slack = wide.sum(1) * accuracy(call) * rounds
    return Opened("Σₙ g[n]·(x[n] − mean)·rstd", [part], 4, absolute=slack)


RULES: dict[str, Rule] = {
    "native_batch_norm": normalised,
    "_native_batch_norm_legit": normalised,
    "native_batch_norm_backward": normalised_backward,
    "native_group_norm": normalised,
    "native_group_norm_backward": normalised_backward,
}
