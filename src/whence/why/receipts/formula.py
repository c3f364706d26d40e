"""An update as its optimizer's formula: symbols, the same in numbers, and what each symbol is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whence.receipt import Receipt
from whence.receipt.figures import figure
from whence.why.receipts.update import Update
from whence.why.recording.storage import Ref
from whence.why.rules.opening import Cells

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
        note: a sentence that a reader of it needs.
    """

    symbols: str
    numbers: str
    result: float
    known: dict[str, float]
    note: str = ""


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
    notes = (written.note, *receipt.notes) if written.note else receipt.notes
    return replace(
        receipt, symbols=written.symbols, numbers=written.numbers, names=names, notes=notes
    )


class _Weight:
    """What belongs to an updated weight: its gradient and the optimizer's state."""

    def __init__(self, number: Number, clipped: bool):
        self.trace, self.at = number.trace, number.at
        self.name = number.numbers.name.removesuffix(".update")
        self.clipped = clipped

    def before(self) -> float:
        """The weight itself."""
        return self._read(self.trace[self.name].ref)

    def gradient(self) -> float | None:
        """Its gradient, as clipping left it or as it came."""
        cells = self.gradients()
        return None if cells is None else self._read(cells)

    def gradients(self) -> Cells | None:
        """The gradient of the whole parameter."""
        clipped = f"{self.name}.grad#2"
        if self.clipped and clipped in self.trace:
            return self.trace[clipped].ref
        return self.trace.gradient_of(self.trace[self.name].ref)

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

    def direction(self) -> float | None:
        """What the optimizer's last operation added to it, before the rate scaled that."""
        after = self.trace.after_of(self.name)
        writer = None if after is None else after.version.writer
        if writer is None or writer.name != "add":
            return None
        added = writer.call(0)["other"]
        return self._read(added) if isinstance(added, Ref) and added.size == self.size else None

    @property
    def size(self) -> tuple[int, ...]:
        """The parameter's shape."""
        return self.trace[self.name].ref.size

    def _read(self, ref: Cells, at: int | None = None) -> float:
        return float(ref.gather(np.array([self.at if at is None else at]))[0])


def adam(weight: _Weight, rule: dict[str, Any]) -> Written | None:
    """Write −η·m̂ / (√v̂ + ε) − η·λ·θ."""
    largest = ("max_exp_avg_sq",) if rule.get("amsgrad") else ()
    m, v = weight.memory("exp_avg", "m"), weight.memory(*largest, "exp_avg_sq", "v")
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


def orthogonal(weight: _Weight, rule: dict[str, Any]) -> Written | None:
    """Write −η·s·O − η·λ·θ, with O what the Newton–Schulz steps make of u = (1 − μ)·g + μ·b."""
    g, element = weight.gradient(), weight.direction()
    b = weight.memory("momentum", "momentum_buffer")
    if g is None or b is None or element is None or len(weight.size) != 2:
        return None
    rate, decay, mu = rule["learning_rate"], rule["weight_decay"], rule["momentum"]
    words, scale = _scale(rule.get("adjust", "original"), *weight.size)
    theta, ahead = weight.before(), rule["nesterov"]
    result = -rate * scale * element
    symbols, numbers = "−η·s·O", f"−{rate:g}·{figure(scale)}·{_in(element)}"
    if decay:
        result -= rate * decay * theta
        symbols, numbers = f"{symbols} − η·λ·θ", f"{numbers} − {rate:g}·{decay:g}·{_in(theta)}"
    u = (1 - mu) * g + mu * b[1] if ahead else b[1]
    known = {
        "η": rate, f"s = {words}": scale, "λ": decay, "μ": mu, "g": g, "b": b[1],
        "u = (1 − μ)·g + μ·b" if ahead else "u = b": u, "O": element,
    }  # fmt: skip
    triples = rule["triples"]
    note = (
        f"O is the result of {len(triples)} Newton–Schulz steps x ← a·x + b·(xxᵀ)x + c·(xxᵀ)²x "
        f"from x = u/‖u‖, with (a, b, c) = {', then '.join(map(_triple, dict.fromkeys(triples)))}"
    )
    return Written(symbols, numbers, result, known, note)


def _scale(kind: str, rows: int, columns: int) -> tuple[str, float]:
    """How much further Muon moves a matrix of this shape."""
    if kind == "original":
        return "√max(1, rows/columns)", math.sqrt(max(1.0, rows / columns))
    if kind == "match_rms_adamw":
        return "0.2·√max(rows, columns)", 0.2 * math.sqrt(max(rows, columns))
    return "1", 1.0


def _triple(coefficients: tuple[float, float, float]) -> str:
    return "(" + ", ".join(figure(c).replace("-", "−") for c in coefficients) + ")"


def _in(value: float) -> str:
    return f"({figure(value)})" if value < 0 else figure(value)


FORMULAS: dict[str, Callable[[_Weight, dict[str, Any]], Written | None]] = {
    "adam": adam,
    "sgd": descent,
    "muon": orthogonal,
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
    kind = {"Adam": "adam", "AdamW": "adam", "SGD": "sgd", "Muon": "muon"}.get(
        type(optimizer).__name__
    )
    for group in getattr(optimizer, "param_groups", ()) if kind else ():
        if kind == "sgd" and (group["maximize"] or group["dampening"]):
            continue  # another formula
        rule = {
            "rule": kind, "learning_rate": float(group["lr"]), "eps": group.get("eps", 0.0),
            "weight_decay": float(group["weight_decay"]), "momentum": group.get("momentum", 0.0),
            "nesterov": group.get("nesterov", False), "amsgrad": group.get("amsgrad", False),
            "decoupled": group.get("decoupled_weight_decay", kind == "adam"),
            "betas": tuple(map(float, group.get("betas", (0.0, 0.0)))),
        }  # fmt: skip
        if kind == "muon":
            rule["triples"] = (tuple(group["ns_coefficients"]),) * group["ns_steps"]
            rule["adjust"] = group["adjust_lr_fn"] or "original"
        found |= {names[id(p)]: rule for p in group["params"] if id(p) in names}
    return found
