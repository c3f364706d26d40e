"""Receipts and groups as a terminal shows them; elsewhere they are plain lines."""

from rich.text import Text

from whence.cli.terminal import Console
from whence.why import Blame, Receipt
from whence.why.receipts.receipt import (
    CLOSED,
    EXACT,
    GIVEN,
    NOT_FINITE,
    ROUNDED,
    UNSEEN,
    WRONG,
    figure,
)

_BAR = 12  # characters of the largest share
_COLOURS = {EXACT: "green", ROUNDED: "green", WRONG: "bold red", CLOSED: "yellow"}


def show_receipt(console: Console, receipt: Receipt) -> None:
    """Print a receipt: coloured and cut to the width in a terminal, line by line elsewhere."""
    if console.is_terminal:
        _receipt(console, receipt, "")
    else:
        console.print(str(receipt))


def show_blame(console: Console, blame: Blame, top: int) -> None:
    """Print the groups of a number."""
    if not console.is_terminal:
        console.print("\n".join(blame.lines(top)))
        return
    lines = blame.lines(top)
    head = (blame.address, "bold"), " = ", (figure(blame.value), "bold"), f", by {blame.by}"
    console.print(Text.assemble(*head))
    shown = blame.shares[:top]
    width = max((len(figure(share.value)) for share in shown), default=0)
    largest = max((share.share for share in shown), default=1.0)
    for share in shown:
        many = f"  {share.terms:,} terms" if share.terms > 1 else ""
        console.print(
            Text.assemble(
                f"  {figure(share.value):>{width}}  ",
                _bar(share.share, largest),
                f" {100 * share.share:5.1f} %  {share.label}",
                (many, "dim"),
            )
        )
    for line in lines[1 + len(shown) :]:
        console.print(line, style="dim")


def _receipt(console: Console, receipt: Receipt, indent: str) -> None:
    def say(*parts: str | tuple[str, str]) -> None:
        console.print(Text.assemble(indent, *parts))

    say(
        (receipt.address, "bold"),
        " = ",
        (figure(receipt.value), "bold"),
        (f"   {receipt.quantity}, {receipt.dtype}", "dim"),
    )
    say(f"  = {receipt.symbols}")
    if receipt.names:
        names = ", ".join(f"{symbol} = {name}" for symbol, name in receipt.names.items())
        say((f"    with {names}", "dim"))
    if receipt.numbers:
        say(f"  = {receipt.numbers}")
    width = max((len(figure(term.value)) for term in receipt.terms), default=0)
    largest = max((term.share for term in receipt.terms), default=1.0)
    for term in receipt.terms:
        words = "  ".join(word for word in (term.label, term.place) if word)
        share = f" {100 * term.share:5.1f} %  {words}"
        say(f"  {figure(term.value):>{width}}  ", _bar(term.share, largest), share)
        if term.detail:
            say((f"  {'':>{width}}  {'':{_BAR}} {'':9} = {term.detail}", "dim"))
        if term.receipt is not None:
            _receipt(console, term.receipt, indent + "      ")
    if receipt.others[0]:
        s = "" if receipt.others[0] == 1 else "s"
        others = f"{'':{_BAR}} {'':9} {receipt.others[0]:,} other term{s}"
        say(f"  {figure(receipt.others[1]):>{width}}  ", (others, "dim"))
    if receipt.verdict not in (GIVEN, UNSEEN, CLOSED, NOT_FINITE):
        colour = _COLOURS.get(receipt.verdict, "yellow")
        say(
            f"  residual {receipt.residual:.3g} (rounding may leave {receipt.bound:.3g}), "
            f"cancellation {receipt.cancellation:.3g}: ",
            (receipt.verdict, colour),
        )
    for note in receipt.notes:
        say(f"  {note}")
    if receipt.opens:
        say((f"  open next: {'  '.join(receipt.opens)}", "dim"))


def _bar(share: float, largest: float) -> tuple[str, str]:
    """A share as a bar of eighths of a character."""
    eighths = round(8 * _BAR * share / largest) if largest else 0
    bar = "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")
    return f"{bar:<{_BAR}}", "cyan"
