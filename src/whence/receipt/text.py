"""A receipt line by line: the title, one plain sentence, the formula, a bar for each term."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from whence.receipt.figures import EXACT as ALL_DIGITS
from whence.receipt.figures import enough, percent, short, trimmed
from whence.receipt.verdicts import EXACT, NOISE, ROUNDED, SAMPLED, UNADDED

if TYPE_CHECKING:
    from whence.receipt.record import Receipt, Term

BAR = 12  # characters of the largest share
_FEW = 4  # so many numbers are told apart by their digits
_CANCELS = 10  # times its value
HANDED_ON = "handed on"  # unchanged, by an operation whose name says nothing new
Row = list[tuple[str, str]]  # pieces of a line: (text, style)


def plain_lines(receipt: Receipt, limit: int | None, digits: int) -> list[str]:
    """Return a receipt as lines without colour."""
    return ["".join(text for text, _ in row).rstrip() for row in rows(receipt, limit, digits)]


def rows(receipt: Receipt, limit: int | None, digits: int, inside: str = "") -> Iterator[Row]:
    """Yield a receipt as rows of (text, style).

    Styles are "", "bold", "dim", "bar" and "verdict".

    Args:
        receipt: what is written.
        limit: at most so many terms; `None`: all.
        digits: significant digits of each number; 17: every digit, and raw names.
        inside: the indent of a receipt within another.
    """
    shown, others = _listed(receipt, limit)
    figures = digits
    if 1 < len(shown) < _FEW and not others[0]:
        figures = enough([receipt.value, *(term.value for term in shown)], digits)
    for row in _head(receipt, digits, figures):
        yield [(inside, ""), *row]
    for row in _terms(receipt, shown, others, digits, figures, inside):
        yield [(inside, ""), *row]
    if judged := _judged(receipt, inside != ""):
        yield [(inside + "  ", ""), *judged]
    for note in receipt.notes:
        yield [(inside, ""), ("  " + trimmed(note, digits), "")]
    if receipt.opens:
        yield [(inside, ""), ("  open next: " + "  ".join(receipt.opens), "dim")]


def _head(receipt: Receipt, digits: int, figures: int) -> Iterator[Row]:
    if receipt.title:
        yield [(receipt.title, "bold")]
    about = [receipt.quantity] if receipt.quantity != "value" else []
    if digits >= ALL_DIGITS:
        about += [word for word in (receipt.operation, receipt.dtype) if word]
    words = f"   {', '.join(about)}" if about else ""
    yield [
        (receipt.address, "" if receipt.title else "bold"),
        (" = ", ""),
        (short(receipt.value, figures), "bold"),
        (words, "dim"),
    ]
    if receipt.sentence:
        yield [("  " + receipt.sentence, "")]
    for line in (receipt.symbols, receipt.numbers):
        if line:
            yield [("  = " + trimmed(line, figures if line is receipt.numbers else digits), "")]
    if receipt.names:
        names = ", ".join(f"{symbol} = {name}" for symbol, name in receipt.names.items())
        yield [("    with " + trimmed(names, digits), "dim")]
    if receipt.through:
        if digits >= ALL_DIGITS:
            way = " ← ".join(address for _, address in receipt.through)
            yield [
                ("    handed on by " + ", ".join(w for w, _ in receipt.through) + ": " + way, "dim")
            ]
        else:
            ways = dict.fromkeys(words for words, _ in receipt.through if words != HANDED_ON)
            if ways:
                yield [(f"    {', '.join(ways)}; made as {receipt.through[-1][1]}", "dim")]
    if receipt.facts:
        yield [("  " + "; ".join(receipt.facts), "dim")]


def _listed(receipt: Receipt, limit: int | None) -> tuple[list[Term], tuple[int, float]]:
    """The terms to show, how many more there are, and their sum.

    All are given in the order in which they were added, so that a reader can add them up again;
    where there are too many, the largest come first.
    """
    shown, count, value = list(receipt.terms), receipt.others.count, receipt.others.value
    if limit is not None and len(shown) > limit:
        by_size = receipt.largest_first()
        shown, rest = by_size[:limit], by_size[limit:]
        count, value = count + len(rest), value + sum(term.value for term in rest)
    return shown, (count, value)


def _terms(
    receipt: Receipt,
    shown: list[Term],
    others: tuple[int, float],
    digits: int,
    figures: int,
    inside: str,
) -> Iterator[Row]:
    """The terms, what all of them share said once above."""
    labels, places = {t.label for t in shown}, {t.place for t in shown}
    same_label, same_place = (len(each) == 1 < len(shown) for each in (labels, places))
    if same_label and shown[0].label not in receipt.symbols:
        yield [(f"  each term: {trimmed(shown[0].label, digits)}", "dim")]
    if same_place and shown[0].place:
        yield [(f"  all of them: {shown[0].place}", "dim")]
    width = max([len(short(t.value, figures)) for t in shown], default=0)
    if others[0]:
        width = max(width, len(short(others[1], figures)))
    shares = receipt.shares(shown)
    largest = max(shares, default=1.0)
    for term, share in zip(shown, shares, strict=True):
        detail = trimmed(term.detail, digits)
        label = "" if same_label else trimmed(term.label, digits)
        words = [label + (f" = {detail}" if label and detail else detail)]
        words += [term.place] if term.place and not same_place else []
        if not _repeats(receipt, shown, others):
            yield [
                (f"    {short(term.value, figures):>{width}}  ", ""),
                (bar(share, largest), "bar"),
                (f" {percent(share):>6}  {'  '.join(w for w in words if w)}", ""),
            ]
        for line in _slopes(term, figures):
            yield [(line, "dim")]
        for opened in term.opened:
            yield from rows(opened, len(opened.terms), digits, inside + "      ")
    if others[0]:
        s = "" if others[0] == 1 else "s"
        words = f"{'':{BAR}} {'':6}  {others[0]:,} other term{s}"
        yield [(f"    {short(others[1], figures):>{width}}  ", ""), (words, "dim")]


def _slopes(term: Term, figures: int) -> list[str]:
    """The numbers a function reads, each with the slope of the function by it."""
    pairs = [] if term.detail else list(zip(term.factors, term.slopes, strict=False))
    known = [(address, value, slope) for (address, value), slope in pairs if slope == slope]
    return [
        f"      slope {short(slope, figures)} by {address} = {short(value, figures)}"
        for address, value, slope in known
    ]


def _repeats(receipt: Receipt, shown: list[Term], others: tuple[int, float]) -> bool:
    """Whether the only term says nothing that the formula doesn't say."""
    if len(shown) != 1 or others[0] or shown[0].place:
        return False
    term = shown[0]
    return term.label in ("", receipt.symbols) and term.detail in ("", receipt.numbers)


