"""One run's course: its curves, measurements and samples."""

from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import shell_word
from whence.models import MODELS, NGramConfig
from whence.runs.questions.curves import thin
from whence.runs.recipe import kind_of
from whence.runs.store.checkpoints import saved_steps
from whence.studio.answers.place import open_run, origin_of, python_path
from whence.studio.answers.runs import curves_of
from whence.studio.worker import state_of

CURVES = ("loss", "rate", "grad_norm")


def live(folder: Path, *, run: str, buckets: int = 400) -> dict[str, Any]:
    """Give a run's curves in few points, its measurements and its samples.

    Args:
        folder: the folder of runs.
        run: the run's name.
        buckets: as of `whence.runs.questions.curves.thin`.
    """
    opened = open_run(folder, run)
    curves = curves_of(opened.path)
    curves.refresh()
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
        "tokens_per_second": curves.tokens_per_second,
        "mean_tokens_per_second": curves.mean_tokens_per_second,
        "seconds_left": curves.seconds_left(opened.recipe.steps),
        "python": f"from whence import Run; Run.open({python_path(opened.path)}).steps",
        "shell": f"whence resume {shell_word(opened.path)}",
    }


def losses_differ(model: Any) -> str:
    """Say what the training loss has in it that the validation loss hasn't; "" for nothing.

    Example:
        >>> from whence.models import GPTConfig
        >>> losses_differ(GPTConfig(dropout=0.1))
        'The training loss is with dropout 0.1, the validation loss without: their levels do not compare.'
    """  # noqa: E501
    found = [
        f"{words} {value:g}"
        for name, words in (("label_smoothing", "label smoothing"), ("dropout", "dropout"))
        if (value := getattr(model, name, 0.0))
    ]
    if not found:
        return ""
    return (
        f"The training loss is with {' and '.join(found)}, the validation loss without: "
        "their levels do not compare."
    )
