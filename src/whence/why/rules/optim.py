"""Fused optimisers: one kernel that moves a parameter and its moments."""

from __future__ import annotations

import math

import numpy as np

from whence.errors import WhenceError
from whence.why.opening import Factor, Opened, Part, Rule
from whence.why.rules.elementwise import accuracy, product
from whence.why.rules.positions import column
from whence.why.storage import Index, Ref
from whence.why.tape import Call


def _rate(call: Call) -> float:
    rate = call["lr"]
    return float(rate.gather(np.array([0]))[0]) if isinstance(rate, Ref) else float(rate)


def _step(call: Call) -> float:
    return float(call["state_steps"].gather(np.array([0]))[0])


def adam(call: Call, at: Index) -> Opened:
    """Open a fused Adam or AdamW: the parameter, its m or its v."""
    if call.get("grad_scale") is not None or call["amsgrad"]:
        raise WhenceError(
            f"{call.op.func} ran with grad_scale or amsgrad, for which its rule was not written: "
            "its numbers cannot be opened."
        )
    here = column(at)
    old, gradient = Factor(call["self"], here, "θ"), Factor(call["grads"], here, "g")
    sign = -1.0 if call["maximize"] else 1.0
    decay, rate = float(call["weight_decay"]), _rate(call)
    coupled = decay if call.name == "_fused_adam" else 0.0  # Adam adds the decay to the gradient
    if call.slot == 1:
        return _mean(call, gradient, old, sign, coupled, here)
    if call.slot == 2:
        return _square(call, gradient, old, sign, coupled, here)
    _, mean, square = call.outputs[:3]
    assert mean is not None
    assert square is not None
    b1, b2, t = float(call["beta1"]), float(call["beta2"]), _step(call)
    shared = Factor(square, here, "v")
    denominator = np.sqrt(shared.values) / math.sqrt(1 - b2**t) + float(call["eps"])
    moved = Factor(mean, here, "m")
    coefficient = -rate / (1 - b1**t) / denominator
    parts = [product("θ", old)]
    words = "θ"
    if decay and not coupled:
        parts.append(product(f"−{rate:g}·{decay:g}·θ", old, coefficient=-rate * decay))
        words += " − η·λ·θ"
    parts.append(product("−η·m̂ / (√v̂ + ε)", moved, coefficient=coefficient, shared=(shared,)))
    notes = [f"η = {rate:g}, t = {t:g}, 1 − β₁ᵗ = {1 - b1**t:.6g}, 1 − β₂ᵗ = {1 - b2**t:.6g}"]
    return Opened(words + " − η·m̂ / (√v̂ + ε)", parts, roundings=10, notes=notes)


def _mean(
    call: Call, gradient: Factor, old: Factor, sign: float, decay: float, here: Index
) -> Opened:
    b1 = float(call["beta1"])
    past = Factor(call["exp_avgs"], here, "m")
    parts = [product(f"{b1:g}·m", b1, past), product(f"{1 - b1:g}·g", sign * (1 - b1), gradient)]
    if decay:
        parts.append(product("(1 − β₁)·λ·θ", (1 - b1) * decay, old))
    slack = 4 * accuracy(call) * (np.abs(past.values) + np.abs(gradient.values)).reshape(-1)
    return Opened("β₁·m + (1 − β₁)·g", parts, roundings=4, absolute=slack)


def _square(
    call: Call, gradient: Factor, old: Factor, sign: float, decay: float, here: Index
) -> Opened:
    b2 = float(call["beta2"])
    past = Factor(call["exp_avg_sqs"], here, "v")
    whole = sign * gradient.values + decay * old.values
    parts = [
        product(f"{b2:g}·v", b2, past),
        Part(f"{1 - b2:g}·g²", (gradient,), sign * (1 - b2) * whole, value=(1 - b2) * whole**2),
    ]
    return Opened("β₂·v + (1 − β₂)·g²", parts, roundings=6)


def descent(call: Call, at: Index) -> Opened:
    """Open a fused SGD: the parameter or its momentum."""
    if call.get("grad_scale") is not None:
        raise WhenceError(
            f"{call.op.func} ran with grad_scale, for which its rule was not written: its numbers "
            "cannot be opened."
        )
    here = column(at)
    old, gradient = Factor(call["self"], here, "θ"), Factor(call["grads"], here, "g")
    sign = -1.0 if call["maximize"] else 1.0
    decay, momentum, rate = float(call["weight_decay"]), float(call["momentum"]), _rate(call)
    buffers = call["momentum_buffer_list"]
    past = buffers if isinstance(buffers, Ref) else None
    damped = 1.0 if call["is_first_step"] else 1 - float(call["dampening"])
    if call.slot == 1:
        assert past is not None
        parts = [product(f"{damped:g}·g", sign * damped, gradient)]
        if decay:
            parts.append(product("λ·θ", damped * decay, old))
        if not call["is_first_step"]:
            parts.insert(0, product(f"{momentum:g}·b", momentum, Factor(past, here, "b")))
        return Opened("μ·b + g + λ·θ", parts, roundings=4)
    parts = [product("θ", old)]
    plain = momentum == 0 or call["nesterov"]
    if plain:
        parts.append(product(f"−{rate:g}·g", -rate * sign, gradient))
        if decay:
            parts.append(product(f"−{rate:g}·{decay:g}·θ", -rate * decay, old))
    if momentum:
        moved = call.outputs[1]
        assert moved is not None
        scale = momentum if call["nesterov"] else 1.0
        parts.append(product(f"−{rate:g}·b", -rate * scale, Factor(moved, here, "b")))
    return Opened("θ − η·g" if plain and not momentum else "θ − η·b", parts, roundings=6)


RULES: dict[str, Rule] = {"_fused_adamw": adam, "_fused_adam": adam, "_fused_sgd": descent}

_ADAM = (
    "(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] exp_avgs, Tensor(d!)[] exp_avg_sqs, "
    "Tensor(e!)[] max_exp_avg_sqs, Tensor[] state_steps, *, float lr, float beta1, float beta2, "
    "float weight_decay, float eps, bool amsgrad, bool maximize, Tensor? grad_scale=None, "
    "Tensor? found_inf=None) -> ()"
)
_SGD = (
    "(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] momentum_buffer_list, *, "
    "float weight_decay, float momentum, float lr, float dampening, bool nesterov, bool maximize, "
    "bool is_first_step, Tensor? grad_scale=None, Tensor? found_inf=None) -> ()"
)
SCHEMAS = {"_fused_adamw": _ADAM, "_fused_adam": _ADAM, "_fused_sgd": _SGD}
