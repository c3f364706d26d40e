"""The list of runs."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import shell_word
from whence.models import MODELS
from whence.runs.curves import Curves, thin
from whence.runs.listing import Listed, each_run
from whence.runs.recipe import kind_of
from whence.runs.run import Run
from whence.studio.answers.place import origin_of, python_path
from whence.studio.worker import state_of

SPARKLINE = 24  # buckets


def runs(folder: Path) -> dict[str, Any]:
    """Say of every run in a folder what it is and how far it has come, the newest first.

    Example:
        >>> runs(Path("there is no such folder"))["shell"]
        "whence runs --folder 'there is no such folder'"
    """
    rows = [each.told or _damaged(each) for each in each_run(folder, _row)]
    rows.sort(key=lambda row: row["created"], reverse=True)
    standard = folder == Path("runs")
    return {
        "folder": str(folder),
        "runs": rows,
        "python": "import whence; "
        + ("whence.list_runs()" if standard else f"whence.list_runs({python_path(folder)})"),
        "shell": "whence runs" + ("" if standard else f" --folder {shell_word(folder)}"),
    }


@lru_cache(64)
def curves_of(path: Path) -> Curves:
    """Return a run's record, read once and then kept up with."""
    return Curves(path)


def _damaged(each: Listed[Any]) -> dict[str, Any]:
    return {"name": each.path.name, "created": "", "state": "damaged", "trouble": each.trouble}


def _row(run: Run) -> dict[str, Any]:
    curves = curves_of(run.path)
    curves.refresh()
    state, trouble = state_of(run, curves)
    loss, best = curves["loss"], curves.best()
    shown = thin(loss, SPARKLINE)
    return {
        "name": run.name,
        "created": run.created,
        "state": state,
        "trouble": trouble,
        "model": kind_of(run.recipe.model, MODELS),
        "text": ", ".join(run.recipe.data.source),
        "done": curves.n_steps,
        "steps": run.recipe.steps,
        "loss": loss[-1] if len(loss) else None,
        "bits_per_byte": best["bits_per_byte"] if best else None,
        "tokens_per_second": curves.tokens_per_second,
        "spark": {"step": shown, "loss": loss[shown].astype(np.float32)},
        "bytes": run.disk_use,
        "origin": origin_of(run),
    }
