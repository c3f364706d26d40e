"""Operations that make each element from the elements at the same place."""

from __future__ import annotations

import numpy as np
import torch

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.forms.entries import piled, put_together
from whence.why.rules.forms.positions import operand
from whence.why.rules.forms.rounding import accuracy, narrow
from whence.why.rules.opening import UNIT, Factor, Opened, Part, Rule


def product(
    symbol: str,
    *values: Factor | float,
    coefficient: np.ndarray | float = 1.0,
    shared: tuple[Factor, ...] = (),
) -> Part:
    """Write a product of tensors' elements and numbers as a part."""
    factors = tuple(v for v in values if isinstance(v, Factor))
    for value in values:
        if not isinstance(value, Factor):
            coefficient = coefficient * value
    return Part(symbol, factors, coefficient, shared)


def quotient(symbol: str, *values: Factor | float, over: Factor | float) -> Part:
    """Write a product over a shared denominator as a part."""
    with np.errstate(divide="ignore"):
        inverse = 1 / number(over)
    return product(
        symbol, *values, coefficient=inverse, shared=(over,) if isinstance(over, Factor) else ()
    )


def number(value: Factor | float) -> np.ndarray:
    """Return an operand's values, [m, 1] or [1, 1]."""
    return value.values if isinstance(value, Factor) else np.full((1, 1), value)


def _alpha(call: Call) -> float:
    alpha = call.get("alpha")  # 0 is one, too
    return 1.0 if alpha is None else float(alpha)


def add(call: Call, at: Index) -> Opened:
    """Open x + α·y."""
    x, y = operand(call, "self", at), operand(call, "other", at)
    alpha = _alpha(call)
    symbol = "y" if alpha == 1 else f"{alpha:g}·y"
    parts = [product("x", x), product(symbol, alpha, y)]
    slack = _coarse(call, y, alpha) + _one_by_one(call, x, y, alpha)
    return Opened(f"x + {symbol}", parts, absolute=slack)


def subtract(call: Call, at: Index) -> Opened:
    """Open x − α·y."""
    x, y = operand(call, "self", at), operand(call, "other", at)
    alpha = _alpha(call)
    symbol = "y" if alpha == 1 else f"{alpha:g}·y"
    parts = [product("x", x), product(f"−{symbol}", -alpha, y)]
    slack = _coarse(call, y, alpha) + _one_by_one(call, x, y, alpha)
    return Opened(f"x − {symbol}", parts, absolute=slack)


def _coarse(call: Call, y: Factor | float, alpha: float = 1.0) -> np.ndarray | float:
    """Error of a plain number that the kernel takes in the tensor's own type."""
    unit = UNIT.get(call.output.dtype, 0.0)
    if isinstance(y, Factor):
        # α is rounded to that type, and so may α·y be.
        size = np.abs(alpha * y.values)[:, 0]
        return (2 * unit * size if alpha != 1 else 0.0) + _cast(call, y) * size
    dtype = call.output.dtype
    taken = alpha * y  # of 1 or ½ nothing is lost, of ⅓ something is
    if isinstance(taken, complex) or not dtype.is_floating_point:
        return unit * abs(y)
    return abs(taken - float(torch.tensor(taken, dtype=dtype)))


def _cast(call: Call, *several: Factor | float) -> float:
    """Relative error of what a kernel takes in its output's type, though stored in a wider one.

    Such are single numbers (0-dim tensors), which don't widen the result of an operation.
    """
    unit = UNIT.get(call.output.dtype, 0.0)
    types = [y.cells.dtype for y in several if isinstance(y, Factor)]
    return sum(unit for dtype in types if UNIT.get(dtype, unit) < unit)


def _one_by_one(
    call: Call, x: Factor | float, y: Factor | float, alpha: float
) -> np.ndarray | float:
    """Error of adding the entries of a sparse y one after the other, where several lie at a place.

    Each sum on the way is rounded to the tensor's own type, and so was that of y by itself.
    """
    several = put_together(y.cells) if isinstance(y, Factor) else []
    if not several or not isinstance(y, Factor):
        return 0.0
    count, size = piled(several, y.at[:, 0])
    unit, size = UNIT.get(call.output.dtype, 0.0), np.abs(alpha) * size
    return unit * (np.maximum(count - 1, 0) * (np.abs(number(x))[:, 0] + 2 * size) + size)


def subtract_reversed(call: Call, at: Index) -> Opened:
    """Open y − α·x."""
    x, y = operand(call, "self", at), operand(call, "other", at)
    alpha = _alpha(call)
    parts = [product("y", y), product("−x", -alpha, x)]
    return Opened("y − x", parts, absolute=_coarse(call, y))


def negate(call: Call, at: Index) -> Opened:
    """Open −x."""
    return Opened("−x", [product("−x", -1.0, operand(call, "self", at))], exact=True)


def multiply(call: Call, at: Index) -> Opened:
    """Open x · y."""
    x, y = operand(call, "self", at), operand(call, "other", at)
    coarse = 0.0 if isinstance(y, Factor) else narrow(call)
    return Opened("x·y", [product("x·y", x, y)], inner=coarse)


