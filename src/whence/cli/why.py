"""`whence why`: any number of any training step, opened into the arithmetic that made it."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import tyro
from rich.table import Table

from whence.cli.document import strict
from whence.cli.reach import reach
from whence.cli.terminal import Console
from whence.errors import WhenceError, in_bytes, shell_word
from whence.interop.answers import find_answer, load_answer
from whence.receipt.figures import EXACT as ALL_DIGITS
from whence.receipt.figures import READ, finite
from whence.receipt.verdicts import GIVEN
from whence.runs.run import Run
from whence.runs.store.watched import is_watched

if TYPE_CHECKING:
    from whence.why import Balance, Moved, Number, Trace

Told: TypeAlias = list[int]
Read: TypeAlias = list[int]
By = Literal["token", "position", "example", "where", "head", "module", "path"]


def why(
    run: Annotated[Path | None, tyro.conf.Positional] = None,
    address: Annotated[str, tyro.conf.Positional] = "",
    *,
    answer: str | None = None,
    token: int = 1,
    step: int | None = None,
    text: str | None = None,
    depth: int = 1,
    top: int = 8,
    digits: int = READ,
    exact: bool = False,
    largest: bool = False,
    by: By | None = None,
    seconds: float = 2.0,
    line: str | None = None,
    row: str | None = None,
    example: int | None = None,
    check: bool = False,
    slope: bool = False,
    list: bool = False,
    balance: bool = False,
    first_bad: bool = False,
    interactive: bool = False,
    numbers: int = 10_000,
    approximate: bool = False,
    model: str | None = None,
    json: bool = False,
) -> int:
    """Open any number of any training step into the arithmetic that made it.

    Such as `whence why runs/mine 'blocks.0.mlp.up.weight[3,7].update' --step 31`. The run is taken
    back to that step, and the step is done again with every number recorded.

    Args:
        run: the run's folder.
        address: loss, logits[0,12,'e'], a module's output, a variable of the model's code, a
            parameter or an optimiser's tensor, with .grad, .update, .after and @STEP; none: loss,
            of an answer the token's logit.
        answer: the number of an answer of `whence chat` or `whence serve`: the model that gave it
            reads it again, up to the token that is asked about. The run may be left out.
        token: which token of the answer, from 1.
        step: from 0 to the number of steps done; none: the last one done.
        text: instead of the step's batch, let the model of that step read this text (forward and
            backward, no update); `-` reads standard input.
        depth: how many levels to open.
        top: how many terms or groups to show; the rest is summed up.
        digits: significant digits of the numbers shown.
        exact: show every digit, and the raw names of operations, one at a time.
        largest: open the number of the tensor at the address that is furthest from 0; without an
            address, the weight that this step moved furthest.
        by: group what the number is made of.
        seconds: how long --by path follows paths; it says so where that wasn't enough for all.
        line: instead, what this line of the training text moved most in the step: its number, or
            `worst` for the line with the most loss above the batch's mean.
        row: the same, of a table or of pairs.
        example: the same of one example of the batch, from 0.
        check: compare the number's gradient with what nudging it really does, in float64.
        slope: measure how much the number depends on each input of the operation that made it, by
            nudging them: also where that operation has no rule.
        list: list the step's tensors instead, those whose name has the address in it.
        balance: add up numbers drawn from every operation of the step instead; ends with code 1
            where one doesn't add up.
        first_bad: open the first number of the step that isn't finite instead, of those that led
            to its failure; without --step, of the step at which the run was refused, if it was.
        interactive: go on asking about the step, which stays in memory: numbers of what to open
            next, addresses, back, /text to search.
        numbers: how many numbers --balance draws.
        approximate: go on where a replayed loss differs from the record.
        model: of a watched loop: module:function that builds its model.
        json: print JSON.
    """
    from whence.cli.conversation import Conversation
    from whence.cli.receipts import show_blame, show_receipt
    from whence.why import Address, Blame, Receipt, moved
    from whence.why.receipts.slope import Slope

    line = row if line is None else line
    _refuse(
        {"depth": depth, "top": top, "numbers": numbers, "digits": digits},
        {"--by": by is not None, "--check": check, "--slope": slope, "--list": list,
         "--balance": balance,
         "--first-bad": first_bad, "--line": line is not None, "--example": example is not None,
         "--interactive": interactive},
    )  # fmt: skip
    if answer is not None:
        if text is not None or step is not None:
            raise WhenceError(
                "--answer says what is read, and at which step: leave out the others."
            )
        run = run or find_answer(Path("runs"), answer)
        step, read, logit = _answer(run, answer, token)
        address = address or logit
    else:
        read = sys.stdin.read() if text == "-" else text
    if run is None:
        raise WhenceError("name a run, such as runs/topics-1, or an --answer.")
    inverse = line is not None or example is not None
    whole = list or balance or first_bad or inverse or largest
    wanted = None if whole else Address.parse(address or "loss")
    if wanted is not None and wanted.step is not None:
        if step not in (None, wanted.step):
            raise WhenceError(f"{address!r} says step {wanted.step} and --step says {step}.")
        step, wanted = wanted.step, Address(wanted.name, wanted.index, wanted.quantity)
    told: Told = []
    shown = None
    if is_watched(run):
        if read is not None:
            raise WhenceError(f"{run} is the record of a watched loop: it can't read a text.")
        t, step = _of_watched(run, step, model, told, json)
    else:
        t, step, shown = _of_run(run, step, read, first_bad, approximate, model, told, json)
    head: dict[str, Any] = {
        "schema": 1, "run": str(run), "step": step, "text": shown,
        "loss": finite(t.loss.value) if _has_loss(t) else None,
        "notes": t.notes, "bytes": {"told": told[0] if told else 0, "kept": t.nbytes},
    }  # fmt: skip
    if balance:
        return _balance(t, numbers, head, json)
    if list:
        _list(t, address, head, json)
        return 0
    if first_bad:
        _first_bad(t, top, head, json)
        return 0
    if inverse:
        _moved(moved(t, line=line, example=example, top=top), head, json, digits)
        return 0
    number = _furthest(t, address) if largest else t.number(str(wanted))
    shown_digits = ALL_DIGITS if exact else digits
    if interactive:
        say = Console(soft_wrap=True)
        _say_head(say, run, step, t, shown)
        Conversation(t, say, top=top, digits=shown_digits).hold(number.address)
        return 0
    found: Any
    if check:
        found, name = number.check(), "check"
    elif slope:
        found, name = number.slope(), "slope"
    elif by is not None:
        found, name = number.blame(by, seconds=seconds), "blame"
    else:
        found, name = number.why(top=top, depth=depth, raw=exact, context=True), "receipt"
    if json:
        print(strict({**head, name: found.to_dict()}))
        return 0
    console = Console(soft_wrap=True)
    _say_head(console, run, step, t, shown)
    if isinstance(found, Receipt):
        show_receipt(console, found, shown_digits)
        recorded = step and not is_watched(run)
        if found.verdict == GIVEN and recorded and t.after_of(number.numbers.name) is not None:
            before = f"{number.address}.after"
            console.print(f"  the step before made it: {before} --step {step - 1}")
    elif isinstance(found, Blame):
        show_blame(console, found, top, shown_digits)
    else:
        console.print("\n".join(found.lines(top)) if isinstance(found, Slope) else str(found))
    return 0


def _of_watched(
    run: Path, step: int | None, model: str | None, told: Told, quiet: bool
) -> tuple[Trace, int]:
    """Trace a step that a watched loop has stored."""
    from whence.cli.watched import past_of

    past = past_of(run, step, model)
    with _tracing(quiet):
        return past.trace(tell=told.append), past.step.number


def _of_run(
    run: Path, step: int | None, read: str | Read | None, first_bad: bool, approximate: bool,
    model: str | None, told: Told, quiet: bool,
) -> tuple[Trace, int, str | None]:  # fmt: skip
    """Trace a step of a run, or what its model of then makes of a text."""
    from whence.why.history.moments import trace_moment

    if model is not None:
        raise WhenceError(f"{run} has a recipe that builds its model: leave out --model.")
    opened = Run.open(run)
    if first_bad and step is None and len(opened.steps) in opened.checkpoints:
        step = len(opened.steps)  # where it was refused, the state before is saved
    moment = reach(opened, step, approximate, quiet)
    reached = moment.step  # tracing does the step, and stands behind it
    shown = read if read is None or isinstance(read, str) else moment.tokenizer.decode(read)
    with _tracing(quiet):
        t = trace_moment(moment, read, tell=told.append)
    if moment.differences:
        t.notes.append(moment.how_far_off())
    return t, reached, shown


def _has_loss(t: Trace) -> bool:
    """Whether backward began at one number; at a watched model's outputs it may begin at many."""
    return bool(t.losses) and t.losses[0].numel == 1


