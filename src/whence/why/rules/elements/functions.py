"""Functions of one or a few elements: activations, powers, comparisons, and their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import number
from whence.why.rules.forms.positions import operand
from whence.why.rules.forms.rounding import accuracy, narrow
from whence.why.rules.opening import UNIT, Factor, Opened, Part, Rule

Formula = Callable[..., Tensor]


def evaluate(formula: Formula, *values: np.ndarray) -> np.ndarray:
    """Compute a formula in float64."""
    with torch.no_grad():
        result = formula(*(torch.from_numpy(np.ascontiguousarray(v)) for v in values))
    return (result if result.is_complex() else result.double()).numpy()


def slope(formula: Formula, x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    """Derivative of an elementwise formula by its first argument, in float64."""
    with torch.enable_grad():
        point = torch.from_numpy(np.ascontiguousarray(x)).requires_grad_()
        others = (torch.from_numpy(np.ascontiguousarray(v)) for v in rest)
        (result,) = torch.autograd.grad(formula(point, *others).sum(), point)
    return result.numpy()


def function(
    symbol: str,
    formula: Formula,
    *names: str,
    roundings: float = 4,
    slack: Callable[..., np.ndarray] | None = None,
    exact: bool = False,
    narrowly: float = 0,
) -> Rule:
    """Make the rule of a function of some arguments at the same place.

    Args:
        symbol: the function in symbols.
        formula: the function on float64 tensors.
        names: the arguments that it takes, tensors or numbers.
        roundings: how accurate the kernel is, in roundings of its result.
        slack: further error in roundings, from the arguments' values, for what cancels inside.
        exact: no rounding, as in a comparison.
        narrowly: how many roundings it makes, in between, in a type narrower than float32.
    """
    names = names or ("self",)

    def opened(call: Call, at: Index) -> Opened:
        operands = [operand(call, name, at) for name in names]
        values = [number(o) for o in operands]
        factors = tuple(o for o in operands if isinstance(o, Factor))
        smooth = len(factors) == 1 and call.output.dtype.is_floating_point
        part = Part(
            symbol,
            value=evaluate(formula, *values),
            shared=factors,
            slope=(lambda: slope(formula, *values)) if smooth else None,
        )
        extra = 0.0 if slack is None else accuracy(call) * slack(*values).reshape(-1)
        between = narrowly * narrow(call)
        return Opened(symbol, [part], roundings, inner=between, absolute=extra, exact=exact)

    return opened


def derivative(
    symbol: str,
    formula: Formula,
    *names: str,
    gradient: str = "grad_output",
    roundings: float = 4,
    slack: Callable[..., np.ndarray] | None = None,
) -> Rule:
    """Make the rule of a backward operation: arriving gradient × local slope.

    Args:
        symbol: the operation in symbols.
        formula: the *slope*, on float64 tensors.
        names: the arguments that the slope takes.
        gradient: name of the arriving gradient.
        roundings: how accurate the kernel is.
        slack: further error of the slope in roundings.
    """

    def opened(call: Call, at: Index) -> Opened:
        arriving = operand(call, gradient, at)
        operands = [operand(call, name, at) for name in names]
        values = [number(o) for o in operands]
        local = evaluate(formula, *values)
        shared = tuple(o for o in operands if isinstance(o, Factor))
        assert isinstance(arriving, Factor)
        part = Part(symbol, (arriving,), local, shared=shared)
        extra = 0.0
        if slack is not None:
            extra = (accuracy(call) * slack(*values) * np.abs(arriving.values)).reshape(-1)
        return Opened(symbol, [part], roundings=roundings, absolute=extra)

    return opened


def _gelu_rule(backward: bool) -> Rule:
    def opened(call: Call, at: Index) -> Opened:
        form = call["approximate"]

        def gelu(x: Tensor) -> Tensor:
            return F.gelu(x, approximate=form)

        words = "gelu" if form == "none" else f"gelu ({form})"
        if not backward:
            return function(f"{words}(x)", gelu, slack=lambda x: 8 * np.abs(x))(call, at)

        def local(x: Tensor) -> Tensor:
            return torch.from_numpy(slope(gelu, x.numpy()))

        wide = derivative(f"g·{words}'(x)", local, "self", slack=lambda x: 16 + 8 * np.abs(x))
        return wide(call, at)

    return opened


def _tanh_slope(y: Tensor) -> Tensor:
    return (1 - y * y).conj().resolve_conj()


def _sigmoid_slope(y: Tensor) -> Tensor:
    return (y * (1 - y)).conj().resolve_conj()


def _rounded(times: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda y: np.full(y.shape, times)


def _silu_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))


def _clamp(call: Call, at: Index) -> Opened:
    low, high = call.get("min"), call.get("max")
    x = operand(call, "self", at)
    assert isinstance(x, Factor)
    lowest = np.array([[-math.inf]]) if low is None else number(operand(call, "min", at))
    highest = np.array([[math.inf]]) if high is None else number(operand(call, "max", at))
    inside = (x.values >= lowest) & (x.values <= highest)
    value = np.clip(x.values, lowest, highest)
    parts = [
        Part("x where inside", (x,), inside.astype(np.float64)),
        Part("the limit elsewhere", value=np.where(inside, 0.0, value)),
    ]
    return Opened("clamp(x)", parts, roundings=1)


def _where(call: Call, at: Index) -> Opened:
    chosen, x, y = (operand(call, n, at) for n in ("condition", "self", "other"))
    words = "x where the condition holds, else y"
    return _choose(words, number(chosen) != 0, x, y, _factors(chosen))


def _masked_fill(call: Call, at: Index) -> Opened:
    mask, x, value = (operand(call, n, at) for n in ("mask", "self", "value"))
    words = f"{'v' if isinstance(value, Factor) else f'{value:g}'} where masked, else x"
    return _choose(words, number(mask) == 0, x, value, _factors(mask))


def _factors(*operands: Factor | float) -> tuple[Factor, ...]:
    return tuple(o for o in operands if isinstance(o, Factor))


def _choose(
    words: str,
    holds: np.ndarray,
    x: Factor | float,
    y: Factor | float,
    shared: tuple[Factor, ...] = (),
) -> Opened:
    parts = []
    for symbol, one, taken in (("x", x, holds), ("y", y, ~holds)):
        value = np.where(taken, number(one), 0.0)
        parts.append(Part(symbol, _factors(one), taken.astype(np.float64), shared, value))
    return Opened(words, parts, roundings=0)


def _extreme(largest: bool) -> Rule:
    def opened(call: Call, at: Index) -> Opened:
        x, y = operand(call, "self", at), operand(call, "other", at)
        takes_x = (number(x) >= number(y)) if largest else (number(x) <= number(y))
        return _choose(f"{'max' if largest else 'min'}(x, y)", takes_x, x, y)

    return opened


def _compare(symbol: str, formula: Formula) -> Rule:
    return function(f"x {symbol} y", formula, "self", "other", exact=True)


def _threshold_slope(x: Tensor, limit: Tensor) -> Tensor:
    return (x > limit).double()


def _leaky(x: Tensor, below: Tensor) -> Tensor:
    return torch.where(x > 0, x, below * x)


def _softplus(x: Tensor, beta: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(beta * x > threshold, x, torch.log1p(torch.exp(beta * x)) / beta)


def _not(call: Call, at: Index) -> Opened:
    flips = call.output.dtype == torch.bool
    return function("not x", (lambda x: 1 - x) if flips else (lambda x: -x - 1), exact=True)(
        call, at
    )


def _whole(formula: Formula) -> Formula:
    return lambda x, y: formula(x.long(), y.long())


def _pow(call: Call, at: Index) -> Opened:
    opened = function("x^y", torch.pow, "self", "exponent", roundings=16)(call, at)
    dtype = call.output.dtype
    if dtype != torch.float64 and dtype in UNIT:
        x, y = (torch.from_numpy(number(operand(call, n, at))) for n in ("self", "exponent"))
        # The exponent is taken in the result's type: of ¼ nothing is lost, of ⅓ something is.
        moved = ((y - y.to(dtype).double()) * x.abs().log()).abs().nan_to_num(0.0, 0.0)
        opened.inner = UNIT[dtype] + moved.numpy()[:, 0]  # x³ is x·x·x, each product rounded
    return opened


RULES: dict[str, Rule] = {
    "relu": function("max(x, 0)", torch.relu, exact=True),
    "tanh": function("tanh(x)", torch.tanh),
    "sigmoid": function("1/(1+e^−x)", torch.sigmoid, roundings=8),
    "gelu": _gelu_rule(backward=False),
    "silu": function("x/(1+e^−x)", F.silu, roundings=12),
    "exp": function("e^x", torch.exp),
    "exp2": function("2^x", torch.exp2),
    "expm1": function("e^x − 1", torch.expm1),
    "log": function("ln x", torch.log, slack=lambda x: np.ones_like(x)),
    "log2": function("log₂ x", torch.log2, slack=lambda x: np.ones_like(x)),
    "log1p": function("ln(1+x)", torch.log1p),
    "sqrt": function("√x", torch.sqrt),
    "rsqrt": function("1/√x", torch.rsqrt, narrowly=1),
    "reciprocal": function("1/x", torch.reciprocal),
    "sin": function("sin x", torch.sin, slack=lambda x: np.ones_like(x)),
    "cos": function("cos x", torch.cos, slack=lambda x: np.ones_like(x)),
    "erf": function("erf(x)", torch.erf),
    "abs": function("|x|", torch.abs, exact=True),
    "sgn": function("sign(x)", torch.sgn, exact=True),
    "sign": function("sign(x)", torch.sign, exact=True),
    "square": function("x²", torch.square),
    "pow": _pow,
    "softplus": function(
        "ln(1+e^x)", _softplus, "self", "beta", "threshold", slack=lambda x, *_: np.ones_like(x)
    ),
    "leaky_relu": function("x or slope·x", _leaky, "self", "negative_slope"),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "hardtanh": function("clamp(x)", torch.clamp, "self", "min_val", "max_val", roundings=1),
    "where": _where,
    "masked_fill": _masked_fill,
    "maximum": _extreme(largest=True),
    "minimum": _extreme(largest=False),
    "eq": _compare("=", torch.eq),
    "ne": _compare("≠", torch.ne),
    "lt": _compare("<", torch.lt),
    "le": _compare("≤", torch.le),
    "gt": _compare(">", torch.gt),
    "ge": _compare("≥", torch.ge),
    "logical_and": _compare("and", torch.logical_and),
    "logical_or": _compare("or", torch.logical_or),
    "logical_not": function("not x", torch.logical_not, exact=True),
    "bitwise_not": _not,
    "bitwise_and": function("x and y", _whole(torch.bitwise_and), "self", "other", exact=True),
    "bitwise_or": function("x or y", _whole(torch.bitwise_or), "self", "other", exact=True),
    "bitwise_xor": function("x xor y", _whole(torch.bitwise_xor), "self", "other", exact=True),
    "__and__": function("x and y", _whole(torch.bitwise_and), "self", "other", exact=True),
    "__or__": function("x or y", _whole(torch.bitwise_or), "self", "other", exact=True),
    "remainder": function("x mod y", torch.remainder, "self", "other"),
    "threshold_backward": derivative(
        "g·[x > 0]", _threshold_slope, "self", "threshold", roundings=0
    ),
    "tanh_backward": derivative("g·(1 − y²)", _tanh_slope, "output", slack=_rounded(4)),
    "sigmoid_backward": derivative("g·y·(1 − y)", _sigmoid_slope, "output", slack=_rounded(2)),
    "gelu_backward": _gelu_rule(backward=True),
    "silu_backward": derivative(
        "g·silu'(x)", _silu_slope, "self", roundings=12, slack=lambda x: 8 + 8 * np.abs(x)
    ),
    "leaky_relu_backward": derivative(
        "g or slope·g", lambda x, s: torch.where(x > 0, 1.0, s), "self", "negative_slope"
    ),
}
