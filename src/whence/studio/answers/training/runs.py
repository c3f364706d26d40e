"""The list of runs."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from whence.errors import shell_word
from whence.runs.store.records.curves import Curves
from whence.runs.summary import runs_in, spark_of, summary_of
from whence.runs.upkeep.tags import tags_of
from whence.studio.answers.place import origin_told, python_path
from whence.studio.processes.worker import state_now


def runs(folder: Path) -> dict[str, Any]:
    """Say of every run in a folder what it is and how far it has come, the newest first.

    Example:
        >>> runs(Path("there is no such folder"))["shell"]
        "whence runs --folder 'there is no such folder'"
    """
    found = (_row(path) for path in runs_in(folder))
    rows = sorted(found, key=lambda row: row["created"], reverse=True)
    differs = _differing([row.pop("recipe", {}) for row in rows])
    for row, own in zip(rows, differs, strict=True):
        row["settings"] = own
    standard = folder == Path("runs")
    return {
        "folder": str(folder),
        "runs": rows,
        "differs": sorted({name for own in differs for name in own}),
        "python": "import whence; "
        + ("whence.list_runs()" if standard else f"whence.list_runs({python_path(folder)})"),
        "shell": "whence runs" + ("" if standard else f" --folder {shell_word(folder)}"),
    }


@lru_cache(64)
def curves_of(path: Path) -> Curves:
    """Return a run's record, read once and then kept up with."""
    return Curves(path)


def _differing(recipes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each recipe the settings that aren't the same in all of those that can be read."""
    known = [recipe for recipe in recipes if recipe]
    names = dict.fromkeys(name for recipe in known for name in recipe)
    apart = [n for n in names if len({repr(recipe.get(n)) for recipe in known}) > 1]
    return [{n: recipe.get(n) for n in apart} if recipe else {} for recipe in recipes]


def _row(path: Path) -> dict[str, Any]:
    summary = summary_of(path)
    if not summary.created:
        trouble = summary.trouble
        return {
            "name": path.name,
            "created": "",
            "state": "damaged",
            "trouble": trouble,
            "tags": [],
        }
    state, trouble = state_now(path, summary)
    steps, losses = spark_of(summary)
    return {
        "name": path.name,
        "created": summary.created,
        "state": state,
        "trouble": trouble,
        "model": summary.model,
        "text": summary.text,
        "done": summary.done,
        "steps": summary.steps,
        "loss": summary.loss,
        "bits_per_byte": summary.best,
        "validation": summary.validation,
        "tags": tags_of(path),
        "recipe": summary.settings,
        "tokens_per_second": summary.tokens_per_second,
        "spark": {"step": steps, "loss": losses},
        "bytes": summary.bytes,
        "origin": origin_told(path, summary.origin),
    }
