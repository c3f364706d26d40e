"""`whence sweep`: one recipe at several settings, a table and a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from whence.cli.chart import bars
from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.cli.training.fork import pair, plain_value
from whence.cli.training.recipes import parse_training
from whence.errors import WhenceError

if TYPE_CHECKING:
    from whence.experiments.training.sweep import Point


def sweep_command(
    recipe: Annotated[str, tyro.conf.Positional] = "",
    *,
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    seeds: int = 1,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Train a recipe with each combination of some settings, and say which is best.

    For example `whence sweep my.toml --set optimizer.learning-rate=1e-3,3e-3,1e-2 --seeds 3`.
    Ctrl-C stops it; the same command with --out continues it.

    Args:
        recipe: a recipe (.toml), a text, or a built-in text; none: the default recipe.
        set: a field of the recipe and its values, as FIELD=VALUE,VALUE; again for another field.
        seeds: runs of each combination, with seeds from 0.
        out: folder for the runs; without it a free name under `runs/`.
        json: print JSON instead of a table.
    """
    from whence.experiments.training.sweep import points, sweep

    if not set:
        raise WhenceError("a sweep needs values to try, such as --set batch-size=4,8,16.")
    if seeds < 1:
        raise WhenceError(f"--seeds is {seeds}: give 1 or more.")
    base = parse_training([recipe] if recipe else []).recipe
    settings = {
        name.replace("-", "_"): [plain_value(v) for v in values.split(",")]
        for name, values in map(pair, set)
    }
    console, trials = Console(soft_wrap=True), []
    total = math.prod(map(len, settings.values())) * seeds
    for trial in sweep(base, settings, range(seeds), out):
        trials.append(trial)
        if not json:
            came = "diverged" if trial.diverged else f"{trial.bits_per_byte:.4f} bits/byte"
            said = f"{len(trials)} of {total}: {_said(trial.settings)}, seed {trial.seed}: {came}"
            console.print(said)
    found = points(trials)
    if json:
        rows = [vars(point) for point in found]
        runs = [{**vars(trial), "folder": str(trial.folder)} for trial in trials]
        print(strict({"schema": 1, "points": rows, "runs": runs, "best": _verdict(found)}))
        return
    console.print(_table(found))
    console.print(_verdict(found))
    console.print(f"runs: {trials[0].folder.parent}")


def _table(found: list[Point]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in found[0].settings:
        table.add_column(name, justify="right")
    for name in ("bits/byte", "± over seeds", "diverged"):
        table.add_column(name, justify="right")
    table.add_column("")
    worst = max((p.mean for p in found if not math.isnan(p.mean)), default=1.0)
    least = min((p.mean for p in found if not math.isnan(p.mean)), default=0.0)
    for point in found:
        known = not math.isnan(point.mean)
        table.add_row(
            *(f"{value}" for value in point.settings.values()),
            f"{point.mean:.4f}" if known else "–",
            f"{point.spread:.4f}" if known and point.n > 1 else "–",
            f"{point.diverged} of {point.n}" if point.diverged else "",
            bars([point.mean], least, worst) if known else "",
        )
    return table


def _verdict(found: list[Point]) -> str:
    from whence.experiments.training.sweep import settles

    best = found[0]
    if math.isnan(best.mean):
        return "every combination diverged: try lower learning rates"
    if len(found) == 1:
        return f"{_said(best.settings)}: {best.mean:.4f} bits/byte"
    rival = next((point for point in found[1:] if not settles(best, point)), None)
    if rival is None:
        return f"best: {_said(best.settings)}"
    why = "one seed each can't say" if best.n < 2 else "the seeds differ by as much"
    return f"lowest: {_said(best.settings)}, but not settled against {_said(rival.settings)}: {why}"


def _said(settings: dict[str, object]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items())
