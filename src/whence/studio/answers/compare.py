"""Two runs over each other."""

from pathlib import Path
from typing import Any

from whence.errors import shell_word
from whence.runs.compare import compare_folders
from whence.runs.store.curves import thin
from whence.studio.answers.place import path_of, python_path
from whence.studio.answers.runs import curves_of


def compare(folder: Path, *, a: str, b: str, buckets: int = 400) -> dict[str, Any]:
    """Say where two runs' recipes and losses part, and give both curves.

    Args:
        folder: the folder of runs.
        a: a run's name.
        b: another's.
        buckets: as of `whence.runs.store.curves.thin`.
    """
    both = one, other = path_of(folder, a), path_of(folder, b)
    found = compare_folders(one, other, 2)
    sides = []
    for index, run in enumerate(both):
        curves = curves_of(run)
        curves.refresh()
        loss = curves["loss"]
        at = thin(loss, max(2, min(buckets, 5000)))
        usual = [e for e in curves.evals if not e["whole"]]
        sides.append(
            {
                "name": run.name,
                "done": len(loss),
                "loss": {"step": at, "value": loss[at]},
                "validation": [[e["step"], e["loss"]] for e in usual],
                "bits_per_byte": found.bits_per_byte[index],
                "last_bits_per_byte": found.last_bits_per_byte[index],
                "sample": found.samples[index],
            }
        )
    return {
        "runs": sides,
        "recipe": [[name, mine, theirs] for name, mine, theirs in found.recipe],
        "first_difference": found.first_difference,
        "shared": found.shared,
        "origin": found.origin,
        "same_text": found.same_text,
        "python": "from pathlib import Path; from whence.runs.compare import compare_folders; "
        + "compare_folders({}, {})".format(*(f"Path({python_path(path)})" for path in both)),
        "shell": f"whence compare {shell_word(one)} {shell_word(other)}",
    }