def divide(call: Call, at: Index) -> Opened:
    """Open x / y, with y as the shared denominator."""
    x, y = operand(call, "self", at), operand(call, "other", at)
    mode = call.get("rounding_mode")
    if mode is not None:
        rounded = {"floor": np.floor, "trunc": np.trunc}[mode](number(x) / number(y))
        return Opened(f"{mode}(x / y)", [Part(f"{mode}(x / y)", value=rounded)], exact=True)
    return Opened("x / y", [quotient("x / y", x, over=y)], roundings=2)


def add_product(call: Call, at: Index) -> Opened:
    """Open x + c·y·z (addcmul)."""
    x, y, z = (operand(call, name, at) for name in ("self", "tensor1", "tensor2"))
    c = _scale(call)
    terms = [product("x", x), product(f"{c:g}·y·z", c, y, z)]
    taken = _cast(call, y, z) * np.abs(c * number(y) * number(z))[:, 0]
    return Opened(f"x + {c:g}·y·z", terms, roundings=2, absolute=taken)


def add_quotient(call: Call, at: Index) -> Opened:
    """Open x + c·y/z (addcdiv), with z as the shared denominator."""
    x, y, z = (operand(call, name, at) for name in ("self", "tensor1", "tensor2"))
    c = _scale(call)
    terms = [product("x", x), quotient(f"{c:g}·y/z", c, y, over=z)]
    with np.errstate(all="ignore"):
        vanished = 2.0**-126 * np.abs(c / number(z))[:, 0]  # of a y too small for its type
        wide = _cast(call, y, z)
        taken = wide * np.abs(c * number(y) / number(z))[:, 0] if wide else 0.0
    return Opened(f"x + {c:g}·y/z", terms, roundings=3, absolute=vanished + taken)


def _scale(call: Call) -> float:
    value = call.get("value")
    return 1.0 if value is None else float(value)


def interpolate(call: Call, at: Index) -> Opened:
    """Open (1 − w)·x + w·y (lerp)."""
    x, y, w = (operand(call, name, at) for name in ("self", "end", "weight"))
    if isinstance(w, Factor):
        terms = [
            product("(1−w)·x", x, shared=(w,), coefficient=1 - w.values),
            product("w·y", y, shared=(w,), coefficient=w.values),
        ]
        symbols = "(1−w)·x + w·y"
    else:
        terms = [product(f"{1 - w:g}·x", 1 - w, x), product(f"{w:g}·y", w, y)]
        symbols = f"{1 - w:g}·x + {w:g}·y"
    # The kernel's x + w·(y − x) rounds a difference that may be larger than the result.
    slack = 3 * accuracy(call) * (np.abs(number(x)) + np.abs(number(y))).reshape(-1)
    return Opened(symbols, terms, roundings=4, absolute=slack)


def copy(call: Call, at: Index) -> Opened:
    """Open a copy, perhaps into another type: into integers by leaving out the fraction."""
    source = "src" if "src" in call.values else "self"
    x = operand(call, source, at)
    if not isinstance(x, Factor):
        return Opened("x", [product("x", x)], roundings=0)
    if call.output.dtype not in UNIT and x.cells.dtype in UNIT:
        truth = call.output.dtype == torch.bool
        value = x.values != 0 if truth else _fitted(np.real(x.values), call.output.dtype)
        words = "x ≠ 0" if truth else "x, its fraction left out"
        return Opened(words, [Part(words, value=value, shared=(x,))], exact=True)
    if x.cells.dtype.is_complex > call.output.dtype.is_complex:
        return Opened("Re x", [Part("Re x", value=np.real(x.values), shared=(x,))], roundings=0)
    same = x.cells.dtype == call.output.dtype
    return Opened("x", [product("x", x)], roundings=0, exact=same)


def _fitted(values: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Leave out the fraction; what an integer can't hold, processors turn into its least one."""
    limits = torch.iinfo(dtype)
    fits = (values > limits.min - 1) & (values < limits.max + 1.0)
    return np.where(fits, np.trunc(values), float(limits.min))


def dropout(call: Call, at: Index) -> Opened:
    """Open x·mask / (1 − p), or say that the mask was drawn."""
    if call.slot:
        part = Part("drawn at random", value=call.output.gather(at).reshape(-1, 1))
        return Opened("drawn at random (dropout's mask)", [part], exact=True, sampled=True)
    mask = call.outputs[1]
    assert mask is not None
    kept = Factor(mask, at.reshape(-1, 1), "mask")
    scale = 1 / (1 - float(call["p"]))
    part = product("x·mask / (1 − p)", operand(call, "input", at), kept, coefficient=scale)
    return Opened("x·mask / (1 − p)", [part], roundings=3)


def dropout_backward(call: Call, at: Index) -> Opened:
    """Open g·mask / (1 − p)."""
    gradient, mask = operand(call, "grad_output", at), operand(call, "mask", at)
    part = product("g·mask / (1 − p)", gradient, mask, coefficient=float(call["scale"]))
    return Opened("g·mask / (1 − p)", [part], roundings=3)


RULES: dict[str, Rule] = {
    "add": add,
    "sub": subtract,
    "rsub": subtract_reversed,
    "neg": negate,
    "mul": multiply,
    "div": divide,
    "addcmul": add_product,
    "addcdiv": add_quotient,
    "lerp": interpolate,
    "clone": copy,
    "copy": copy,
    "_to_copy": copy,
    "contiguous": copy,
    "lift_fresh": copy,
    "native_dropout": dropout,
    "native_dropout_backward": dropout_backward,
}
