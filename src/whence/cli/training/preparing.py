"""What a person sees while a long text is tokenised: progress, and the time left."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from whence.cli.terminal import Console
from whence.data.texts.telling import Preparing

PATIENCE = 1.0  # seconds of silence ahead of the first word
PAUSE = 10.0  # seconds between two lines where there is no terminal


@contextmanager
def told_of_tokens(quiet: bool = False) -> Iterator[Preparing]:
    """Return `Run.create`'s progress display: a bar on a terminal, else occasional lines.

    Args:
        quiet: show nothing.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TimeRemainingColumn(compact=True),
        TextColumn("left", markup=False),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    stages: dict[str, tuple[TaskID, float]] = {}  # its task, and when it began
    said = time.monotonic() + PATIENCE - PAUSE

    def told(what: str, done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if what not in stages:
            stages[what] = bar.add_task(what, total=total), now
        task, began = stages[what]
        bar.update(task, completed=done)
        if now - said < PAUSE or quiet:
            return
        if console.is_terminal:
            bar.start()
            return
        said = now
        left = f", {(now - began) * (total - done) / done:.0f} s left" if done else ""
        print(f"{what}: {done / max(1, total):.0%}{left}", file=sys.stderr)

    try:
        yield told
    finally:
        bar.stop()
