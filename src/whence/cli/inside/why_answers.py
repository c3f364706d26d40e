"""What `whence why` answers, once its flags are known to go together."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from whence.cli.document import strict
from whence.cli.inside.conversation import Conversation
from whence.cli.inside.reach import reach
from whence.cli.inside.receipts import show_attribution, show_receipt
from whence.cli.inside.watched import past_of
from whence.cli.terminal import Console
from whence.errors import WhenceError, in_bytes, shell_word
from whence.receipt.figures import finite
from whence.receipt.verdicts import GIVEN
from whence.runs.run import Run
from whence.runs.store.watched import is_watched
from whence.why import Address, Attribution, Number, Receipt, Trace, balance, first_bad, moved
from whence.why.history.moments import trace_moment
from whence.why.receipts.slope import Slope


@dataclass(frozen=True)
class Opened:
    """A traced step of a run.

    Attributes:
        run: the run's folder.
        step: its number.
        trace: every number of it.
        text: what was read instead of the step's batch.
        told: bytes that tracing said it would keep.
    """

    run: Path
    step: int
    trace: Trace
    text: str | None
    told: int

    def head(self) -> dict[str, Any]:
        """Return what every JSON answer begins with."""
        t = self.trace
        return {
            "schema": 1, "run": str(self.run), "step": self.step, "text": self.text,
            "loss": finite(t.loss.value) if _has_loss(t) else None,
            "notes": t.notes, "bytes": {"told": self.told, "kept": t.nbytes},
        }  # fmt: skip

    def console(self) -> Console:
        """Return where the answer goes, with the step named on it."""
        console, t = Console(soft_wrap=True), self.trace
        what = f"step {self.step:,}"
        what = what if self.text is None else f"before {what}, reading a text"
        notes = "; ".join(t.notes) or (f"loss {t.loss.value!r}" if _has_loss(t) else "done again")
        console.print(f"{self.run}, {what}: {notes}")
        return console


def number_and_step(address: str, step: int | None) -> tuple[str, int | None]:
    """Take @STEP off an address.

    Raises:
        WhenceError: the address can't be read, or names another step.
    """
    wanted = Address.parse(address)
    if wanted.step is None:
        return str(wanted), step
    if step not in (None, wanted.step):
        raise WhenceError(f"{address!r} says step {wanted.step} and --step says {step}.")
    return str(Address(wanted.name, wanted.index, wanted.quantity)), wanted.step


def open_step(
    run: Path, step: int | None, read: str | list[int] | None, first_bad: bool, approximate: bool,
    model: str | None, quiet: bool,
) -> Opened:  # fmt: skip
    """Trace a step of a run or of a watched loop, or what the model of then makes of a text."""
    told: list[int] = []
    if is_watched(run):
        if read is not None:
            raise WhenceError(f"{run} is the record of a watched loop: it can't read a text.")
        past = past_of(run, step, model)
        with _tracing(quiet):
            t = past.trace(tell=told.append)
        return Opened(run, past.step.number, t, None, sum(told[:1]))
    if model is not None:
        raise WhenceError(f"{run} has a recipe that builds its model: leave out --model.")
    opened = Run.open(run)
    if first_bad and step is None and len(opened.steps) in opened.checkpoints:
        step = len(opened.steps)  # where it was refused, the state before is saved
    moment = reach(opened, step, approximate, quiet)
    reached = moment.step  # tracing does the step, and is at the state after it
    text = read if read is None or isinstance(read, str) else moment.tokenizer.decode(read)
    with _tracing(quiet):
        t = trace_moment(moment, read, tell=told.append)
    if moment.differences:
        t.notes.append(moment.how_far_off())
    return Opened(run, reached, t, text, sum(told[:1]))


def _has_loss(t: Trace) -> bool:
    """Whether backward began at one number; at a watched model's outputs it may begin at many."""
    return bool(t.losses) and t.losses[0].numel == 1


def _tracing(quiet: bool) -> Any:
    err = Console(stderr=True)
    shows = err.is_terminal and not quiet
    return err.status("tracing", spinner="dots") if shows else nullcontext()


