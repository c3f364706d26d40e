"""What a receipt's numbers say, in one plain sentence chosen by them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from whence.receipt.figures import percent, short, trimmed

CANCEL = 10  # times its size: terms of which hardly anything is left
MOSTLY, ALL = 0.5, 0.995


class Summand(Protocol):
    """What has a value and a name."""

    @property
    def value(self) -> float:
        """Its size."""
        ...

    @property
    def label(self) -> str:
        """What it is."""
        ...


def said(terms: Sequence[Summand], others: float = 0.0) -> str:
    """Say which of a number's terms matter, "" where its formula says as much.

    Args:
        terms: the summands.
        others: Σ|terms| of those that aren't among them.

    Example:
        >>> from whence.receipt import Term
        >>> said([Term("a · b", 6.0), Term("c · d", 0.5), Term("1", 0.5)])
        'mostly a · b (86 %)'
        >>> said([Term("a", 1.0), Term("b", -0.99)])
        'the terms nearly cancel: 1 up against 0.99 down'
    """
    finite = [term for term in terms if math.isfinite(term.value)]
    if len(finite) < len(terms):
        bad = next(term for term in terms if not math.isfinite(term.value))
        return f"not finite because of {trimmed(bad.label)}" if bad.label else ""
    size = sum(abs(term.value) for term in terms) + others
    if len(terms) < 2 or not size:
        return ""
    if not others and abs(sum(term.value for term in terms)) * CANCEL <= size:
        up = sum(term.value for term in terms if term.value > 0)
        down = -sum(term.value for term in terms if term.value < 0)
        return f"the terms nearly cancel: {short(up)} up against {short(down)} down"
    most = max(terms, key=lambda term: abs(term.value))
    share = abs(most.value) / size
    if len(terms) == 2 and not others:  # both are read at a glance
        return ""
    if share >= ALL:
        return f"nearly all of it is {trimmed(most.label)}"
    if share >= MOSTLY:
        return f"mostly {trimmed(most.label)} ({percent(share)})"
    return ""
