"""`whence experiment`: put a question to small models, trained for it now."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table
from rich.text import Text

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.lessons.charts import curves
from whence.lessons.svg import Picture
from whence.runs.run import Run

if TYPE_CHECKING:
    from whence.experiments.common import Drawing, Report


def put(
    name: Annotated[str, tyro.conf.Positional] = "",
    *,
    seeds: int | None = None,
    steps: int | None = None,
    text: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    run: Path | None = None,
    svg: Path | None = None,
    threads: int = 1,
    json: bool = False,
) -> None:
    """Train small models to answer a question, over several seeds, and report what was found.

    Without a name it lists the experiments.

    Args:
        name: which experiment.
        seeds: how many runs of each variant.
        steps: of training.
        text: for those that read a text: a file, a folder or a built-in one (again for another).
        run: ask this run's model instead, where that makes sense (order, induction).
        svg: also write the drawing to this file, of those that have one.
        threads: CPU threads; models as small as these are fastest on one.
        json: print JSON instead of a table.
    """
    from whence.experiments.on_run import ELSEWHERE, ON_RUN
    from whence.experiments.table import EXPERIMENTS, experiment

    console = Console()
    if not name:
        for known, (_, question) in EXPERIMENTS.items():
            told = f"  whence experiment {known:<10} "
            console.print(Text.assemble(told, (question, "dim")))
        return
    function = experiment(name)
    if run is not None:
        if name not in ON_RUN:
            other = f": {ELSEWHERE[name]}" if name in ELSEWHERE else "; only order and induction do"
            raise WhenceError(f"the experiment {name} can't be asked of a run this way{other}.")
        function = functools.partial(ON_RUN[name], Run.open(run))
    options = _options(name, function, seeds, steps, text)
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        report = function(**options)
    finally:
        torch.set_num_threads(before)
    save_drawing(report, svg)
    if json:
        print(strict(record_of(name, report)))
        return
    print_report(console, report)


def record_of(name: str, report: Report) -> dict[str, Any]:
    """Return a report as a plain record."""
    told = {"schema": 1, "experiment": name, "question": report.question}
    told |= {"setting": report.setting, "columns": report.columns, "rows": report.rows}
    return told | {"answer": report.answer, "data": report.data}


def print_report(console: Console, report: Report) -> None:
    """Print the question, the table and the answer."""
    console.print(report.question, style="bold")
    console.print(report.setting, style="dim")
    table = Table()
    for i, column in enumerate(report.columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in report.rows:
        table.add_row(*row)
    console.print(table)
    console.print(report.answer)
    if report.drawing is not None:
        picture = _picture(report.drawing)
        console.print(f"\n{picture.text}", soft_wrap=True)


def save_drawing(report: Report, path: Path | None) -> None:
    """Write a report's drawing as SVG.

    Raises:
        WhenceError: it has none, or the file can't be written.
    """
    if path is None:
        return
    if report.drawing is None:
        raise WhenceError("there is nothing to draw here: leave out --svg.")
    try:
        path.write_text(_picture(report.drawing).svg, encoding="utf-8")
    except OSError as error:
        raise WhenceError(f"{path} can't be written: {error.strerror or error}.") from None


def _picture(drawing: Drawing) -> Picture:
    points = {name: [(p[0], p[1]) for p in curve] for name, curve in drawing.curves.items()}
    return curves(drawing.title, points, x=drawing.x, y=drawing.y)


def _options(
    name: str, function: Any, seeds: int | None, steps: int | None, text: tuple[str, ...]
) -> dict[str, Any]:
    """The options that were set, if the experiment takes them."""
    known = inspect.signature(function).parameters
    given: dict[str, Any] = {}
    for flag, value in (("seeds", seeds), ("steps", steps)):
        if value is not None and value < 1:
            raise WhenceError(f"--{flag} is {value}: give 1 or more.")
    if seeds is not None:
        given["seeds"] = range(seeds)
    if steps is not None:
        given["steps"] = steps
    if text:
        given["text"] = " ".join(text) if name == "first" else text
    for flag in given:
        if flag not in known:
            raise WhenceError(f"the experiment {name} takes no --{flag}.")
    return given
