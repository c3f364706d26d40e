"""Activations and elementary functions, and the backward passes of those that have one."""

from __future__ import annotations

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.given import sampled
from whence.why.rules.forms.picks import by_slot
from whence.why.rules.forms.positions import column
from whence.why.rules.forms.rerun import elementwise
from whence.why.rules.opening import Factor, Opened, Rule


def noisy(call: Call, at: Index) -> Opened:
    """Open x·noise, where the noise is 1 above 0 (rrelu in training)."""
    noise = call.outputs[1]
    x = Factor(call["self"], column(at), "x")
    if noise is None or not call["training"]:
        return elementwise("x, or slope·x below 0")(call, at)
    return Opened("x·noise", [product("x·noise", x, Factor(noise, column(at), "noise"))])


_ACTIVATIONS = {
    "celu": "celu(x)",
    "elu": "x, or α·(e^x − 1) below 0",
    "selu": "selu(x)",
    "hardshrink": "x outside ±λ, else 0",
    "softshrink": "x ∓ λ outside ±λ, else 0",
    "hardsigmoid": "clamp(x/6 + 1/2, 0, 1)",
    "hardswish": "x·clamp(x/6 + 1/2, 0, 1)",
    "mish": "x·tanh(ln(1+e^x))",
    "_prelu_kernel": "x, or w·x below 0",
    "threshold": "x above the threshold, else the value",
    "relu6": "clamp(x, 0, 6)",
    "log_sigmoid": "−ln(1+e^−x)",
}

_BACKWARD = {
    "elu_backward": "g·elu'(x)",
    "hardshrink_backward": "g outside ±λ, else 0",
    "softshrink_backward": "g outside ±λ, else 0",
    "hardsigmoid_backward": "g/6 between, else 0",
    "hardswish_backward": "g·hardswish'(x)",
    "hardtanh_backward": "g between the limits, else 0",
    "mish_backward": "g·mish'(x)",
    "log_sigmoid_backward": "g·(1 − σ(x))",
    "softplus_backward": "g·σ(β·x)",
    "logit_backward": "g/(x·(1−x))",
    "rrelu_with_noise_backward": "g·noise",
    "_prelu_kernel_backward": "g, or w·g below 0",
}

_FUNCTIONS = {
    "acos": "acos(x)", "asin": "asin(x)", "atan": "atan(x)", "acosh": "acosh(x)",
    "asinh": "asinh(x)", "atanh": "atanh(x)", "cosh": "cosh(x)", "sinh": "sinh(x)",
    "tan": "tan(x)", "erfc": "1 − erf(x)", "erfinv": "erf⁻¹(x)", "log10": "log₁₀ x",
    "sinc": "sin(πx)/(πx)", "deg2rad": "x·π/180", "rad2deg": "x·180/π",
    "digamma": "ψ(x)", "lgamma": "ln Γ(x)", "mvlgamma": "ln Γ_p(x)", "polygamma": "ψ⁽ⁿ⁾(x)",
    "i0": "I₀(x)", "special_i0e": "e^−|x|·I₀(x)", "special_i1": "I₁(x)",
    "special_i1e": "e^−|x|·I₁(x)", "special_bessel_j0": "J₀(x)", "special_bessel_j1": "J₁(x)",
    "special_bessel_y0": "Y₀(x)", "special_bessel_y1": "Y₁(x)", "special_ndtri": "Φ⁻¹(x)",
    "special_log_ndtr": "ln Φ(x)", "special_entr": "−x·ln x", "special_erfcx": "e^x²·erfc(x)",
    "special_zeta": "ζ(x, y)", "special_xlog1py": "x·ln(1+y)", "xlogy": "x·ln y",
    "igamma": "P(a, x)", "igammac": "Q(a, x)",
    "atan2": "atan(x/y)", "hypot": "√(x² + y²)", "fmod": "x − y·trunc(x/y)",
    "logaddexp": "ln(e^x + e^y)", "logaddexp2": "log₂(2^x + 2^y)", "ldexp": "x·2^y",
    "round": "x, rounded", "nan_to_num": "x, or a number in its place",
}  # fmt: skip

_EXACT = {
    "frac": "x − trunc(x)", "trunc": "x towards 0", "fix": "x towards 0", "floor_divide": "⌊x/y⌋",
    "isnan": "x is not a number", "isinf": "x is infinite", "floor": "⌊x⌋", "ceil": "⌈x⌉",
    "signbit": "x is below 0", "isposinf": "x = ∞", "isneginf": "x = −∞", "isfinite": "x is finite",
    "copysign": "|x| with y's sign", "fmax": "max(x, y)", "fmin": "min(x, y)",
    "heaviside": "0, y or 1 by x's sign", "logical_xor": "x xor y", "nextafter": "the next to x",
    "gcd": "gcd(x, y)", "lcm": "lcm(x, y)", "__xor__": "x xor y", "bitwise_left_shift": "x·2^y",
    "bitwise_right_shift": "⌊x/2^y⌋", "__lshift__": "x·2^y", "__rshift__": "⌊x/2^y⌋",
    "real": "Re x", "imag": "Im x",
}  # fmt: skip

# What the kernel leaves in a type narrower than float32 on the way, rather than at the end alone.
_NARROW = {
    "ldexp", "logit_backward", "mvlgamma", "polygamma", "round", "special_entr", "special_i0e",
    "special_ndtri", "special_xlog1py", "special_zeta", "xlogy",
}  # fmt: skip


def _curves(table: dict[str, str], backward: float) -> dict[str, Rule]:
    return {
        name: elementwise(
            words, roundings=12, backward=backward, narrowly=2 if name in _NARROW else 0
        )
        for name, words in table.items()
    }


RULES: dict[str, Rule] = {
    **_curves(_ACTIVATIONS, 12),
    **_curves(_BACKWARD, 12),
    **_curves(_FUNCTIONS, 8),
    **{name: elementwise(words, exact=True) for name, words in _EXACT.items()},
    "rrelu_with_noise": by_slot(noisy, sampled),
    "_dirichlet_grad": elementwise(
        "the slope of a drawn Dirichlet by its parameter", roundings=256, backward=64
    ),
    "_standard_gamma_grad": elementwise(
        "the slope of a drawn gamma by its parameter", roundings=256, backward=64
    ),
    "logit": elementwise("ln(x/(1−x))", roundings=12, backward=8, beside=2),
    "log_sigmoid_forward": elementwise("−ln(1+e^−x)", roundings=12, backward=12, narrowly=0),
}
