"""`whence ladder`: every kind of model on one text, one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.cli.words import Texts
from whence.data.files import written_whole
from whence.data.made.stories import stories
from whence.errors import WhenceError
from whence.runs.recipe import Recipe
from whence.scale.hardware import Hardware

if TYPE_CHECKING:
    from whence.experiments.training.ladder import Row


def ladder(
    text: Texts = ("topics",),
    *,
    seconds_each: float = 20.0,
    rungs: tuple[str, ...] = (),
    out: Path | None = None,
    html: Path | None = None,
    entropy: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    json: bool = False,
) -> None:
    """Train every kind of model on a text for the same time, and compare them in one table.

    Bits per byte are measured on the last tenth of the text, which none of them has seen.

    Args:
        text: files, folders, `-` or a built-in text.
        seconds_each: how long each model trains; counted ones take as long as they need.
        rungs: which models; none: all of them.
        out: folder for the runs; without it a free name under `runs/`. The same words again go on
            with a ladder that was broken off.
        html: also write a report with drawings, one self-contained file.
        entropy: the source's true entropy in bits per byte, where you know it; that of the
            built-in stories is known.
        seed: of everything drawn.
        threads: CPU threads; none: all cores.
        json: print JSON instead of a table.
    """
    from whence.experiments.training.ladder import RUNGS, climb
    from whence.experiments.training.report import report

    if html is not None and not html.parent.is_dir():
        raise WhenceError(f"{html} can't be written: there is no folder {html.parent}.")
    if entropy is None and text == ("stories",):
        entropy = stories().entropy_rate()
    base = replace(Recipe(seed=seed), hardware=Hardware(threads=threads))
    console = Console()
    rows: list[Row] = []
    for row in climb(text, seconds_each, rungs or tuple(RUNGS), out, base):
        rows.append(row)
        if not json:
            console.print(
                f"{row.rung:<10} {row.bits_per_byte:.4f} bits/byte after {row.seconds:.1f} s"
            )
    title = ", ".join(text)
    if html is not None:
        with written_whole(html) as file:
            file.write(report(rows, title, entropy).encode())
    if json:
        print(strict({"schema": 1, "text": title, "rungs": [_record(r) for r in rows]}))
        return
    console.print(_table(rows, title, entropy))
    for row in sorted(rows, key=lambda r: r.bits_per_byte):
        room = max(20, console.width - 11)
        wrote = Text.assemble((f"{row.rung:<10} ", "dim"), row.text[:room])
        console.print(wrote, soft_wrap=True)
    folders = [row.folder for row in rows if row.folder]
    if folders:
        console.print(f"\nsaved in {folders[0].parent}")
    if html is not None:
        console.print(f"report: {html}")


def _table(rows: list[Row], title: str, entropy: float | None) -> Table:
    table = Table(title=f"\n{title}: bits per byte of the validation text", title_justify="left")
    table.add_column("model", no_wrap=True)
    names = [
        "bits/\nbyte",
        "para-\nmeters",
        "tokens\nseen",
        "tokens/s\ntraining",
        "tokens/s\nwriting",
    ]
    if entropy is not None:
        names.insert(1, "above the\nsource")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda r: r.bits_per_byte):
        above = [] if entropy is None else [f"{row.bits_per_byte - entropy:+.4f}"]
        table.add_row(
            row.rung,
            f"{row.bits_per_byte:.4f}",
            *above,
            *(_short(n) for n in (row.parameters, row.tokens)),
            *(_short(n) for n in (row.training_speed, row.writing_speed)),
        )
    return table


def _short(n: float) -> str:
    """A count in at most four characters.

    Example:
        >>> _short(12), _short(8_421_376)
        ('12', '8.42 M')
    """
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g} {sign}"
    return f"{n:.3g}"


def _record(row: Row) -> dict:
    return {
        "rung": row.rung,
        "bits_per_byte": row.bits_per_byte,
        "parameters": row.parameters,
        "tokens": row.tokens,
        "seconds": row.seconds,
        "training_tokens_per_second": row.training_speed,
        "writing_tokens_per_second": row.writing_speed,
        "text": row.text,
        "run": str(row.folder) if row.folder else None,
    }