def _tracing(quiet: bool) -> Any:
    err = Console(stderr=True)
    shows = err.is_terminal and not quiet
    return err.status("tracing", spinner="dots") if shows else nullcontext()


def _answer(run: Path, number: str, token: int) -> tuple[int, list[int], str]:
    """The step of an answer, what was read up to one of its tokens, and that token's logit."""
    found = load_answer(run, number)
    if not 1 <= token <= len(found.written):
        raise WhenceError(f"the answer has {len(found.written)} tokens: --token {token} is none.")
    read = [*found.prompt, *found.written[:token]]
    return found.step, read, f"logits[0,{len(read) - 2},{read[-1]}]"


def _refuse(counts: dict[str, int], asked: dict[str, bool]) -> None:
    for name, value in counts.items():
        if value < 1:
            raise WhenceError(f"--{name} is {value}: give 1 or more.")
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) > 1:
        raise WhenceError(f"{' and '.join(given)} are different questions: ask one at a time.")


def _furthest(t: Trace, address: str) -> Number:
    """The largest number of a tensor; of none, the weight that the step moved furthest."""
    from whence.why import Address

    if address:
        parsed = Address.parse(address)
        numbers = t[parsed.name]
        for quantity in parsed.quantity:
            numbers = getattr(numbers, quantity)
        return numbers.largest()
    moved = [t[name].update.largest() for name in t.parameters if t.after_of(name) is not None]
    if not moved:
        raise WhenceError("this step moved no weight: name a tensor, such as logits.")
    return max(moved, key=lambda number: abs(number.value))


