"""What `why()` answers with: the terms that make a number, and what rounding left over.

Both engines make it. A receipt holds no arrays and imports nothing, so that it can be printed,
stored as JSON and sent to a page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from whence.receipt.figures import finite
from whence.receipt.text import plain_lines
from whence.receipt.verdicts import EXACT, verdict

SCHEMA = 2
Factors = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a number.

    Attributes:
        label: what the term is, in symbols (`w1 · x`) or in words.
        value: its size, in the unit of the number it belongs to.
        detail: the same in figures, with addresses (`2.0 [h[0,3]] · 3.0 [w[3,7]]`).
        address: where the term, or its first factor, can be opened; `None` for a plain number.
        place: where in the batch it comes from (`'mat' at position 5 of example 0`).
        factors: address and value of each number that it was made of.
        slopes: derivative of the term by each of its factors; NaN where it isn't known.
        opened: the receipts of what it was made of, one level down, where they were asked for.

    Example:
        >>> Term("w1 · x", 6.0, "2.0 · 3.0", "w1").value
        6.0
    """

    label: str
    value: float
    detail: str = ""
    address: str | None = None
    place: str = ""
    factors: Factors = ()
    slopes: tuple[float, ...] = ()
    opened: tuple[Receipt, ...] = ()


@dataclass(frozen=True, slots=True)
class Others:
    """The terms that aren't listed.

    Attributes:
        count: how many there are.
        value: what they add up to.
        size: what their sizes add up to.
        bad: how many of them aren't finite.

    Example:
        >>> Others(count=2, value=0.5, size=1.5).bad
        0
    """

    count: int = 0
    value: float = 0.0
    size: float = 0.0
    bad: int = 0


