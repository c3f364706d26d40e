"""How the probability of each token of a sentence grew over the steps."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import shell_word
from whence.runs.questions.growth import growth
from whence.runs.run import Run
from whence.runs.tasks.pairs import Pairs
from whence.studio.answers.place import COMPUTING, open_run, python_path

LONGEST = 2000  # characters


def strip(folder: Path, *, run: str, text: str = "", most: int = 40) -> dict[str, Any]:
    r"""Give P(token) of each token of a text at the run's checkpoints.

    Args:
        folder: the folder of runs.
        run: the run's name.
        text: the text; an empty one stands for the first words of the validation text; \t is a tab.
        most: how many checkpoints at most.
    """
    opened = open_run(folder, run)
    text = text[:LONGEST].replace("\\n", "\n").replace("\\t", "\t") or first_words(opened)
    with COMPUTING:
        known = _known(opened.path, opened.created, text)
        found = growth(opened, text, max(2, min(most, 100)), known)
    return {
        "run": run,
        "given": text.replace("\t", "\\t").replace("\n", "\\n"),
        "tokens": found.tokens,
        "before": found.before,
        "left_out": found.left_out,
        "step": np.array(found.steps, np.int32),
        "probability": found.probabilities,
        "python": "from whence import Run; from whence.runs.questions.growth import growth; "
        f"growth(Run.open({python_path(opened.path)}), {text!r})",
        "shell": f"whence growth {shell_word(opened.path)} {shell_word(text)}",
    }


@lru_cache(32)
def _known(path: Path, created: str, text: str) -> dict[int, np.ndarray]:
    """Rows by step: a checkpoint never changes, so each is measured once."""
    return {}


def first_words(run: Run) -> str:
    """A beginning that the run wasn't trained on: a pair, or some 24 characters of one line."""
    if isinstance(run.task, Pairs):
        return run.tokenizer.decode(run.task.pairs[1][0]).rstrip("\n")
    whole = run.tokenizer.decode(run.dataset.validation[:400].tolist())
    lines = [line.strip() for line in whole.split("\n")]
    lines = lines[1:] or lines  # the first may begin in the middle
    line = next(filter(None, lines), whole.strip() or whole)
    end = line.find(" ", 24)
    return line[: end if 0 < end < 60 else 40]
