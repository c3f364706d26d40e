"""Runs over each other."""

from pathlib import Path
from typing import Any

from whence.errors import WhenceError, shell_word
from whence.runs.compare import Comparison
from whence.runs.compare import compare as compare_runs
from whence.runs.questions.curves import thin
from whence.runs.run import Run
from whence.runs.settings import flat
from whence.studio.answers.place import open_run, python_path
from whence.studio.answers.runs import curves_of

MOST = 8  # runs at once


def compare(
    folder: Path, *, a: str = "", b: str = "", more: list | None = None, buckets: int = 400
) -> dict[str, Any]:
    """Say where runs' recipes and losses part, and give their curves.

    Args:
        folder: the folder of runs.
        a: a run's name; the others' losses are held against its.
        b: another's.
        more: names of further ones.
        buckets: as of `whence.runs.questions.curves.thin`.

    Raises:
        WhenceError: where fewer than two runs are named, or more than eight.
    """
    names = list(dict.fromkeys([a, b, *map(str, more or [])]))
    if not (a and b) or len(names) > MOST:
        raise WhenceError(f"a comparison takes two to {MOST} runs: choose them in the list of runs.")
    opened = [open_run(folder, name) for name in names]
    if len(opened) == 1:  # a run beside itself
        opened *= 2
    one, *others = opened
    found = [compare_runs(one, other, 2) for other in others]
    recipes = [flat(run.recipe.to_dict()) for run in opened]
    fields = dict.fromkeys(name for recipe in recipes for name in recipe)
    table = [[name, *(recipe.get(name) for recipe in recipes)] for name in fields]
    differ = [row for row in table if any(value != row[1] for value in row[1:])]
    return {
        "runs": [_side(run, index, found, buckets) for index, run in enumerate(opened)],
        "recipe": differ,
        "first_difference": found[0].first_difference,
        "differences": [each.first_difference for each in found],
        "shared": found[0].shared,
        "origin": "; ".join(each.origin for each in found if each.origin) or None,
        "same_text": all(each.same_text for each in found),
        "python": "from whence import Run; from whence.runs.compare import compare; "
        + ", ".join(
            f"compare(Run.open({python_path(one.path)}), Run.open({python_path(other.path)}))"
            for other in others
        ),
        "shell": "; ".join(
            f"whence compare {shell_word(one.path)} {shell_word(other.path)}" for other in others
        ),
    }


def _side(run: Run, index: int, found: list[Comparison], buckets: int) -> dict[str, Any]:
    """One run's curves, and its half of its comparison with the first."""
    curves = curves_of(run.path)
    curves.refresh()
    loss = curves["loss"]
    at = thin(loss, max(2, min(buckets, 5000)))
    usual = [e for e in curves.evals if not e["whole"]]
    own, half = found[max(0, index - 1)], min(index, 1)
    return {
        "name": run.name,
        "done": len(loss),
        "loss": {"step": at, "value": loss[at]},
        "validation": [[e["step"], e["loss"]] for e in usual],
        "bits_per_byte": own.bits_per_byte[half],
        "last_bits_per_byte": own.last_bits_per_byte[half],
        "sample": own.samples[half],
    }
