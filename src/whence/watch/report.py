"""The page of a crash: what happened, the first number that wasn't finite, what to type next."""

from __future__ import annotations

from pathlib import Path

from whence.errors import WhenceError
from whence.watch.events import Step
from whence.watch.past import Past
from whence.watch.record import loss_of
from whence.why import FirstBad, Trace, first_bad
from whence.why.receipts.receipt import GIVEN


def report_of(past: Past, reason: str, before: list[Step], folder: Path) -> str:
    """Write the page in Markdown.

    Args:
        past: the step.
        reason: why the report is written.
        before: the last steps done, oldest first.
        folder: where the step lies.
    """
    found: FirstBad | None = None
    lines = [f"# Step {past.step.number}: {reason}", ""]
    try:
        trace = past.trace()
        found = first_bad(trace)
        lines += _first(trace, found)
    except (WhenceError, ArithmeticError, RuntimeError, ValueError, TypeError) as error:
        lines += [f"Doing the step again raises {type(error).__name__}: {error}", ""]
    lines += ["## The steps before", "", *_table([*before, past.step])]
    lines += ["", "## Go on from here", "", "```python", *_commands(folder, found), "```", ""]
    return "\n".join(lines)


def _first(trace: Trace, found: FirstBad | None) -> list[str]:
    lines = ["## The first number that isn't finite", ""]
    if found is None:
        lines += ["The loss, all gradients and all parameters of the step are finite.", ""]
    else:
        lines += [_sentence(found), "", "```text", *str(found).splitlines(), "```", ""]
    return lines + [f"- {note}" for note in trace.notes] + ([""] if trace.notes else [])


def _sentence(found: FirstBad) -> str:
    receipt = found.receipt
    if receipt.verdict != GIVEN:
        return (
            f"`{receipt.address}` is {receipt.value}: the operation below made it, of numbers that "
            "were finite."
        )
    if receipt.address.endswith(".grad"):
        return (
            f"`{receipt.address}` arrived from outside and was {receipt.value}: what the models "
            "returned was finite, and the loss, or another part of the loop, sent this back."
        )
    return f"`{receipt.address}` was {receipt.value} before any operation of the step."


def _table(steps: list[Step]) -> list[str]:
    rows = ["| step | loss | gradient norm | rate |", "|---:|---:|---:|---:|"]
    return rows + [
        f"| {step.number} | {loss_of(step):.6g} | {step.grad_norm:.6g} | {step.rate:.3g} |"
        for step in steps
    ]


def _commands(folder: Path, found: FirstBad | None) -> list[str]:
    address = found.receipt.address if found else "loss"
    return [
        "from whence.watch import open_crash",
        "from whence.why import first_bad",
        f'past = open_crash("{folder.as_posix()}", model, optimizer)  # built as they were',
        "trace = past.trace()",
        "print(first_bad(trace))",
        f'print(trace.number("{address}").why(depth=2))',
        "print(past.redo().differences)  # empty: the same bits",
    ]
