"""One step of a run: its record, its batch, and what going back to it takes."""

from pathlib import Path
from typing import Any

from whence.errors import WhenceError, shell_word
from whence.runs.replay import estimate
from whence.studio.answers.place import open_run, python_path

WINDOWS = 4


def step(folder: Path, *, run: str, step: int) -> dict[str, Any]:
    """Say what a run's step was, without doing it again.

    Args:
        folder: the folder of runs.
        run: the run's name.
        step: from 0 to the number of steps done, which is the state at the end.
    """
    opened = open_run(folder, run)
    opened.refuse_counted()
    records = opened.steps
    try:
        replayed, seconds = estimate(opened, step)
        apart = None
    except WhenceError as error:
        replayed, seconds, apart = 0, 0.0, str(error)
    windows: list[dict[str, Any]] = []
    parts = opened.batches[step] if 0 <= step < len(records) else []
    for _, part in parts:
        for start, row in zip(part.starts, part.inputs, strict=True):
            if len(windows) < WINDOWS:
                text = opened.tokenizer.decode(row.tolist())
                windows.append({"start": int(start), "text": text})
    return {
        "run": run,
        "step": step,
        "record": records[step] if 0 <= step < len(records) else None,
        "windows": windows,
        "batch_size": opened.recipe.batch_size,
        "replay_steps": replayed,
        "replay_seconds": seconds,
        "apart": apart,
        "python": f"from whence import Run; Run.open({python_path(opened.path)}).at({step})",
        "shell": f"whence rewind {shell_word(opened.path)} --step {step}",
    }
