"""`whence prefer` and `whence context`: what a trained model knows, and what context buys it."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from whence.cli.document import strict
from whence.cli.models.evaluate import open_text, which
from whence.cli.small.experiment import print_report, record_of, save_drawing
from whence.cli.terminal import Console
from whence.cli.words import Texts
from whence.data.made.minimal import PAIRS, read_pairs
from whence.errors import WhenceError
from whence.runs.run import Run


def prefer(
    run: Annotated[Path, tyro.conf.Positional],
    pairs: Annotated[Path | None, tyro.conf.Positional] = None,
    /,
    *,
    checkpoint: str = "best",
    all_pairs: bool = False,
    json: bool = False,
) -> None:
    """Ask a model which of two texts is likelier, over a set of pairs: "The cat" or "Cat the".

    Args:
        run: the run's folder, such as runs/topics-1.
        pairs: a file with lines of better text, tab, worse text (and, if you like, a tab and
            what they differ in); none: 40 pairs of English.
        checkpoint: `best` (on validation), `last`, or any step, which is replayed if not saved.
        all_pairs: print each pair, the clearest mistake first.
        json: print JSON instead of a table.
    """
    from whence.experiments.text.preference import preference

    opened = Run.open(run)
    given = PAIRS if pairs is None else read_pairs(pairs)
    report = preference(opened, given, which(opened, checkpoint))
    if json:
        print(strict(record_of("prefer", report)))
        return
    console = Console()
    print_report(console, report)
    if all_pairs:
        table = Table(box=None, pad_edge=False)
        for name in ("better", "worse", "ln P better − ln P worse"):
            table.add_column(name, justify="right" if "ln" in name else "left")
        for row in sorted(report.data["pairs"], key=_margin):
            table.add_row(row["better"], row["worse"], f"{_margin(row):+.2f}")
        console.print(table)


def _margin(row: dict) -> float:
    return row["ln_p_better"] - row["ln_p_worse"]


def context(
    run: Annotated[Path, tyro.conf.Positional],
    text: Texts = (),
    /,
    *,
    checkpoint: str = "best",
    tokens: int = 200_000,
    svg: Path | None = None,
    json: bool = False,
) -> None:
    """Measure the loss by position in the window: how much each doubling of the context helps.

    Args:
        run: the run's folder, such as runs/topics-1.
        text: files, folders, `-` or a built-in text; none: the run's validation part.
        checkpoint: `best` (on validation), `last`, or any step, which is replayed if not saved.
        tokens: the most tokens of the text to read.
        svg: also write the drawing to this file.
        json: print JSON instead of a table.
    """
    from whence.experiments.text.context import context as by_context

    if tokens < 2:
        raise WhenceError(f"--tokens is {tokens}: give more.")
    opened = Run.open(run)
    report = by_context(opened, open_text(opened, text), which(opened, checkpoint), tokens)
    save_drawing(report, svg)
    if json:
        print(strict(record_of("context", report)))
        return
    print_report(Console(), report)
