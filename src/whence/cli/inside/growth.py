"""`whence growth`: how the probability of each token of a text grew while a model learned."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.runs.run import Run


def growth(
    run: Annotated[Path, tyro.conf.Positional],
    text: Annotated[str, tyro.conf.Positional],
    *,
    most: int = 8,
    json: bool = False,
) -> None:
    """Show P(token | the text before it) of each token of a text at checkpoints of a run.

    Args:
        run: the run's folder.
        text: the text; it begins as after a line break.
        most: the most checkpoints to measure at, spread evenly.
        json: print JSON instead of a table.
    """
    from whence.runs.questions.growth import growth as measure

    found = measure(Run.open(run), text, most)
    if json:
        record = {"tokens": found.tokens, "steps": found.steps, "left_out": found.left_out}
        probabilities = found.probabilities.tolist()
        print(strict({"schema": 1, **record, "probabilities": probabilities}))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("P(token) before step")
    for step in found.steps:
        table.add_column(f"{step:,}", justify="right")
    for token, row in zip(found.tokens, found.probabilities.T, strict=True):
        table.add_row(repr(token), *(f"{p:.4f}" if p >= 5e-5 else f"{p:.0e}" for p in row))
    console = Console(soft_wrap=True)
    console.print(table)
    if found.left_out:
        left = f"the last {found.left_out} tokens don't fit into the model's window"
        console.print(left, style="dim")
