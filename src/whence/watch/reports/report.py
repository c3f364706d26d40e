"""The page of a crash: what happened, what made it, the steps before, what to type next."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from whence.errors import WhenceError, shell_word
from whence.receipt.verdicts import GIVEN
from whence.watch.again.past import Past
from whence.watch.reports.page import Page
from whence.watch.reports.spiked import spike_lines
from whence.watch.step.events import Step
from whence.watch.step.losses import loss_of
from whence.why import FirstBad, Trace, first_bad

BUILD = "my_module:build"


@dataclass(frozen=True)
class Asked:
    """What a report is about.

    Attributes:
        reason: why it is written.
        before: the last steps done, oldest first.
        spiked: a spike was found: tell which layer and which example carried it.
        build: `module:function` that builds the model, if it is known.
    """

    reason: str
    before: list[Step] = field(default_factory=list)
    spiked: bool = False
    build: str = BUILD


def report_of(past: Past, run: Path, asked: Asked) -> Page:
    """Make the page.

    Args:
        past: the step.
        run: the folder of the run.
        asked: what it is about.
    """
    page = Page(f"Step {past.step.number}: {asked.reason}")
    address = "loss"
    try:
        trace = past.trace()
        found = first_bad(trace)
        address = found.receipt.address if found else _first_address(trace)
        if found is not None or not asked.spiked:
            _first(page, trace, found)
        else:
            address = _spike(page, past, trace, asked.before) or address
        page.points(trace.notes)
    except (
        WhenceError,
        ArithmeticError,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
    ) as error:
        page.text(f"Doing the step again raises {type(error).__name__}: {error}")
    page.heading("The steps before")
    page.table(
        ("step", "loss", "gradient norm", "rate"),
        [
            (f"{s.number}", f"{loss_of(s):.6g}", f"{s.grad_norm:.6g}", f"{s.rate:.3g}")
            for s in [*asked.before, past.step]
        ],
    )
    page.heading("Go on from here")
    page.code(commands(run, past.step.number, address, asked.build), "sh")
    if asked.build == BUILD:
        page.text(f"{BUILD} stands for your function that builds the model, in my_module.py.")
    return page


def commands(run: Path, step: int, address: str, build: str) -> list[str]:
    """Return the five commands to go on with."""
    where, how = shell_word(run), f"--step {step} --model {shell_word(build)}"
    return [
        f"whence why {where} --first-bad {how}",
        f"whence why {where} {shell_word(address)} --depth 2 {how}",
        f"whence why {where} --list {how}",
        f"whence rewind {where} {how}",
        f"whence report {where} --html {shell_word(run.name + '.html')}",
    ]


def _first(page: Page, trace: Trace, found: FirstBad | None) -> None:
    page.heading("The first number that isn't finite")
    if found is None:
        page.text("The loss, all gradients and all parameters of the step are finite.")
        return
    page.text(_sentence(found))
    page.code(str(found).splitlines(), "text")
    weights = [n for n in found.receipt.names.values() if n in trace.parameters]
    if weights:
        page.text(f"The weights in this operation: {', '.join(f'`{n}`' for n in weights)}.")


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


def _spike(page: Page, past: Past, trace: Trace, before: list[Step]) -> str:
    page.heading("The layer and the example that carried the spike")
    sentence, lines, address = spike_lines(past, trace, before)
    page.text(sentence)
    if lines:
        page.code(lines, "text")
    return address


def _first_address(trace: Trace) -> str:
    """An address of the step that opens: the loss, or the first number of a parameter's change."""
    if trace.losses and trace.losses[0].numel == 1:
        return "loss"
    for name in trace.parameters:
        if trace.after_of(name) is not None:
            zeros = ",".join("0" * len(trace[name].shape))
            return f"{name}[{zeros}].update" if zeros else f"{name}.update"
    return "loss"
