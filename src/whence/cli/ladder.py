"""`whence ladder`: every kind of model on one text, one table."""

import json as json_module
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from whence.data.stories import stories
from whence.errors import WhenceError
from whence.experiments.ladder import RUNGS, Row, climb
from whence.experiments.report import report
from whence.runs.recipe import Recipe
from whence.scale.hardware import Hardware


def ladder(
    text: Annotated[tuple[str, ...], tyro.conf.Positional] = ("topics",),
    *,
    seconds_each: float = 20.0,
    rungs: tuple[str, ...] = tuple(RUNGS),
    out: Path | None = None,
    html: Path | None = None,
    entropy: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    json: bool = False,
) -> None:
    """Train every kind of model on a text for the same time, and compare them in one table.

    Bits per byte are measured on the last tenth of the text, which none has seen.

    Args:
        text: files, folders, `-` or a built-in text.
        seconds_each: how long each model's training steps take together; counted ones take what
            they need.
        rungs: which models.
        out: folder for the runs; without it a free name under `runs/`.
        html: also write a report with drawings, one file that needs nothing else.
        entropy: the source's true entropy in bits per byte, where you know it; that of the
            built-in stories is known.
        seed: of everything drawn.
        threads: CPU threads; none: all cores.
        json: print JSON instead of a table.
    """
    if html is not None and not html.parent.is_dir():
        raise WhenceError(f"{html} can't be written: there is no folder {html.parent}.")
    if entropy is None and text == ("stories",):
        entropy = stories().entropy_rate()
    base = replace(Recipe(seed=seed), hardware=Hardware(threads=threads))
    console = Console(highlight=False)
    rows: list[Row] = []
    for row in climb(text, seconds_each, rungs, out, base):
        rows.append(row)
        if not json:
            cut = " (cut)" if row.cut else ""
            console.print(
                f"{row.rung:<9} {row.bits_per_byte:.4f} bits/byte after {row.seconds:.1f} s "
                f"of training, {row.wall:.1f} s in all{cut}"
            )
    title = ", ".join(text)
    if html is not None:
        html.write_text(report(rows, title, entropy), encoding="utf-8")
    if json:
        print(json_module.dumps({"schema": 1, "text": title, "rungs": [_record(r) for r in rows]}))
        return
    console.print(_table(rows, title, entropy))
    for row in sorted(rows, key=lambda r: r.bits_per_byte):
        console.print(f"[dim]{row.rung:<10}[/]{escape(row.text[:68])}", soft_wrap=True)
    folders = [row.folder for row in rows if row.folder]
    if folders:
        console.print(f"\nsaved in {folders[0].parent}")
    if html is not None:
        console.print(f"report: {html}")


def _table(rows: list[Row], title: str, entropy: float | None) -> Table:
    table = Table(
        title=f"\n{title}: bits per byte of the validation text", title_justify="left", box=SIMPLE
    )
    names = ["model", "bits/byte", "above\nsource", "parameters", "tokens\nseen"]
    names += ["train\ntokens/s", "write\ntokens/s"]
    if entropy is None:
        names.remove("above\nsource")
    for name in names:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for row in sorted(rows, key=lambda r: r.bits_per_byte):
        above = [] if entropy is None else [f"{row.bits_per_byte - entropy:+.4f}"]
        table.add_row(
            row.rung,
            f"{row.bits_per_byte:.4f}",
            *above,
            f"{row.parameters:,}",
            _short(row.tokens),
            _short(row.training_speed),
            _short(row.writing_speed),
        )
    return table


def _short(number: float) -> str:
    """Three digits of a count, with k or M for thousands or millions.

    Example:
        >>> _short(646.2), _short(26_557), _short(14_751_900)
        ('646', '26.6k', '14.8M')
    """
    for size, name in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:{',.0f' if number >= 100 * size else '.3g'}}{name}"
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"


def _record(row: Row) -> dict:
    return {
        "rung": row.rung,
        "bits_per_byte": row.bits_per_byte,
        "parameters": row.parameters,
        "tokens": row.tokens,
        "seconds": row.seconds,
        "wall_seconds": row.wall,
        "cut": row.cut,
        "training_tokens_per_second": row.training_speed,
        "writing_tokens_per_second": row.writing_speed,
        "text": row.text,
        "run": str(row.folder) if row.folder else None,
    }