def _judged(receipt: Receipt, nested: bool) -> Row:
    """The verdict, and in full only once what rounding may leave."""
    judged = receipt.verdict
    if judged in UNADDED or not (receipt.terms or judged != EXACT):
        return []
    left, bound = f"residual {receipt.residual:.2g}", f"{receipt.bound:.2g}"
    words = {
        EXACT: "the terms add up to every digit" if len(receipt.terms) > 1 else "",
        ROUNDED: f"{left}, of at most {bound} that rounding may leave",
        NOISE: f"no larger than the {bound} that rounding alone may leave; {left}",
        SAMPLED: f"it was drawn at random; {left}",
    }.get(judged, f"{left}, and rounding may leave {bound} at most")
    if nested:
        words = "" if judged == EXACT else left
    if _CANCELS <= receipt.cancellation < float("inf"):
        words += f"; the terms cancel, their sizes are {receipt.cancellation:.3g} times the sum"
    return [(judged, "verdict"), (f": {words}" if words else "", "")]


def bar(share: float, largest: float) -> str:
    """Draw a share in eighths of a character.

    Example:
        >>> bar(0.5, 1.0)
        '██████      '
    """
    eighths = round(8 * BAR * share / largest) if largest else 0
    drawn = "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")
    return f"{drawn:<{BAR}}"
