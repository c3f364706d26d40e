"""`whence runs`: what has been trained, and how to delete it."""

import json as json_module
import sys
from pathlib import Path

from rich.table import Table

from whence.cli.screen import one_line
from whence.cli.terminal import Console
from whence.cli.words import call
from whence.errors import WhenceError, in_bytes
from whence.models.kinds import MODELS
from whence.runs.listing import each_run
from whence.runs.recipe import kind_of
from whence.runs.run import Run


def runs(words: list[str]) -> None:
    """List the runs, or remove some."""
    if words and words[0] == "remove":
        call(_remove, words[1:], "whence runs remove")
    elif words and not words[0].startswith("-"):
        raise WhenceError(
            f"'whence runs' has no command {words[0]!r}: 'whence runs' lists the runs, and 'whence "
            "runs remove NAME' deletes one."
        )
    else:
        call(_list, words, "whence runs")


def _list(*, folder: Path = Path("runs"), json: bool = False) -> None:
    """List the runs in a folder, with their loss and the disk they use.

    `whence runs remove NAME` deletes a run, after asking.

    Args:
        folder: where to look.
        json: print JSON instead of a table.
    """
    found = each_run(folder, lambda run: (run.created, _row(run)))
    sound = sorted((each.told for each in found if each.told), key=lambda told: told[0])
    rows = [row for _, row in sound]
    damaged = [each for each in found if each.trouble]
    if json:
        told = [
            {"path": str(each.path), "state": "damaged", "trouble": each.trouble}
            for each in damaged
        ]
        print(json_module.dumps({"schema": 1, "runs": [*rows, *told]}, indent=1))
        return
    if not found:
        print(f"no runs in {folder}: start one with 'whence train'.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "model", "text", "steps"):
        table.add_column(name, no_wrap=name == "run")
    for name in ("bits/byte", "disk"):
        table.add_column(name, justify="right")
    for row in rows:
        best = row["bits_per_byte"]
        table.add_row(
            one_line(row["path"]),
            row["state"],
            row["model"],
            one_line(row["text"]),
            f"{row['done']:,} of {row['steps']:,}",
            f"{best:.4f}" if best is not None else "–",
            in_bytes(row["disk"]),
        )
    if rows:
        Console(soft_wrap=True).print(table)
    print(
        f"{len(rows)} run{'s' if len(rows) != 1 else ''}, {in_bytes(sum(r['disk'] for r in rows))}"
    )
    for each in damaged:
        print(f"damaged: {one_line(each.path)}: {one_line(each.trouble)}")


def _remove(runs: tuple[Path, ...], /, *, yes: bool = False) -> None:
    """Delete runs, after asking.

    Args:
        runs: folders of runs, such as runs/topics-1.
        yes: don't ask.
    """
    if not runs:
        raise WhenceError("name the runs to remove, such as 'whence runs remove runs/topics-1'.")
    found = [Run.open(path) for path in runs]
    for run in found:
        if not yes and not _confirmed(f"delete {run.path} ({in_bytes(run.disk_use)})? [y/N] "):
            print(f"kept {run.path}")
            continue
        run.remove()
        print(f"removed {run.path}")


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise WhenceError("there is no terminal to ask: add --yes to delete without asking.")
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def _row(run: Run) -> dict:
    evals = run.evals
    whole = [e["bits_per_byte"] for e in evals if e["whole"]]
    usual = [e["bits_per_byte"] for e in evals if not e["whole"]]
    return {
        "path": str(run.path),
        "state": run.state,
        "model": kind_of(run.recipe.model, MODELS),
        "text": ", ".join(run.recipe.data.source),
        "done": len(run.steps),
        "steps": run.recipe.steps,
        # The last measurement of the whole validation part, which training ends with; until then
        # the best so far.
        "bits_per_byte": whole[-1] if whole else min(usual, default=None),
        "disk": run.disk_use,
    }
