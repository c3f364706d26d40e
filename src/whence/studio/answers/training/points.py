"""A stretch of a run's record: its true points where they fit, and the loss smoothed."""

from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import WhenceError, shell_word
from whence.runs.store.records.curves import thin
from whence.runs.store.watched import is_watched
from whence.studio.answers.place import open_run, path_of, python_path
from whence.studio.answers.training.runs import curves_of

CURVES = ("loss", "rate", "grad_norm")
MOST = 5000


def points(
    folder: Path,
    *,
    run: str,
    first: int = 0,
    last: int | None = None,
    buckets: int = 400,
    smoothing: float = 0.0,
) -> dict[str, Any]:
    """Give the record of the steps from `first` to `last`: all of them, or few that draw them.

    Args:
        folder: the folder of runs.
        run: the run's name.
        first: a step.
        last: a later step; none: the last one done.
        buckets: as of `whence.runs.store.records.curves.thin`; up to 2·buckets steps are given as
            they are.
        smoothing: β of the smoothed loss, as of `smooth`; 0: none.

    Raises:
        WhenceError: steps or a β that can't be.
    """
    if not 0 <= smoothing < 1:
        raise WhenceError(f"smoothing is {smoothing}: give a number from 0 to below 1.")
    if first < 0 or (last is not None and last < first):
        raise WhenceError(
            f"{first} to {last} isn't a range of steps: give 0 or more, then a later one."
        )
    path = path_of(folder, run)
    if not is_watched(path):
        open_run(folder, run)
    curves = curves_of(path)
    curves.refresh()
    end = curves.n_steps if last is None else min(last + 1, curves.n_steps)
    buckets = max(2, min(buckets, MOST))
    drawn = {}
    for name in CURVES:
        values = curves[name][first:end]
        at = thin(values, buckets)
        drawn[name] = {"step": (at + first).astype(np.int32), "value": values[at]}
    if smoothing:
        whole = smooth(curves["loss"], smoothing)[first:end]
        at = np.unique(np.linspace(0, max(0, len(whole) - 1), 2 * buckets).round().astype(int))
        at = at[: len(whole)]
        drawn["smooth"] = {"step": (at + first).astype(np.int32), "value": whole[at]}
    return {
        "run": run,
        "first": first,
        "last": end - 1,
        "whole": end - first <= 2 * buckets,
        "curves": drawn,
        "python": "from pathlib import Path; from whence.runs.store.records.record import Logs; "
        f"Logs(Path({python_path(path)})).read_steps()[{first}:{end}]",
        "shell": f"whence rewind {shell_word(path)} --step {first}",
    }


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential moving average of a column, corrected for its starting value.

    sₜ = β·sₜ₋₁ + (1 − β)·xₜ with s₋₁ = 0, divided by 1 − βᵗ⁺¹. What is not finite is passed over.

    Args:
        values: [N].
        weight: β, from 0 to below 1.

    Returns:
        float64 [N].

    Example:
        >>> smooth(np.array([1.0, 0.0]), 0.5).round(4).tolist()
        [1.0, 0.3333]
    """
    total, share, found = 0.0, 0.0, []
    for value in values.tolist():
        if value - value == 0:  # neither infinite nor NaN
            total = weight * total + (1 - weight) * value
            share = weight * share + (1 - weight)
        found.append(total / share if share else float("nan"))
    return np.array(found)
