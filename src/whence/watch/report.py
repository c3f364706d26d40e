"""The page of a crash: what happened, the first number that wasn't finite, what to type next."""

from __future__ import annotations

from pathlib import Path

from whence.errors import WhenceError
from whence.watch.events import Step
from whence.watch.findings import NotFinite, first_not_finite
from whence.watch.past import Past
from whence.watch.record import loss_of
from whence.why.trace import Trace


def report_of(past: Past, reason: str, before: list[Step], folder: Path) -> str:
    """Write the page in Markdown.

    Args:
        past: the step.
        reason: why the report is written.
        before: the last steps done, oldest first.
        folder: where the step lies.
    """
    found: NotFinite | None = None
    lines = [f"# Step {past.step.number}: {reason}", ""]
    try:
        trace = past.trace()
        found = first_not_finite(trace)
        lines += _first(trace, found)
    except (WhenceError, ArithmeticError, RuntimeError, ValueError, TypeError) as error:
        lines += [f"Doing the step again raises {type(error).__name__}: {error}", ""]
    lines += ["## The steps before", "", *_table([*before, past.step])]
    lines += ["", "## Go on from here", "", "```python", *_commands(folder, found), "```", ""]
    return "\n".join(lines)


def _first(trace: Trace, found: NotFinite | None) -> list[str]:
    lines = ["## The first number that isn't finite", ""]
    if found is None:
        lines += ["All numbers of the step are finite.", ""]
    else:
        lines += [f"{found}.", ""]
        if found.arrived:
            lines += [
                "The models' outputs were finite and the gradient that came back to them wasn't: "
                "the loss, or another part of the loop outside the models, made it.",
                "",
            ]
        if found.receipt is not None:
            lines += ["```text", *str(found.receipt).splitlines(), "```", ""]
    return lines + [f"- {note}" for note in trace.notes] + ([""] if trace.notes else [])


def _table(steps: list[Step]) -> list[str]:
    rows = ["| step | loss | gradient norm | rate |", "|---:|---:|---:|---:|"]
    return rows + [
        f"| {step.number} | {loss_of(step):.6g} | {step.grad_norm:.6g} | {step.rate:.3g} |"
        for step in steps
    ]


def _commands(folder: Path, found: NotFinite | None) -> list[str]:
    address = found.address if found else "loss"
    return [
        "from whence.watch import open_crash",
        f'past = open_crash("{folder.as_posix()}", model, optimizer)  # built as they were',
        "trace = past.trace()",
        f'print(trace.number("{address}").why())',
        "print(past.redo().differences)  # empty: the same bits",
    ]
