"""What a number's receipt says in words: its title, one sentence, and what to compare it with."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from whence.receipt import Receipt, Term
from whence.receipt.figures import percent, short
from whence.receipt.sentence import said
from whence.receipt.verdicts import CLOSED, GIVEN, NOISE, NOT_FINITE, UNSEEN, WRONG
from whence.why.receipts.update import MIXED, PAST, Update
from whence.why.receipts.wording import title
from whence.why.recording.storage import Ref
from whence.why.rules.open import open_element

if TYPE_CHECKING:
    from whence.why.number import Number

_COMPARED = 1 << 24  # elements: of a larger tensor no percentile is counted


def with_words(number: Number, receipt: Receipt, context: bool, source: str) -> Receipt:
    """Give a receipt its title and its sentence.

    Args:
        number: what the receipt is of.
        receipt: the terms.
        context: give the facts too.
        source: which line of the text most of it comes from.
    """
    return replace(
        receipt,
        title=title(number),
        sentence=sentence(number, receipt, source),
        facts=facts(number) if context else (),
    )


def sentence(number: Number, receipt: Receipt, source: str = "") -> str:
    """Say what a receipt's numbers say.

    An update tells what moved it; a gradient and other sums which terms they mostly are.

    Args:
        number: what the receipt is of.
        receipt: the terms.
        source: where most of it comes from.
    """
    if receipt.verdict in (GIVEN, UNSEEN, CLOSED, WRONG, NOT_FINITE):
        return ""
    if isinstance(number.ref, Update):
        return _moved(number, receipt, source)
    if receipt.verdict == NOISE:
        return "no larger than rounding error, so it isn't attributed to anything in the text"
    worst = receipt.terms[0] if receipt.terms else None
    if worst is not None and " expected" in worst.place:
        count = len(receipt.terms) + receipt.others.count
        return _of_losses(worst, receipt.share(worst), count)
    words = said(_named(receipt.terms), receipt.others.size)
    return "; ".join(w for w in (words, source) if w)


def _named(terms: tuple[Term, ...]) -> list[Term]:
    """Terms called by where they come from, where they come from different places."""
    places = {term.place for term in terms}
    return [
        replace(
            term,
            label=(term.place.partition(" (")[0] if len(places) > 1 else "")
            or term.address
            or term.label,
        )
        for term in terms
    ]


def _of_losses(worst: Term, share: float, count: int) -> str:
    many = "one prediction" if count == 1 else f"the mean of {count:,} predictions"
    tokens, _, place = worst.place.partition(", at ")
    line = re.search(r"\(([^:()]+): ", place)
    where = f" on {line[1]}" if line else f" at {place}" if place else ""
    found = f"{tokens}{where}"
    return f"{many}: {found if count == 1 else f'the worst is {found} ({percent(share)})'}"


def _moved(number: Number, receipt: Receipt, source: str) -> str:
    value = receipt.value
    if not value:
        return "it did not move"
    opened, _ = open_element(number.ref, number.at)
    assert opened is not None
    kinds: dict[str, float] = {}
    for part in opened.parts:
        kind = part.symbol.removesuffix(f", {MIXED}").removesuffix(f" {PAST}")
        kinds[kind] = kinds.get(kind, 0.0) + float(part.terms().sum())
    whole = sum(abs(each) for each in kinds.values())
    order = sorted(kinds.items(), key=lambda each: -abs(each[1]))
    parts = [
        f"{percent(abs(each) / whole)} {kind}" for kind, each in order if abs(each) > whole / 2000
    ]
    moved = f"moved {short(value) if value < 0 else '+' + short(value)}"
    if receipt.verdict == NOISE:
        moved += ", no more than rounding error"
    return f"{moved}: " + ", ".join(parts) + (f"; {source}" if source else "")


def facts(number: Number) -> tuple[str, ...]:
    """Say what a number is to be compared with: its tensor's shape, its rank in it, |g| / |w|."""
    ref = number.ref
    if not isinstance(ref, Ref | Update) or not ref.size:
        return ()
    found = [f"shape {list(ref.size)}"]
    value = number.value
    if 1 < ref.numel <= _COMPARED and math.isfinite(value):
        smaller = int((ref.tensor().abs() < abs(value)).sum())
        others = ref.numel - 1
        share = f"larger than {percent(smaller / others)} of them in size"
        ends = {0: "the smallest of them in size", others: "the largest of them in size"}
        found.append(ends.get(smaller, share))
    owner = _owner(number)
    if owner is not None and owner.value:
        kind = "|Δ|" if isinstance(ref, Update) else "|g|"
        found.append(f"{kind}/|w| = {short(abs(value / owner.value), 3)}")
    return tuple(found)


def _owner(number: Number) -> Number | None:
    """The weight that a gradient or an update is of."""
    trace, address = number.trace, number.address
    for suffix in (".grad", ".update"):
        name = address.partition("[")[0].removesuffix(suffix)
        if address.endswith(suffix) and name in trace.parameters:
            ref = trace[name].ref
            return trace.number_at(ref, number.at) if ref.size == number.ref.size else None
    return None
