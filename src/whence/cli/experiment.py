"""`whence experiment`: put a question to small models, trained for it now."""

import inspect
import json as json_module
from typing import Annotated, Any

import tyro
from rich.table import Table
from rich.text import Text

from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.experiments.table import EXPERIMENTS, experiment


def run(
    name: Annotated[str, tyro.conf.Positional] = "",
    *,
    seeds: int | None = None,
    steps: int | None = None,
    text: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
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
        threads: CPU threads; models as small as these are fastest on one.
        json: print JSON instead of a table.
    """
    console = Console()
    if not name:
        for known, (_, question) in EXPERIMENTS.items():
            told = f"  whence experiment {known:<10} "
            console.print(Text.assemble(told, (question, "dim")))
        return
    function = experiment(name)
    options = _options(name, function, seeds, steps, text)
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        report = function(**options)
    finally:
        torch.set_num_threads(before)
    if json:
        told = {"schema": 1, "experiment": name, "question": report.question}
        told |= {"setting": report.setting, "columns": report.columns, "rows": report.rows}
        told |= {"answer": report.answer, "data": report.data}
        print(json_module.dumps(told, ensure_ascii=False))
        return
    console.print(report.question, style="bold")
    console.print(report.setting, style="dim")
    table = Table()
    for i, column in enumerate(report.columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in report.rows:
        table.add_row(*row)
    console.print(table)
    console.print(report.answer)


def _options(
    name: str, function: Any, seeds: int | None, steps: int | None, text: tuple[str, ...]
) -> dict[str, Any]:
    """What was set, for an experiment that takes it."""
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
