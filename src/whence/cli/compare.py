"""`whence compare`: two runs side by side."""

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from whence.runs.compare import compare as compare_runs
from whence.runs.run import Run


def compare(
    a: Annotated[Path, tyro.conf.Positional],
    b: Annotated[Path, tyro.conf.Positional],
    *,
    points: int = 12,
    json: bool = False,
) -> None:
    """Show what differs between two runs, where they part, and what came of it.

    Args:
        a: a run's folder.
        b: another's.
        points: rows of the loss curves.
        json: print JSON instead of tables.
    """
    one, other = Run.open(a), Run.open(b)
    result = compare_runs(one, other, points)
    if json:
        print(json_module.dumps({"schema": 1, "a": str(a), "b": str(b), **asdict(result)}))
        return
    console = Console(highlight=False, soft_wrap=True)
    if result.origin:
        console.print(escape(result.origin))
    if not result.same_text:
        console.print("[yellow]their texts differ: losses do not compare")
    table = _table("recipe", one.name, other.name)
    for name, mine, theirs in result.recipe:
        table.add_row(name, _said(mine), _said(theirs))
    console.print(table if result.recipe else "their recipes are the same")
    if result.first_difference is None:
        console.print(f"\nthe same losses to the bit in all {result.shared:,} steps both have done")
    else:
        console.print(f"\ntheir losses first differ at step {result.first_difference:,}\n")
    table = _table("loss up to step", one.name, other.name)
    for step, mine, theirs in result.curves:
        table.add_row(f"{step:,}", _number(mine), _number(theirs))
    table.add_row("bits/byte, best", *map(_number, result.bits_per_byte))
    table.add_row("bits/byte, last", *map(_number, result.last_bits_per_byte))
    console.print(table)
    for name, text in zip((one.name, other.name), result.samples, strict=True):
        if text is not None:
            console.print(f"\n[bold]{escape(name)}[/] wrote: {escape(' '.join(text.split()))}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name)
    return table


def _said(value: object) -> str:
    return "–" if value is None else escape(str(value))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
