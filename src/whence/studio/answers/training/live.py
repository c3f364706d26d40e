"""One run's course: its curves, measurements and samples."""

from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import shell_word
from whence.models import MODELS, NGramConfig
from whence.runs.recipe import kind_of
from whence.runs.store.checkpoints import saved_steps
from whence.runs.store.records.curves import Curves, thin
from whence.runs.store.watched import is_watched
from whence.runs.summary import summary_of
from whence.studio.answers.place import open_run, origin_of, path_of, python_path
from whence.studio.answers.training.runs import curves_of
from whence.studio.processes.worker import state_now, state_of

CURVES = ("loss", "rate", "grad_norm")


def live(folder: Path, *, run: str, buckets: int = 400) -> dict[str, Any]:
    """Give a run's curves in few points, its measurements and its samples.

    Args:
        folder: the folder of runs.
        run: the run's name.
        buckets: as of `whence.runs.store.records.curves.thin`.
    """
    path = path_of(folder, run)
    curves = curves_of(path)
    if is_watched(path):
        curves.refresh()
        return _watched(path, curves, _drawn(curves, buckets))
    opened = open_run(folder, run)
    curves.refresh()
    drawn = _drawn(curves, buckets)
    best = curves.best()
    state, trouble = state_of(opened, curves)
    return {
        "run": run,
        "state": state,
        "trouble": trouble,
        "model": kind_of(opened.recipe.model, MODELS),
        "text": ", ".join(opened.recipe.data.source),
        "counted": isinstance(opened.recipe.model, NGramConfig),
        "done": curves.n_steps,
        "steps": opened.recipe.steps,
        "rewritten": curves.rewritten,
        "curves": drawn,
        "best": best,
        "samples": curves.samples[-50:],
        "origin": origin_of(opened),
        "checkpoints": saved_steps(opened.checkpoint_folder),
        "losses": losses_differ(opened.recipe.model),
        "watched": False,
        "tokens_per_second": curves.tokens_per_second,
        "mean_tokens_per_second": curves.mean_tokens_per_second,
        "seconds_left": curves.seconds_left(opened.recipe.steps),
        "python": f"from whence import Run; Run.open({python_path(opened.path)}).steps",
        "shell": f"whence resume {shell_word(opened.path)}",
    }


def losses_differ(model: Any) -> str:
    """Say what the training loss includes that the validation loss doesn't; "" for nothing.

    Example:
        >>> from whence.models import GPTConfig
        >>> losses_differ(GPTConfig(dropout=0.1))
        "The training loss includes dropout 0.1; the validation loss doesn't, so their levels can't be compared."
    """  # noqa: E501  # what it prints is one line
    found = [
        f"{words} {value:g}"
        for name, words in (("label_smoothing", "label smoothing"), ("dropout", "dropout"))
        if (value := getattr(model, name, 0.0))
    ]
    if not found:
        return ""
    return (
        f"The training loss includes {' and '.join(found)}; the validation loss doesn't, "
        "so their levels can't be compared."
    )


def _drawn(curves: Curves, buckets: int) -> dict[str, dict[str, np.ndarray]]:
    """Thin the curves to some points."""
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for name in CURVES:
        values = curves[name]
        at = thin(values, max(2, min(buckets, 5000)))
        drawn[name] = {"step": at, "value": values[at]}
    usual = [e for e in curves.evals if not e["whole"]]
    drawn["validation"] = {
        "step": np.array([e["step"] for e in usual], np.int32),
        "value": np.array([e["loss"] for e in usual], np.float64),
    }
    return drawn


def _watched(path: Path, curves: Curves, drawn: dict[str, Any]) -> dict[str, Any]:
    """Give the same of a watched loop, which has neither recipe, measurements nor samples."""
    summary = summary_of(path)
    state, trouble = state_now(path, summary)
    return {
        "run": path.name,
        "state": state,
        "trouble": trouble,
        "model": summary.model,
        "text": summary.text,
        "counted": False,
        "done": curves.n_steps,
        "steps": curves.n_steps,
        "rewritten": curves.rewritten,
        "curves": drawn,
        "best": None,
        "samples": [],
        "origin": None,
        "checkpoints": [],
        "losses": "",
        "watched": True,
        "tokens_per_second": curves.tokens_per_second,
        "mean_tokens_per_second": curves.mean_tokens_per_second,
        "seconds_left": None,
        "python": "from whence.watch import open_step; "
        f"open_step({python_path(path)}, None, model)",
        "shell": f"whence why {shell_word(path)} --list --model my_module:build",
    }
