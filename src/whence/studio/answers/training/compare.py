"""Runs over each other."""

from pathlib import Path
from typing import Any

from whence.errors import WhenceError, shell_word
from whence.runs.compare import Comparison, compare_folders
from whence.runs.store.records.curves import thin
from whence.studio.answers.place import path_of, python_path
from whence.studio.answers.training.runs import curves_of

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
        buckets: as of `whence.runs.store.records.curves.thin`.

    Raises:
        WhenceError: where fewer than two runs are named, or more than eight.
    """
    names = list(dict.fromkeys([a, b, *map(str, more or [])]))
    if not (a and b) or len(names) > MOST:
        raise WhenceError(
            f"a comparison takes two to {MOST} runs: select them in the list of runs."
        )
    paths = [path_of(folder, name) for name in names]
    if len(paths) == 1:  # a run beside itself
        paths *= 2
    one, *others = paths
    found = [compare_folders(one, other, 2) for other in others]
    calls = [f"compare_folders(Path({python_path(one)}), Path({python_path(o)}))" for o in others]
    return {
        "runs": [_side(path, index, found, buckets) for index, path in enumerate(paths)],
        "recipe": _recipes(found),
        "first_difference": found[0].first_difference,
        "differences": [each.first_difference for each in found],
        "shared": found[0].shared,
        "origin": "; ".join(each.origin for each in found if each.origin) or None,
        "same_text": all(each.same_text for each in found),
        "python": "from pathlib import Path; from whence.runs.compare import compare_folders; "
        + ", ".join(calls),
        "shell": "; ".join(f"whence compare {shell_word(one)} {shell_word(o)}" for o in others),
    }


def _recipes(found: list[Comparison]) -> list[list[Any]]:
    """Each setting that differs anywhere, with its value in every run."""
    rows = [{name: (mine, theirs) for name, mine, theirs in each.recipe} for each in found]
    own = {name: mine for row in rows for name, (mine, _) in row.items()}
    return [
        [name, mine, *(row[name][1] if name in row else mine for row in rows)]
        for name, mine in own.items()
    ]


def _side(path: Path, index: int, found: list[Comparison], buckets: int) -> dict[str, Any]:
    """One run's curves, and its half of its comparison with the first."""
    curves = curves_of(path)
    curves.refresh()
    loss = curves["loss"]
    at = thin(loss, max(2, min(buckets, 5000)))
    usual = [e for e in curves.evals if not e["whole"]]
    own, half = found[max(0, index - 1)], min(index, 1)
    return {
        "name": path.name,
        "done": len(loss),
        "loss": {"step": at, "value": loss[at]},
        "validation": [[e["step"], e["loss"]] for e in usual],
        "bits_per_byte": own.bits_per_byte[half],
        "last_bits_per_byte": own.last_bits_per_byte[half],
        "sample": own.samples[half],
    }
