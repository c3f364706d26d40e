"""What `why()` answers with: the terms that make a number, and what rounding left over.

Both engines use it. A receipt holds no arrays and imports nothing, so that it can be printed,
stored as JSON and sent to a page.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any


@dataclass(frozen=True, slots=True)
class Term:
    """One summand of a number.

    Attributes:
        label: what the term is, in symbols (`w1 · x`).
        value: its size, in the unit of the number it belongs to.
        detail: the same in figures (`2.0 · 3.0`).
        address: where the term itself can be opened, or `None` for a leaf.

    Example:
        >>> Term("w1 · x", 6.0, "2.0 · 3.0", "w1").value
        6.0
    """

    label: str
    value: float
    detail: str = ""
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where one number came from: value = Σ terms + residual.

    Attributes:
        address: the number's name (`w1.grad`).
        quantity: what it is, in a few words (`gradient of loss with respect to w1`).
        symbols: its formula in symbols.
        numbers: the same formula with the numbers in it.
        value: the number as it is stored.
        terms: its summands, in the order in which they were added.
        residual: value − Σ terms, each added in that order.
        bound: how large a residual rounding alone can leave.
        notes: sentences that a reader must know to read the receipt right.
        opened: the receipts of the terms, one level down, where they were asked for.

    Example:
        >>> print(Receipt("c", "value", "c = a + b", "5.0 = 2.0 + 3.0", 5.0,
        ...               [Term("a", 2.0), Term("b", 3.0)]))
        c = a + b
          5.0 = 2.0 + 3.0
              2.0   40.0 %  a
              3.0   60.0 %  b
          residual 0.0, cancellation 1.00
    """

    address: str
    quantity: str
    symbols: str
    numbers: str
    value: float
    terms: list[Term] = field(default_factory=list)
    residual: float = 0.0
    bound: float = 0.0
    notes: list[str] = field(default_factory=list)
    opened: list["Receipt"] = field(default_factory=list)

    @property
    def magnitude(self) -> float:
        """Σ|terms|: what the shares are of."""
        return sum(abs(term.value) for term in self.terms)

    @property
    def cancellation(self) -> float:
        """Σ|terms| / |value|: 1 where all terms pull the same way, ∞ where they cancel out."""
        if self.value:
            return self.magnitude / abs(self.value)
        return float("inf") if self.magnitude else 1.0

    @property
    def noise(self) -> bool:
        """Whether the number is no larger than rounding alone could have made it."""
        return bool(self.terms) and 0.0 < abs(self.value) <= self.bound

    def share(self, term: Term) -> float:
        """|term| / Σ|terms|, between 0 and 1."""
        return abs(term.value) / self.magnitude if self.magnitude else 0.0

    def lines(self, limit: int | None = 10) -> Iterator[str]:
        """Yield the receipt line by line, at most `limit` terms of it (`None`: all).

        All terms are given in the order in which they were added, so that a reader can add them
        up again. Where there are more than `limit`, the largest come first and the rest is summed
        up in one line.
        """
        yield self.symbols
        if self.numbers:
            yield f"  {self.numbers}"
        shown, rest = self.terms, []
        if limit is not None and len(self.terms) > limit:
            by_size = sorted(self.terms, key=lambda term: -abs(term.value))
            shown, rest = by_size[:limit], by_size[limit:]
        width = max((len(repr(term.value)) for term in shown), default=0)
        for term in shown:
            detail = f"  = {term.detail}" if term.detail else ""
            share = f"{100 * self.share(term):5.1f} %"
            yield f"    {term.value!r:>{max(width, 5)}}  {share}  {term.label}{detail}"
        if rest:
            s = "" if len(rest) == 1 else "s"
            yield f"    {sum(term.value for term in rest)!r}  in {len(rest)} other term{s}"
        if self.terms:
            bound = f" (rounding alone may leave {self.bound:.1e})" if self.bound else ""
            yield f"  residual {self.residual!r}{bound}, cancellation {self.cancellation:.2f}"
        if self.noise:
            yield "  rounding noise: no larger than rounding alone could have made it"
        for note in self.notes:
            yield f"  {note}"
        for receipt in self.opened:
            yield from (f"    {line}" for line in receipt.lines(limit))

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt as plain numbers, strings and lists, ready for JSON."""
        ratio = self.cancellation
        return {"schema": 1, **asdict(self), "cancellation": ratio if isfinite(ratio) else None}