def furthest(opened: Opened, address: str) -> Number:
    """Return a tensor's largest number, or without one the weight that moved furthest."""
    t = opened.trace
    if address:
        parsed = Address.parse(address)
        numbers = t[parsed.name]
        for quantity in parsed.quantity:
            numbers = getattr(numbers, quantity)
        return numbers.largest()
    updates = [t[name].update.largest() for name in t.parameters if t.after_of(name) is not None]
    if not updates:
        raise WhenceError("this step moved no weight: name a tensor, such as logits.")
    return max(updates, key=lambda number: abs(number.value))


def tell(
    opened: Opened, number: Number, name: str, found: Any, top: int, digits: int, json: bool
) -> None:
    """Print a number's receipt, groups, check or slope."""
    if json:
        print(strict({**opened.head(), name: found.to_dict()}))
        return
    console = opened.console()
    if isinstance(found, Receipt):
        show_receipt(console, found, digits)
        recorded = opened.step and not is_watched(opened.run)
        made_before = opened.trace.after_of(number.numbers.name) is not None
        if found.verdict == GIVEN and recorded and made_before:
            before = f"{number.address}.after"
            console.print(f"  the step before made it: {before} --step {opened.step - 1}")
    elif isinstance(found, Attribution):
        show_attribution(console, found, top, digits)
    else:
        console.print("\n".join(found.lines(top)) if isinstance(found, Slope) else str(found))


def converse(opened: Opened, address: str, top: int, digits: int) -> None:
    """Answer one question after another about the step."""
    Conversation(opened.trace, opened.console(), top=top, digits=digits).hold(address)


def tell_moved(
    opened: Opened, line: str | None, example: int | None, top: int, digits: int, json: bool
) -> None:
    """Print what a line or an example of the batch moved most."""
    found = moved(opened.trace, line=line, example=example, top=top)
    if json:
        print(strict({**opened.head(), "moved": found.to_dict()}))
        return
    console = Console(soft_wrap=True)
    console.print("\n".join(found.lines(digits)), markup=False)
    if found.weights:
        opens = f"whence why {shell_word(opened.run)} {shell_word(found.weights[0].address)}"
        console.print(f"  open the first: {opens} --step {opened.step}", markup=False)


def tell_names(opened: Opened, part: str, json: bool) -> None:
    """Print the step's tensors whose name has the part in it."""
    rows = []
    for name in opened.trace.names():
        if part in name:
            tensor = opened.trace[name]
            dtype = str(tensor.ref.dtype).removeprefix("torch.")
            rows.append({"name": name, "shape": [*tensor.shape], "dtype": dtype})
    if json:
        print(strict({**opened.head(), "tensors": rows}))
        return
    if not rows:
        raise WhenceError(f"no tensor of this step has {part!r} in its name.")
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        table.add_row(row["name"], str(row["shape"]), row["dtype"])
    Console(soft_wrap=True).print(table)
    print(
        f"{len(rows):,} tensors, {in_bytes(opened.trace.nbytes)}; each opens by its name and an "
        "index, and takes .grad; parameters also .update and .after"
    )


def tell_first_bad(opened: Opened, top: int, json: bool) -> None:
    """Print the first number of the step that isn't finite, and what led to it."""
    t = opened.trace
    found = first_bad(t, top)
    if json:
        document = None if found is None else found.to_dict()
        print(strict({**opened.head(), "first_bad": document}))
        return
    console = Console(soft_wrap=True)
    console.print("; ".join(t.notes), markup=False)
    if found is None:
        console.print("loss, gradients, parameters and moments are all finite")
        return
    show_receipt(console, found.receipt)
    for line in found.lines():
        console.print(f"  {line}", markup=False)
    name = found.receipt.address
    recorded = opened.step and not is_watched(opened.run)
    if found.receipt.verdict == GIVEN and recorded and t.after_of(name.partition("[")[0]):
        console.print(
            f"  it was so before this step: whence why {shell_word(opened.run)} --first-bad --step "
            f"{opened.step - 1}",
            markup=False,
        )


def tell_balance(opened: Opened, numbers: int, json: bool) -> int:
    """Add up numbers drawn from every operation; return the exit code."""
    found = balance(opened.trace, numbers=numbers)
    if json:
        print(strict({**opened.head(), "balance": found.to_dict()}))
    else:
        print("; ".join(opened.trace.notes))
        print(found)
    return 1 if found.wrong else 0
