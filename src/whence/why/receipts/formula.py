"""An update as its optimizer's formula: symbols, the same in numbers, and what each symbol is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from whence.receipt import Receipt
from whence.receipt.figures import figure
from whence.why.receipts.update import Update

if TYPE_CHECKING:
    from whence.why.number import Number

_AGREES = 1e-2  # of the change, and rounding: a formula that misses it by more isn't the one used


class Written(NamedTuple):
    """A formula with its numbers.

    Attributes:
        symbols: such as `−η·m̂ / (√v̂ + ε)`.
        numbers: the same in figures.
        result: what it comes to.
        known: each symbol with its number.
    """

    symbols: str
    numbers: str
    result: float
    known: dict[str, float]


def with_formula(number: Number, receipt: Receipt) -> Receipt:
    """Give the receipt of an update its optimizer's formula, where that comes to the same."""
    if not isinstance(number.ref, Update):
        return receipt
    rule = number.trace.rules.get(number.numbers.name.removesuffix(".update"))
    make = None if rule is None else FORMULAS.get(rule["rule"])
    if rule is None or make is None:
        return receipt
    slack = _AGREES * abs(receipt.value) + receipt.bound
    each = (make(_Weight(number, clipped), rule) for clipped in (True, False))
    written = next((w for w in each if w and abs(w.result - receipt.value) <= slack), None)
    if written is None:
        return receipt
    names = {symbol: figure(value) for symbol, value in written.known.items() if value}
    return replace(receipt, symbols=written.symbols, numbers=written.numbers, names=names)


class _Weight:
    """What stands beside an updated weight: its gradient and the optimizer's memory of it."""

    def __init__(self, number: Number, clipped: bool):
        self.trace, self.at = number.trace, number.at
        self.name = number.numbers.name.removesuffix(".update")
        self.clipped = clipped

    def before(self) -> float:
        """The weight itself."""
        return self._read(self.trace[self.name].ref)

    def gradient(self) -> float | None:
        """Its gradient, as clipping left it or as it came."""
        ref = self.trace.gradient_of(self.trace[self.name].ref)
        clipped = f"{self.name}.grad#2"
        if self.clipped and clipped in self.trace:
            ref = self.trace[clipped].ref
        return None if ref is None else self._read(ref)

    def memory(self, *kinds: str) -> tuple[float, float] | None:
        """What the optimizer remembered by the first of these names: before and after."""
        for kind in kinds:
            after = self.trace.after_of(f"{self.name}.{kind}")
            if after is not None:
                at = self.at if after.numel > 1 else 0
                earlier = f"{self.name}.{kind}"
                before = self._read(self.trace[earlier].ref, at) if earlier in self.trace else 0.0
                return before, self._read(after, at)
        return None

    def _read(self, ref: Any, at: int | None = None) -> float:
        import numpy as np

        return float(ref.gather(np.array([self.at if at is None else at]))[0])


def adam(weight: _Weight, rule: dict[str, Any]) -> Written | None:
    """Write −η·m̂ / (√v̂ + ε) − η·λ·θ."""
    m, v = weight.memory("exp_avg", "m"), weight.memory("exp_avg_sq", "v")
    steps = weight.memory("step")
    t = rule.get("t") or (None if steps is None else steps[1])
    if m is None or v is None or not t:
        return None
    rate, decay, eps = rule["learning_rate"], rule["weight_decay"], rule["eps"]
    (b1, b2), theta = rule["betas"], weight.before()
    m_hat, root = m[1] / (1 - b1**t), math.sqrt(v[1] / (1 - b2**t))
    result = -rate * m_hat / (root + eps)
    symbols = "−η·m̂ / (√v̂ + ε)"
    numbers = f"−{rate:g}·{_in(m_hat)} / ({figure(root)} + {eps:g})"
    if decay and rule["decoupled"]:
        result -= rate * decay * theta
        symbols, numbers = f"{symbols} − η·λ·θ", f"{numbers} − {rate:g}·{decay:g}·{_in(theta)}"
    known = {"η": rate, "β₁": b1, "β₂": b2, "ε": eps, "λ": decay, "t": t, "m": m[1], "v": v[1]}
    known |= {"m̂ = m/(1 − β₁ᵗ)": m_hat, "√v̂ = √(v/(1 − β₂ᵗ))": root}
    return Written(symbols, numbers, result, known)


def descent(weight: _Weight, rule: dict[str, Any]) -> Written | None:
    """Write −η·(g + λ·θ), or −η·b with b = μ·b + g + λ·θ."""
    g, theta = weight.gradient(), weight.before()
    if g is None:
        return None
    rate, decay, mu = rule["learning_rate"], rule["weight_decay"], rule["momentum"]
    asked, symbols, numbers = g + decay * theta, "g", _in(g)
    if decay:
        symbols, numbers = f"{symbols} + λ·θ", f"{numbers} + {decay:g}·{_in(theta)}"
    known = {"η": rate, "λ": decay, "μ": mu, "g": g}
    if mu:
        past = weight.memory("momentum_buffer", "momentum")
        if past is None:
            return None
        if rule.get("nesterov"):
            asked, symbols, numbers = (
                asked + mu * past[1], f"{symbols} + μ·b", f"{numbers} + {mu:g}·{_in(past[1])}",
            )  # fmt: skip
            known["b"] = past[1]
        else:
            asked = mu * past[0] + asked
            symbols, numbers = f"μ·b + {symbols}", f"{mu:g}·{_in(past[0])} + {numbers}"
            known["b before"] = past[0]
    bracket = "+" in symbols
    symbols, numbers = (f"({t})" if bracket else t for t in (symbols, numbers))
    return Written(f"−η·{symbols}", f"−{rate:g}·{numbers}", -rate * asked, known)


def _in(value: float) -> str:
    return f"({figure(value)})" if value < 0 else figure(value)


FORMULAS: dict[str, Callable[[_Weight, dict[str, Any]], Written | None]] = {
    "adam": adam,
    "sgd": descent,
}


def rules_of(optimizer: Any, names: dict[int, str]) -> dict[str, dict[str, Any]]:
    """Tell by which rule, and with which settings, each parameter is moved.

    Args:
        optimizer: torch's, or one that says so itself by `settings()`.
        names: `id` of each parameter → its name.
    """
    if hasattr(optimizer, "settings"):
        return dict(optimizer.settings())
    found: dict[str, dict[str, Any]] = {}
    kind = {"Adam": "adam", "AdamW": "adam", "SGD": "sgd"}.get(type(optimizer).__name__)
    for group in getattr(optimizer, "param_groups", ()) if kind else ():
        betas = tuple(map(float, group.get("betas", (0.0, 0.0))))
        decoupled = group.get("decoupled_weight_decay", kind == "adam")
        if group.get("maximize") or (group["weight_decay"] and kind == "adam" and not decoupled):
            continue
        rule = {
            "rule": kind, "learning_rate": float(group["lr"]), "eps": group.get("eps", 0.0),
            "weight_decay": float(group["weight_decay"]), "momentum": group.get("momentum", 0.0),
            "nesterov": group.get("nesterov", False), "decoupled": decoupled,
            "betas": betas,
        }  # fmt: skip
        found |= {names[id(p)]: rule for p in group["params"] if id(p) in names}
    return found
