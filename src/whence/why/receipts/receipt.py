"""Receipts: the terms that add up to a number, and what rounding left over."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

EXACT, ROUNDED, NOISE, SAMPLED = "exact", "rounded", "rounding noise", "sampled"
GIVEN, CLOSED, WRONG = "given", "closed box", "does not add up"
NOT_FINITE, UNSEEN = "not finite", "not recorded"


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a number.

    Attributes:
        value: its size, in the unit of the number it belongs to.
        share: |value| / Σ|terms|; terms that aren't finite share the whole among them.
        label: what it is, in symbols (`a[i,k]·b[k,j]`).
        detail: the same in figures, each with its address (`2.0 [h[0,3]] · 3.0 [w[3,7]]`).
        place: where in the batch it comes from (`'mat' at position 5 of example 0`).
        address: where its first factor can be opened, `None` for a plain number.
        factors: address and value of each number it was made of.
        receipt: the receipt of that first factor, where one was asked for.
    """

    value: float
    share: float
    label: str
    detail: str
    place: str
    address: str | None
    factors: tuple[tuple[str, float], ...] = ()
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where one number came from: value = Σ terms + Σ others + residual.

    Attributes:
        address: the number's name.
        quantity: what it is, in a few words.
        symbols: its formula in symbols.
        numbers: the same with its largest terms in figures.
        value: the number as stored.
        dtype: the type it is stored in.
        terms: the largest summands, by size.
        others: how many more there are, and what they add up to.
        total: Σ terms + Σ others, added in float64.
        residual: value − total.
        bound: how large a residual rounding alone can leave.
        magnitude: Σ|terms| over all of them.
        verdict: "exact", "rounded", "rounding noise" (no larger than rounding, here or in what it
            was made of, could have made it), "sampled", "given" (no operation of the step made
            it), "closed box" (an operation without a rule), "not finite" (NaN or ±∞, as its terms
            must leave it), "not recorded" (operations made it that weren't seen, as in another
            thread) or "does not add up".
        recomputed: intermediate numbers were computed again, as the kernel kept none.
        names: the tensor behind each symbol of the formula.
        opens: addresses to open next, the largest terms first.
        notes: sentences the reader needs.
    """

    address: str
    quantity: str
    symbols: str
    numbers: str
    value: float
    dtype: str
    terms: tuple[Term, ...] = ()
    others: tuple[int, float] = (0, 0.0)
    total: float = 0.0
    residual: float = 0.0
    bound: float = 0.0
    magnitude: float = 0.0
    verdict: str = EXACT
    recomputed: bool = False
    names: dict[str, str] = field(default_factory=dict)
    opens: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def cancellation(self) -> float:
        """Σ|terms| / |value|: 1 where all terms pull the same way, ∞ where they cancel out."""
        if self.value:
            return self.magnitude / abs(self.value)
        return math.inf if self.magnitude else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt as plain numbers, strings and lists, ready for JSON.

        Infinities and NaNs, which JSON doesn't have, become "inf", "-inf" and "nan".
        """
        plain = asdict(self)
        plain["terms"] = [_term_dict(t) for t in self.terms]
        plain["others"] = {"count": self.others[0], "value": self.others[1]}
        plain["opens"], plain["notes"] = list(self.opens), list(self.notes)
        return finite({"schema": 1, **plain, "cancellation": self.cancellation})

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, indent: str = "") -> list[str]:
        """Return the receipt line by line."""
        lines = [f"{self.address} = {figure(self.value)}   ({self.quantity}, {self.dtype})"]
        lines.append(f"  = {self.symbols}")
        if self.names:
            lines.append("    with " + ", ".join(f"{s} = {n}" for s, n in self.names.items()))
        if self.numbers:
            lines.append(f"  = {self.numbers}")
        width = max((len(figure(t.value)) for t in self.terms), default=0)
        for term in self.terms:
            words = "  ".join(w for w in (term.label, term.detail, term.place) if w)
            lines.append(f"    {figure(term.value):>{width}}  {100 * term.share:5.1f} %  {words}")
            if term.receipt is not None:
                lines += term.receipt.lines("        ")
        if self.others[0]:
            s = "" if self.others[0] == 1 else "s"
            lines.append(
                f"    {figure(self.others[1]):>{width}}           {self.others[0]:,} other term{s}"
            )
        if self.verdict not in (GIVEN, UNSEEN, CLOSED, NOT_FINITE):
            lines.append(
                f"  residual {self.residual:.3g} (rounding may leave {self.bound:.3g}), "
                f"cancellation {self.cancellation:.3g}: {self.verdict}"
            )
        lines += [f"  {note}" for note in self.notes]
        if self.opens:
            lines.append("  open next: " + "  ".join(self.opens))
        return [indent + line for line in lines]


def _term_dict(term: Term) -> dict[str, Any]:
    plain = asdict(term)
    plain["factors"] = [{"address": a, "value": v} for a, v in term.factors]
    plain["receipt"] = None if term.receipt is None else term.receipt.to_dict()
    return plain


def finite(value: Any) -> Any:
    """Write numbers that JSON doesn't have as words, anywhere in nested lists and dicts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def ranked(values: np.ndarray) -> np.ndarray:
    """Return the places of numbers sorted by size, those that aren't finite first."""
    size = np.where(np.isfinite(values), np.abs(values), math.inf)
    return np.argsort(-size, kind="stable")


def shares(values: np.ndarray) -> np.ndarray:
    """Return the share of each number: |value| / Σ|values|.

    Where some aren't finite, the others have no share in what became of the sum.

    Example:
        >>> shares(np.array([1.0, -3.0])).tolist(), shares(np.array([1.0, np.nan])).tolist()
        ([0.25, 0.75], [0.0, 1.0])
    """
    bad = ~np.isfinite(values)
    size = bad.astype(np.float64) if bad.any() else np.abs(values)
    whole = size.sum()
    return size / whole if whole else size


def figure(value: float) -> str:
    """Write a number with the digits that a float32 carries."""
    return f"{value:.9g}" if math.isfinite(value) else str(value)


def verdict(
    value: float, residual: float, bound: float, magnitude: float, *, exact: bool, sampled: bool
) -> str:
    """Judge a receipt by its residual and the bound that rounding sets to it."""
    if not math.isfinite(value) and residual == 0:
        return NOT_FINITE
    if sampled:
        return SAMPLED
    if math.isnan(residual):
        return WRONG
    if abs(residual) > bound and residual != 0:
        return WRONG
    if exact or (residual == 0 and abs(value) > bound):
        return EXACT
    if abs(value) <= bound and magnitude > abs(value) and (value or residual):
        return NOISE
    return EXACT if residual == 0 else ROUNDED