_NONE = Others()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where one number came from: value = Σ terms + Σ others + residual.

    Attributes:
        address: the number's name (`w1.grad`).
        quantity: what it is, in a few words (`matrix product`).
        symbols: its formula in symbols.
        numbers: the same with its numbers, or its largest terms, in figures.
        value: the number as it is stored.
        terms: its summands: all in the order in which they were added, or the largest by size.
        others: what the terms that aren't listed come to.
        total: Σ terms + Σ others.
        residual: value − total.
        bound: how large a residual rounding alone can leave.
        verdict: "exact", "rounded", "rounding noise" (no larger than rounding, here or in what it
            was made of, could have made it), "sampled", "given" (no operation of the step made
            it), "closed box" (an operation without a rule), "not finite" (NaN or ±∞, as its terms
            must leave it), "not recorded" (operations made it that weren't seen, as in another
            thread) or "does not add up".
        dtype: the type it is stored in.
        title: what the number is, in the field's words (`Weight head[22,19], step 149`).
        sentence: what the numbers say, in one plain sentence.
        facts: what a researcher looks at: shape, percentile, |g|/|w|.
        operation: the operation that made it, by its raw name.
        through: the operations that only handed it on, with the address before each.
        names: the tensor behind each symbol of the formula.
        opens: addresses to open next, the largest terms first.
        notes: sentences that a reader must know to read the receipt right.
        recomputed: intermediate numbers were computed again, as the kernel kept none.
        magnitude: Σ|terms| over all of them, where it isn't that of `terms` and `others`.

    Example:
        >>> terms = Term("a", 2.0), Term("b", 3.0)
        >>> print(Receipt("c", "value", "a + b", "2.0 + 3.0", 5.0, terms))
        c = 5
          = a + b
          = 2 + 3
            2  ████████       40 %  a
            3  ████████████   60 %  b
          exact: the terms add up to every digit
    """

    address: str
    quantity: str
    symbols: str
    numbers: str
    value: float
    terms: tuple[Term, ...] = ()
    others: Others = _NONE
    total: float = 0.0
    residual: float = 0.0
    bound: float = 0.0
    verdict: str = EXACT
    dtype: str = "float64"
    title: str = ""
    sentence: str = ""
    facts: tuple[str, ...] = ()
    operation: str = ""
    through: tuple[tuple[str, str], ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    opens: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    recomputed: bool = False
    magnitude: float = 0.0

    @property
    def size(self) -> float:
        """Σ|terms|, listed or not: what the shares are of."""
        return sum(abs(term.value) for term in self.terms) + self.others.size

    @property
    def cancellation(self) -> float:
        """Σ|terms| / |value|: 1 where all terms pull the same way, ∞ where they cancel out."""
        size = self.magnitude or self.size
        if self.value:
            return size / abs(self.value)
        return math.inf if size else 1.0

    def share(self, term: Term) -> float:
        """|term| / Σ|terms|, between 0 and 1; terms that aren't finite share the whole."""
        return self.shares([term])[0]

    def shares(self, terms: Sequence[Term]) -> list[float]:
        """Return the share of each of some terms; Σ|terms| is added up once."""
        bad = sum(not math.isfinite(t.value) for t in self.terms) + self.others.bad
        if bad:
            return [0.0 if math.isfinite(term.value) else 1.0 / bad for term in terms]
        size = self.size
        return [abs(term.value) / size if size else 0.0 for term in terms]

    def largest_first(self) -> list[Term]:
        """Return the listed terms by their share, the largest first."""
        shares = self.shares(self.terms)
        order = sorted(range(len(shares)), key=lambda i: -shares[i])
        return [self.terms[i] for i in order]

    def lines(self, limit: int | None = 10, digits: int = 4) -> list[str]:
        """Return the receipt line by line, at most `limit` terms of it (`None`: all).

        Args:
            limit: where there are more terms, the largest are shown and the rest is summed up.
            digits: significant digits of each number; 17: every digit, and raw names.
        """
        return plain_lines(self, limit, digits)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt as plain numbers, strings and lists, ready for JSON.

        Infinities and NaNs, which JSON doesn't have, become "inf", "-inf" and "nan".
        """
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["terms"] = [
            {**self._term(term), "share": share}
            for term, share in zip(self.terms, self.shares(self.terms), strict=True)
        ]
        plain["others"] = {"count": self.others.count, "value": self.others.value}
        plain["magnitude"] = self.magnitude or self.size
        return {"schema": SCHEMA, **finite(plain), "cancellation": finite(self.cancellation)}

    def _term(self, term: Term) -> dict[str, Any]:
        plain: dict[str, Any] = {f.name: getattr(term, f.name) for f in fields(term)}
        slopes = [*term.slopes, *[math.nan] * (len(term.factors) - len(term.slopes))]
        del plain["slopes"]
        plain["factors"] = [
            {"address": a, "value": v, "slope": None if math.isnan(s) else s}
            for (a, v), s in zip(term.factors, slopes, strict=True)
        ]
        plain["opened"] = [receipt.to_dict() for receipt in term.opened]
        return plain


def added_up(
    address: str,
    quantity: str,
    symbols: str,
    numbers: str,
    value: float,
    terms: Sequence[Term],
    *,
    notes: Sequence[str] = (),
    sentence: str = "",
) -> Receipt:
    """Write the receipt of a float64 number whose terms are all listed, in their order.

    Args:
        address: of the number.
        quantity: what it is, such as `value` or `gradient`.
        symbols: its formula.
        numbers: the formula with its numbers in it.
        value: the number itself.
        terms: all that it is the sum of.
        notes: sentences a reader needs.
        sentence: says it in words.

    Example:
        >>> terms = [Term("a", 0.1), Term("b", 0.2)]
        >>> added_up("c", "value", "a + b", "0.1 + 0.2", 0.3, terms).verdict
        'rounded'
    """
    total = 0.0
    for term in terms:
        total += term.value
    size = sum(abs(term.value) for term in terms)
    residual = value - total if terms else 0.0
    residual = 0.0 if math.isnan(residual) and not math.isfinite(total) else residual
    bound = 2.0**-52 * (len(terms) + 2) * size
    return Receipt(
        address, quantity, symbols, numbers, value, tuple(terms),
        total=total, residual=residual, bound=bound, notes=tuple(notes), sentence=sentence,
        verdict=verdict(value, residual, bound, size, exact=residual == 0, sampled=False),
    )  # fmt: skip
