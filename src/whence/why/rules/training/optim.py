"""Fused optimizers: one kernel that moves a parameter and its moments."""

from __future__ import annotations

import math

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, written
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.positions import column
from whence.why.rules.forms.rounding import accuracy, narrow
from whence.why.rules.opening import Factor, Opened, Part, Rule


def _rate(call: Call) -> float:
    rate = call["lr"]
    return float(rate.gather(np.array([0]))[0]) if isinstance(rate, Ref) else float(rate)


def _step(call: Call) -> float:
    return float(call["state_steps"].gather(np.array([0]))[0])


def adam(call: Call, at: Index) -> Opened:
    """Open a fused Adam or AdamW: the parameter, its m or its v."""
    here = column(at)
    old, gradient = Factor(call["self"], here, "θ"), Factor(call["grads"], here, "g")
    if _skipped(call):
        return _unchanged(call, here)
    sign = (-1.0 if call["maximize"] else 1.0) / _scale(call)
    decay, rate = float(call["weight_decay"]), _rate(call)
    coupled = decay if call.name == "_fused_adam" else 0.0  # Adam adds the decay to the gradient
    moved_to = _written(call)
    if moved_to == "grads":
        return _unscaled(call, here)
    if moved_to == "exp_avgs":
        return _mean(call, gradient, old, sign, coupled, here)
    if moved_to == "exp_avg_sqs":
        return _square(call, gradient, old, sign, coupled, here)
    if moved_to == "max_exp_avg_sqs":
        return _largest(call, here)
    mean = _now(call, "exp_avgs")
    square = _now(call, "max_exp_avg_sqs" if call["amsgrad"] else "exp_avg_sqs")
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
    own = narrow(call)  # of parameters narrower than float32, the step is rounded like them
    slack = 2 * own * np.abs(coefficient * moved.values)[:, 0]
    notes = [f"η = {rate:g}, t = {t:g}, 1 − β₁ᵗ = {1 - b1**t:.6g}, 1 − β₂ᵗ = {1 - b2**t:.6g}"]
    formula = words + " − η·m̂ / (√v̂ + ε)"
    return Opened(formula, parts, roundings=10, absolute=slack, notes=notes)


def _written(call: Call) -> str:
    """Which of its arguments the kernel wrote as this output."""
    scaled = call.get("grad_scale") is not None
    names = [name for _, name in written(call.op.func, scaled)]
    there = [n for n in names if isinstance(call[n], Ref)]
    return there[call.slot]


def _now(call: Call, argument: str) -> Ref:
    """What an argument held after the kernel wrote it."""
    scaled = call.get("grad_scale") is not None
    names = [name for _, name in written(call.op.func, scaled)]
    there = [n for n in names if isinstance(call[n], Ref)]
    found = call.outputs[there.index(argument)]
    assert found is not None
    return found


def _unscaled(call: Call, here: Index) -> Opened:
    """Open g / scale, which the kernel leaves in the gradient's place."""
    gradient = Factor(call["grads"], here, "g")
    return Opened("g / scale", [product("g / scale", gradient, 1 / _scale(call))], roundings=2)


def _scale(call: Call) -> float:
    """What the gradients were multiplied by, and the kernel divides them by."""
    scale = call.get("grad_scale")
    return float(scale.gather(np.array([0]))[0]) if isinstance(scale, Ref) else 1.0


def _skipped(call: Call) -> bool:
    """Whether the kernel left everything as it was, for a gradient that isn't finite."""
    found = call.get("found_inf")
    return isinstance(found, Ref) and float(found.gather(np.array([0]))[0]) == 1


def _unchanged(call: Call, here: Index) -> Opened:
    if (name := _written(call)) == "grads":
        return _unscaled(call, here)
    words = "unchanged, because a gradient isn't finite"
    return Opened(words, [product(words, Factor(call[name], here))], exact=True)


def _largest(call: Call, here: Index) -> Opened:
    """Open max(v̂, v), which amsgrad divides by."""
    past = Factor(call["max_exp_avg_sqs"], here, "max v")
    now = Factor(_now(call, "exp_avg_sqs"), here, "v")
    higher = now.values >= past.values
    parts = [Part("v", (now,), valid=higher), Part("max v", (past,), valid=~higher)]
    return Opened("max(v, max v)", parts, exact=True)


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
    here = column(at)
    old, gradient = Factor(call["self"], here, "θ"), Factor(call["grads"], here, "g")
    if _skipped(call):
        return _unchanged(call, here)
    sign = (-1.0 if call["maximize"] else 1.0) / _scale(call)
    decay, momentum, rate = float(call["weight_decay"]), float(call["momentum"]), _rate(call)
    buffers = call["momentum_buffer_list"]
    past = buffers if isinstance(buffers, Ref) else None
    damped = 1.0 if call["is_first_step"] else 1 - float(call["dampening"])
    moved_to = _written(call)
    if moved_to == "grads":
        return _unscaled(call, here)
    if moved_to == "momentum_buffer_list":
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
        moved = _now(call, "momentum_buffer_list")
        scale = momentum if call["nesterov"] else 1.0
        parts.append(product(f"−{rate:g}·b", -rate * scale, Factor(moved, here, "b")))
    return Opened("θ − η·g" if plain and not momentum else "θ − η·b", parts, roundings=6)


def adagrad(call: Call, at: Index) -> Opened:
    """Open a fused Adagrad: the parameter or the sum of squares."""
    here = column(at)
    old, gradient = Factor(call["self"], here, "θ"), Factor(call["grads"], here, "g")
    if _skipped(call):
        return _unchanged(call, here)
    sign, decay = (-1.0 if call["maximize"] else 1.0) / _scale(call), float(call["weight_decay"])
    whole = sign * gradient.values + decay * old.values
    moved_to = _written(call)
    if moved_to == "grads":
        return _unscaled(call, here)
    if moved_to == "state_steps":
        return Opened("t, unchanged", [product("t", Factor(call["state_steps"], here))], exact=True)
    if moved_to == "state_sums":
        past = Factor(call["state_sums"], here, "s")
        parts = [product("s", past), Part("g²", (gradient,), sign * whole, value=whole**2)]
        return Opened("s + g²", parts, roundings=4)
    shared = Factor(_now(call, "state_sums"), here, "s")
    rate = _rate(call) / (1 + (_step(call) - 1) * float(call["lr_decay"]))
    slope = -rate / (np.sqrt(shared.values) + float(call["eps"]))
    parts = [product("θ", old), Part("−η·g/(√s + ε)", (gradient,), slope * sign, (shared,))]
    if decay:
        parts.append(Part("−η·λ·θ/(√s + ε)", (old,), slope * decay, (shared,)))
    slack = 2 * narrow(call) * np.abs(slope * gradient.values)[:, 0]
    return Opened("θ − η·g/(√s + ε)", parts, roundings=8, absolute=slack)


RULES: dict[str, Rule] = {
    "_fused_adamw": adam, "_fused_adam": adam, "_fused_sgd": descent, "_fused_adagrad": adagrad,
}  # fmt: skip

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
