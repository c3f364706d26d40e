"""`whence influence`: which training windows moved a prediction."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from whence.cli.document import strict
from whence.cli.inside.biography import bars, sparkline
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.runs.run import Run

if TYPE_CHECKING:
    from whence.why.history.influence import Influence, Window


def influence(
    run: Annotated[Path, tyro.conf.Positional],
    prompt: Annotated[str, tyro.conf.Positional],
    *,
    next: str,
    step: int | None = None,
    top: int = 5,
    approximate: bool = False,
    json: bool = False,
) -> None:
    """Show which training windows moved the prediction of what comes after a prompt.

    For example `whence influence runs/mine "we love" --next " deep"`. The run is replayed and swept
    backward; how long that takes is said first. 'whence what-if' shows what would have been without
    some text.

    Args:
        run: the run's folder.
        prompt: what the model reads.
        next: what comes after it.
        step: account for the steps before this one; none: for all.
        top: how many windows to show, of those that raised it and of those that lowered it.
        approximate: continue if a replayed loss differs from the record.
        json: print JSON.
    """
    from whence.why.history.influence import describe, influence_cost
    from whence.why.history.influence import influence as ask

    if top < 1:
        raise WhenceError(f"--top is {top}: give 1 or more.")
    opened = Run.open(run)
    steps, seconds = influence_cost(opened, step)
    if not json:
        print(
            f"replaying {steps:,} steps and sweeping back: about {seconds:.0f} s", file=sys.stderr
        )
    with bars(json) as tell:
        answer = ask(opened, prompt, next, step=step, approximate=approximate, tell=tell)
    sides = {"raised": answer.largest(top), "lowered": answer.smallest(top)}
    texts = {side: describe(opened, windows) for side, windows in sides.items()}
    if json:
        told = answer.to_dict(top)
        for side, several in (("raised", "largest"), ("lowered", "smallest")):
            for window, text in zip(told[several], texts[side], strict=True):
                window["text"] = text
        print(strict({"schema": 1, "run": str(run), "influence": told}))
        return
    console = Console(soft_wrap=True)
    _show(console, run, answer)
    for side, windows in sides.items():
        if windows:
            console.print(f"\nwindows that {side} it most")
            console.print(_table(windows, texts[side], answer))


def _show(console: Console, run: Path, answer: Influence) -> None:
    say = console.print
    say(
        f"ln P({answer.next!r} after {answer.prompt!r}), in nats, from before step "
        f"{answer.begin:,} to before step {answer.end:,} of {run}"
    )
    first, last = answer.curve[0], answer.curve[-1]
    say(f"  {sparkline(answer.curve)}  {first:.4f} to {last:.4f}")
    rows = [
        (answer.accounted, f"accounted for by {len(answer.windows):,} windows, to first order"),
        (answer.decay, "by weight decay"),
        (answer.past, "by what the optimizer remembered at the fork"),
        (answer.bent, "residual: what the first order leaves of the steps' true effect"),
        (answer.rounded, "residual: rounding of the gradients and of the optimizer"),
    ]
    for value, words in rows:
        if value:
            say(f"    {value:>+10.4f}  {words}")
    say(f"  = {last - first:>+10.4f}  the true change")
    for note in answer.notes:
        say(f"  {note}")


def _table(windows: list[Window], texts: list[str], answer: Influence) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for style in ("", "dim", ""):
        table.add_column(style=style)
    for window, text in zip(windows, texts, strict=True):
        table.add_row(f"  {window.value:+.4f}", f"step {window.step:,}", text)
    return table