def _moved(found: Moved, head: dict[str, Any], json: bool, digits: int) -> None:
    if json:
        print(strict({**head, "moved": found.to_dict()}))
        return
    console = Console(soft_wrap=True)
    console.print("\n".join(found.lines(digits)), markup=False)
    if found.weights:
        opens = f"whence why {shell_word(head['run'])} {shell_word(found.weights[0].address)}"
        console.print(f"  open the first: {opens} --step {head['step']}", markup=False)


def _say_head(console: Console, run: Path, step: int, t: Trace, text: str | None) -> None:
    what = f"step {step:,}" if text is None else f"before step {step:,}, reading a text"
    notes = "; ".join(t.notes) or (f"loss {t.loss.value!r}" if _has_loss(t) else "done again")
    console.print(f"{run}, {what}: {notes}")


def _list(t: Trace, part: str, head: dict[str, Any], json: bool) -> None:
    rows = []
    for name in t.names():
        if part in name:
            tensor = t[name]
            dtype = str(tensor.ref.dtype).removeprefix("torch.")
            rows.append({"name": name, "shape": [*tensor.shape], "dtype": dtype})
    if json:
        print(strict({**head, "tensors": rows}))
        return
    if not rows:
        raise WhenceError(f"no tensor of this step has {part!r} in its name.")
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        table.add_row(row["name"], str(row["shape"]), row["dtype"])
    Console(soft_wrap=True).print(table)
    print(
        f"{len(rows):,} tensors, {in_bytes(head['bytes']['kept'])}; each opens by its name and an "
        "index, and takes .grad; parameters also .update and .after"
    )


def _first_bad(t: Trace, top: int, head: dict[str, Any], json: bool) -> None:
    from whence.cli.receipts import show_receipt
    from whence.why import first_bad as first_bad_of

    found = first_bad_of(t, top)
    if json:
        print(strict({**head, "first_bad": None if found is None else found.to_dict()}))
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
    recorded = head["step"] and not is_watched(Path(head["run"]))
    if found.receipt.verdict == GIVEN and recorded and t.after_of(name.partition("[")[0]):
        console.print(
            f"  it was so before this step: whence why {head['run']} --first-bad --step "
            f"{head['step'] - 1}",
            markup=False,
        )


def _balance(t: Trace, numbers: int, head: dict[str, Any], json: bool) -> int:

    from whence.why import balance

    found: Balance = balance(t, numbers=numbers)
    if json:
        print(strict({**head, "balance": found.to_dict()}))
    else:
        print("; ".join(t.notes))
        print(found)
    return 1 if found.wrong else 0
