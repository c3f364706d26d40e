"""`whence why --interactive`: one question after another about a step that stays in memory."""

import sys

from whence.cli.inside.receipts import show_attribution, show_receipt
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.receipt import Receipt
from whence.receipt.figures import EXACT, READ
from whence.why import Trace, moved
from whence.why.attribution.groups import WAYS

_OFFERED, _LISTED = 9, 20
PATHS = 2.0  # seconds that paths are followed
HELP = """\
  a number          open that line of "open next"
  an address        open it, such as head.weight[3,7].update
  a tensor's name   open its largest number
  back              to the number before
  /text             the tensors whose name has the text in it
  by WAY            group the number: {ways}
  line N            what line N of the text moved most; line worst: the one with the most loss
  exact, short      every digit, or few
  help, quit"""


class Conversation:
    """Answers questions about one traced step.

    Args:
        trace: the step.
        console: where the answers go.
        top: how many terms are shown.
        digits: significant digits of the numbers.

    Attributes:
        here: the address that was opened last.
        offered: the addresses that a number stands for.
    """

    def __init__(self, trace: Trace, console: Console, top: int = 8, digits: int = READ):
        self.trace, self.console, self.top, self.digits = trace, console, top, digits
        self.here = ""
        self.before: list[str] = []
        self.offered: list[str] = []

    def hold(self, address: str) -> None:
        """Open a number, then answer the lines of standard input until `quit`."""
        self.open(address)
        while True:
            self.console.print("why> ", style="bold", end="")
            line = sys.stdin.readline()
            if not line:
                self.console.print()
                return
            try:
                if not self.answer(line.strip()):
                    return
            except WhenceError as error:
                self.console.print(f"  {error}", markup=False)

    def answer(self, line: str) -> bool:
        """Answer one line; return whether the conversation continues."""
        word, _, rest = line.partition(" ")
        if word in ("quit", "q", "exit"):
            return False
        if word in ("help", "?"):
            self.console.print(HELP.format(ways=", ".join(WAYS)), markup=False)
        elif word in ("back", "b"):
            self._back()
        elif line.startswith("/"):
            self._search(line[1:].strip())
        elif word in ("exact", "short"):
            self.digits = EXACT if word == "exact" else READ
            self.open(self.here, remember=False)
        elif word == "by":
            found = self.trace.number(self.here).attribution(rest.strip(), seconds=PATHS)
            show_attribution(self.console, found, self.top)
        elif word == "line":
            self._moved(rest.strip())
        elif line.isdigit():
            self._pick(int(line))
        elif line:
            self.open(line)
        return True

    def open(self, address: str, remember: bool = True) -> None:
        """Open a number, and offer what to open next."""
        number = (
            self.trace[address].largest()
            if address in self.trace and self.trace[address].shape
            else self.trace.number(address)
        )
        receipt = number.why(top=self.top, raw=self.digits >= EXACT, context=True)
        if remember and self.here:
            self.before.append(self.here)
        self.here = number.address
        show_receipt(self.console, receipt, self.digits)
        self._offer(_next(receipt))

    def _offer(self, addresses: list[str]) -> None:
        self.offered = addresses[:_OFFERED]
        if self.offered:
            self.console.print("  open next")
        for i, address in enumerate(self.offered, start=1):
            self.console.print(f"    {i}  {address}", markup=False)

    def _pick(self, number: int) -> None:
        if not 1 <= number <= len(self.offered):
            raise WhenceError(
                f"{number} is not among the {len(self.offered)} offered: give one of these, or an "
                "address."
            )
        self.open(self.offered[number - 1])

    def _back(self) -> None:
        if not self.before:
            raise WhenceError("this is the number you began with.")
        address = self.before.pop()
        self.open(address, remember=False)

    def _search(self, part: str) -> None:
        found = [name for name in self.trace.names() if part in name]
        if not found:
            raise WhenceError(f"no tensor of this step has {part!r} in its name.")
        for name in found[:_LISTED]:
            self.console.print(f"    {name}  {[*self.trace[name].shape]}", markup=False)
        if len(found) > _LISTED:
            self.console.print(f"    and {len(found) - _LISTED:,} more")

    def _moved(self, line: str) -> None:
        found = moved(self.trace, line=line or "worst", top=self.top)
        self.console.print("\n".join(found.lines(min(self.digits, 9))), markup=False)
        self._offer([weight.address for weight in found.weights])


def _next(receipt: Receipt) -> list[str]:
    """What a receipt's terms are made of, the largest terms first."""
    named = [address for term in receipt.largest_first() for address, _ in term.factors]
    return [a for a in dict.fromkeys(named) if a != receipt.address]
