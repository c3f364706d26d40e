"""Receipts and groups as a terminal shows them; elsewhere they are plain lines."""

from rich.text import Text

from whence.cli.terminal import Console
from whence.receipt.figures import READ
from whence.receipt.text import rows
from whence.receipt.verdicts import CLOSED, EXACT, ROUNDED, WRONG
from whence.why import Attribution, Receipt

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


def show_attribution(console: Console, found: Attribution, top: int, digits: int = READ) -> None:
    """Print the groups of a number."""
    for i, line in enumerate(found.lines(top, digits)):
        group = 0 < i <= min(top, len(found.shares))
        style = "bold" if i == 0 else "" if group else "dim"
        console.print(Text(line, style=style) if console.is_terminal else line, markup=False)
