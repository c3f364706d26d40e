"""`whence compare`: two runs side by side."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table
from rich.text import Text

from whence.cli.chart import bars
from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.runs.compare import compare_folders, curves
from whence.runs.store.records.record import Logs


def compare(
    a: Annotated[Path, tyro.conf.Positional],
    b: Annotated[Path, tyro.conf.Positional],
    *,
    points: int = 12,
    json: bool = False,
) -> None:
    """Show what differs between two runs, where they part, and how they end.

    Args:
        a: a run's folder.
        b: another run's folder.
        points: rows of the loss curves.
        json: print JSON instead of tables.
    """
    result = compare_folders(a, b, points)
    if json:
        print(strict({"schema": 1, "a": str(a), "b": str(b), **asdict(result)}))
        return
    console = Console(soft_wrap=True)
    if result.origin:
        console.print(result.origin)
    if not result.same_text:
        console.print("their texts differ: losses do not compare", style="yellow")
    table = _table("recipe", a.name, b.name)
    for name, mine, theirs in result.recipe:
        table.add_row(name, _said(mine), _said(theirs))
    console.print(table if result.recipe else "their recipes are the same")
    if result.first_difference is None:
        console.print(f"\nthe same losses to the bit in all {result.shared:,} steps both have done")
    else:
        console.print(f"\ntheir losses first differ at step {result.first_difference:,}\n")
    _draw(a, b, console)
    table = _table("mean loss up to step", a.name, b.name, "difference")
    for step, mine, theirs in result.curves:
        table.add_row(f"{step:,}", *_row(mine, theirs))
    table.add_row("bits/byte, best", *_row(*result.bits_per_byte))
    table.add_row("bits/byte, last", *_row(*result.last_bits_per_byte))
    console.print(table)
    for name, text in zip((a.name, b.name), result.samples, strict=True):
        if text is not None:
            wrote = f" wrote: {' '.join(text.split())}"
            console.print(Text.assemble("\n", (name, "bold"), wrote))


def _draw(one: Path, other: Path, console: Console) -> None:
    """Print both curves of the loss on one scale."""
    a, b = (Logs(path).read_steps().column("loss") for path in (one, other))
    lines = curves(a, b, 60)
    known = [x for _, *pair in lines for x in pair if x is not None and math.isfinite(x)]
    if not known:
        return
    low, high = min(known), max(known)
    apart = [None if a is None or b is None else abs(a - b) for _, a, b in lines]
    most = max((x for x in apart if x is not None and math.isfinite(x)), default=0.0)
    width = max(len(one.name), len(other.name), 5)
    for name, curve, scale in (
        (one.name, bars((a for _, a, _ in lines), low, high), f"loss, {low:.4f} to {high:.4f}"),
        (other.name, bars((b for _, _, b in lines), low, high), "the same scale"),
        ("apart", bars(apart, 0.0, most), f"their distance, 0 to {most:.2g}"),
    ):
        console.print(Text.assemble(f"{name.ljust(width)}  {curve}  ", (scale, "dim")))
    console.print()


def _row(mine: float | None, theirs: float | None) -> tuple[str, str, str]:
    apart = None if mine is None or theirs is None else theirs - mine
    return _number(mine), _number(theirs), "–" if apart is None else f"{apart:+.4f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name)
    return table


def _said(value: object) -> str:
    return "–" if value is None else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
