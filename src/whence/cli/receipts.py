"""Receipts and groups as a terminal shows them; elsewhere they are plain lines."""

from rich.text import Text

from whence.cli.terminal import Console
from whence.receipt.figures import EXACT as ALL_DIGITS
from whence.receipt.figures import READ, figure
from whence.receipt.text import bar, rows
from whence.receipt.verdicts import CLOSED, EXACT, ROUNDED, WRONG
from whence.why import Blame, Receipt

_COLOURS = {EXACT: "green", ROUNDED: "green", WRONG: "bold red", CLOSED: "yellow"}


def show_receipt(console: Console, receipt: Receipt, digits: int = READ) -> None:
    """Print a receipt: coloured and cut to the width in a terminal, line by line elsewhere."""
    if not console.is_terminal:
        console.print("\n".join(receipt.lines(None, digits)))
        return
    for row in rows(receipt, None, digits):
        pieces = [(text, _style(text, style)) for text, style in row]
        console.print(Text.assemble(*pieces))


def _style(text: str, style: str) -> str:
    if style == "verdict":
        return _COLOURS.get(text, "yellow")
    return "cyan" if style == "bar" else style


def digits_of(exact: bool, digits: int) -> int:
    """Return how many digits are shown."""
    return ALL_DIGITS if exact else digits


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
                (bar(share.share, largest), "cyan"),
                f" {100 * share.share:5.1f} %  {share.label}",
                (many, "dim"),
            )
        )
    for line in lines[1 + len(shown) :]:
        console.print(line, style="dim")
