"""Runs of loops that were watched, as `whence why`, `rewind` and `biography` open them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text
from torch import Tensor

from whence.cli.document import strict
from whence.cli.inside.receipts import show_attribution
from whence.cli.terminal import Console
from whence.errors import WhenceError, in_bytes, shell_word
from whence.receipt.figures import figure
from whence.runs.store.watched import Watched
from whence.watch.again.past import Past, approximate
from whence.watch.again.redo import Redo
from whence.watch.again.reopen import built_by, open_step
from whence.watch.again.story import Story, story
from whence.watch.step.losses import loss_of

SHOWN = 3  # rows of an input


def past_of(run: Path, step: int | None, model: str | None) -> Past:
    """Open a stored step of a watched run.

    Args:
        run: its folder.
        step: which; none: the last crash, else the last stored.
        model: `module:function` that builds the model; none: as `watch` was told.

    Raises:
        WhenceError: nobody has said what builds the model, or the step isn't stored.
    """
    return open_step(run, step, built(run, model))[0]


def built(run: Path, model: str | None) -> Any:
    """Build the model of a watched run.

    Raises:
        WhenceError: nobody has said what builds it.
    """
    spec = model or Watched.read(run).build
    if spec is None:
        raise WhenceError(
            f"{run} is the record of a watched loop, and only your code can build its model: add "
            "--model my_module:build, a function that returns it."
        )
    return built_by(spec)


def show_rewound(run: Path, past: Past, json: bool) -> None:
    """Do a stored step again; show what went in, and whether the bits are the same."""
    redone = past.redo()
    told = _told(past, redone)
    if json:
        print(strict({"schema": 1, "run": str(run), **told}))
        return
    console = Console(soft_wrap=True)
    console.print(Text.assemble((str(run), "bold"), f" before step {past.step.number:,}"))
    console.print(
        f"  {approximate(redone)}" if redone.differences else "  done again: the same bits"
    )
    loss = loss_of(past.step)
    console.print(
        f"  loss {loss!r} ({loss.hex()}), rate {past.step.rate:g}, gradient norm "
        f"{past.step.grad_norm:.4g}"
    )
    console.print(f"  {told['parameters']:,} parameters, {in_bytes(told['bytes'])} of state")
    for note in redone.notes:
        console.print(f"  {note}", markup=False)
    for call in told["calls"]:
        console.print(f"  {call['what']}", style="dim", markup=False)
        for row in call["rows"]:
            console.print(f"    {row}", markup=False)


def _told(past: Past, redone: Redo) -> dict[str, Any]:
    snapshot = past.state_before()
    return {
        "step": past.step.number,
        "loss": loss_of(past.step),
        "loss_hex": loss_of(past.step).hex(),
        "exact": not redone.differences,
        "differences": [vars(difference) for difference in redone.differences],
        "notes": redone.notes,
        "parameters": sum(p.numel() for p in snapshot.parameters),
        "bytes": snapshot.nbytes(),
        "calls": [_call(past, i) for i in range(len(past.step.calls))],
    }


def _call(past: Past, number: int) -> dict[str, Any]:
    call = past.step.calls[number]
    name = list(past.world.models)[call.model] or "the model"
    given = call.kwargs or dict(enumerate(call.args))
    shapes = ", ".join(
        f"{key} {[*value.shape]}" for key, value in given.items() if isinstance(value, Tensor)
    )
    first = next((v for v in given.values() if isinstance(v, Tensor)), None)
    rows = []
    if first is not None and first.dim() == 2 and not first.is_floating_point():
        rows = [repr(past.text(row)) for row in first[:SHOWN].tolist()]
    return {"what": f"call {number}: {name} was given {shapes or 'no tensor'}", "rows": rows}


def show_story(
    run: Path, address: str, model: str | None, largest: int, top: int, json: bool
) -> None:
    """Tell the life of a weight over the steps that a watched run has stored."""
    told = story(run, address, built(run, model), largest)
    if json:
        print(strict({"schema": 1, "run": str(run), "story": told.to_dict()}))
        return
    _show(Console(soft_wrap=True), run, told, top)


def _show(console: Console, run: Path, told: Story, top: int) -> None:
    say = console.print
    known = f"{len(told.steps):,} stored step{'' if len(told.steps) == 1 else 's'}"
    say(Text.assemble((told.address, "bold"), f", {known}"))
    say(f"  before step {told.steps[0].number:,}: {figure(told.steps[0].before)}")
    say(f"  behind step {told.steps[-1].number:,}: {figure(told.steps[-1].after)}")
    if told.gaps:
        say("  not every step is stored, so changes between stored steps aren't shown")
    else:
        say(f"  residual {told.residual:.3g}: all changes, added without rounding")
    for turn in told.turns:
        say(f"\nstep {turn.step:,} changed it by {figure(turn.change)}")
        for attribution in turn.attributions:
            show_attribution(console, attribution, top)
    if told.turns:
        where = f"{shell_word(run)} {shell_word(told.address + '.update')}"
        say(f"\nopen it:  whence why {where} --step {told.turns[0].step}", markup=False)
