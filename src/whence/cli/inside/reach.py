"""Going to a step of a run, with a bar while it is replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import Progress

from whence.cli.terminal import Console
from whence.runs.run import Run

if TYPE_CHECKING:
    from whence.runs.replay import Moment


def reach(run: Run, step: int | None, approximate: bool = False, quiet: bool = False) -> Moment:
    """Return the state before a step, replayed from the nearest checkpoint.

    Args:
        run: the run.
        step: none: the last one. A saved step needs no record.
        approximate: go on where a loss differs from the record.
        quiet: show nothing.
    """
    from whence.runs.replay import nearest_checkpoint, start_from

    if step is None:
        step = max(len(run.steps) - 1, 0)
    if step in run.checkpoints:
        return start_from(run, step, approximate)
    moment = start_from(run, nearest_checkpoint(run, step), approximate)
    console = Console(stderr=True)
    disable = quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=disable) as bar:
        task = bar.add_task("replaying", total=step - moment.step)
        for _ in moment.advance_to(step):
            bar.advance(task)
    return moment
