"""`whence biography`: the life of one weight."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.progress import Progress, TaskID
from rich.text import Text

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.receipt.figures import figure
from whence.runs.run import Run
from whence.runs.store.watched import is_watched

if TYPE_CHECKING:
    from whence.why.history.biography import Biography

_WIDTH = 60  # columns of the picture
_LEVELS = "▁▂▃▄▅▆▇█"


def biography(
    run: Annotated[Path, tyro.conf.Positional],
    address: Annotated[str, tyro.conf.Positional],
    *,
    largest: int = 3,
    top: int = 5,
    approximate: bool = False,
    model: str | None = None,
    json: bool = False,
) -> None:
    """Show one weight's history: its first value, each step's change, the largest ones opened.

    For example `whence biography runs/mine 'blocks.0.mlp.up.weight[3,7]'`. The run is replayed
    once; how long that takes is said first.

    Args:
        run: the run's folder.
        address: an element of a parameter.
        largest: how many of the largest changes to trace and open.
        top: how many tokens and lines of text to show for each.
        approximate: continue if a replayed loss differs from the record.
        model: of a watched loop: module:function that builds its model.
        json: print JSON.
    """
    from whence.why.history.biography import biography as tell_life
    from whence.why.history.biography import biography_cost

    for name, value, least in (("largest", largest, 0), ("top", top, 1)):
        if value < least:
            raise WhenceError(f"--{name} is {value}: give {least} or more.")
    if is_watched(run):
        from whence.cli.inside.watched import show_story

        show_story(run, address, model, largest, top, json)
        return
    if model is not None:
        raise WhenceError(f"{run} has a recipe that builds its model: leave out --model.")
    opened = Run.open(run)
    steps, seconds = biography_cost(opened, largest)
    if not json:
        print(
            f"replaying {steps:,} steps and tracing {min(largest, steps)}: about {seconds:.0f} s",
            file=sys.stderr,
        )
    with bars(json) as tell:
        life = tell_life(opened, address, largest=largest, approximate=approximate, tell=tell)
    if json:
        print(strict({"schema": 1, "run": str(run), "biography": life.to_dict()}))
    else:
        _show(Console(soft_wrap=True), run, opened, life, top)


@contextmanager
def bars(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar for each kind of work that is reported."""
    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    disable = quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=disable) as progress:

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
            progress.update(tasks[what], completed=done)

        yield tell


def _show(console: Console, path: Path, run: Run, life: Biography, top: int) -> None:
    from whence.cli.inside.receipts import show_attribution

    say = console.print
    values, changes = life.values, life.changes
    end = life.begin + len(changes)
    say(Text.assemble((life.address, "bold"), f", {len(changes):,} steps"))
    low, high = min(values), max(values)
    say(f"  value     {sparkline(values)}  {figure(low)} to {figure(high)}")
    sizes = [abs(change) for change in changes]
    say(f"  |change|  {sparkline(sizes)}  0 to {figure(max(sizes))}")
    first = f"of {run.origin.run}, seed" if run.origin else "drawn with seed"
    up = [change for change in changes if change > 0]
    down = [change for change in changes if change < 0]
    rows = [
        (values[0], f"before step {life.begin:,} ({first} {run.recipe.seed})"),
        (sum(up), f"added by {len(up):,} steps"),
        (sum(down), f"taken away by {len(down):,} steps"),
        (life.final, f"before step {end:,}, as stored"),
    ]
    width = max(len(figure(value)) for value, _ in rows)
    for sign, (value, words) in zip(" ++=", rows, strict=True):
        say(f"  {sign} {figure(value):>{width}}  {words}")
    say(f"  residual {life.residual:.3g}: all {len(changes):,} changes, added without rounding")
    for note in life.notes:
        say(f"  {note}")
    for turn in life.turns:
        share = f"{100 * turn.share:.1f} % of all change"
        say(f"\nstep {turn.step:,} changed it by {figure(turn.change)}, {share}")
        for attribution in (turn.tokens, turn.places):
            show_attribution(console, attribution, top)
    if life.turns:
        step = life.turns[0].step
        say(f"\nopen it:  whence why {path} '{life.address}.update' --step {step}")


def sparkline(values, width: int = _WIDTH) -> str:
    """Draw numbers as one line of bars, each the mean of its share of them; the lowest is 0.

    Example:
        >>> sparkline([0.0, 1.0, 2.0, 3.0])
        '▁▃▆█'
    """
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_LEVELS[round((len(_LEVELS) - 1) * (mean - low) / span)] for mean in means)
