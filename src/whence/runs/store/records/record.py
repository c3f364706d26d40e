"""The record of a run: what each step, measurement, sample and checkpoint left in the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.runs.store.files import DamagedError, read_start
from whence.runs.store.records.lines import Lines

if TYPE_CHECKING:
    from whence.runs.store.records.steps import Steps

EVALUATION = {
    "step": int,
    "loss": float,
    "loss_hex": str,
    "bits_per_byte": float,
    "tokens": int,
    "whole": bool,
}
SAMPLE = {"step": int, "text": str}
CHECKPOINT = {"step": int, "state": str, "kept": bool}  # state: sha256 of state.json


class Logs:
    """The four files that a run's training appends to.

    Args:
        folder: the run's folder.
        run: the run's id; None: any.
    """

    def __init__(self, folder: Path, run: str | None = None):
        from whence.runs.store.records.steps import (
            StepLines,  # with NumPy, which a list of runs spares
        )

        self.steps = StepLines(folder / "steps.jsonl", run)
        self.evals = Lines(folder / "evals.jsonl", EVALUATION, run)
        self.samples = Lines(folder / "samples.jsonl", SAMPLE, run)
        self.checkpoints = Lines(folder / "checkpoints.jsonl", CHECKPOINT, run)

    def __iter__(self):
        """Give the four files."""
        return iter((self.steps, self.evals, self.samples, self.checkpoints))

    def begin(self) -> None:
        """Make those that aren't there yet, empty: from then on one that is missing was lost.

        Raises:
            WhenceError: where they can't be written.
        """
        for lines in self:
            if not lines.path.exists():
                lines.replace([])

    def kept(self) -> dict[int, str]:
        """Return the checkpoints that were saved and not let go: step → sha256 of state.json.

        Raises:
            DamagedError: where a line is damaged.
        """
        pins: dict[int, str] = {}
        for line in self.checkpoints:
            pins.pop(line["step"], None)
            if line["kept"]:
                pins[line["step"]] = line["state"]
        return pins

    def read_steps(self) -> Steps:
        """Return the record of each step, from 0 on without a gap.

        Raises:
            DamagedError: where a line is damaged or missing.
        """
        return self.steps.all()

    def sound_steps(self) -> tuple[Steps, DamagedError | None]:
        """Return the records up to the first that is damaged or missing, and what is wrong."""
        return self.steps.until_damage()

    def noted(self) -> set[int]:
        """Return the checkpoints that were ever saved.

        Raises:
            DamagedError: where a line is damaged.
        """
        return {line["step"] for line in self.checkpoints}

    def close(self) -> None:
        """Close the files."""
        for lines in self:
            lines.close()


def id_of(path: Path) -> str:
    """Return the id of the run that a record's first line names; empty: none.

    Raises:
        DamagedError: where it has no such line.
    """
    first, newline, _ = read_start(path, 200).partition(b"\n")
    if not newline:
        raise DamagedError(path, "it has lost its first line")
    try:
        named = json.loads(first).get("run", "")
    except (ValueError, AttributeError, RecursionError):
        named = None
    if not isinstance(named, str):
        raise DamagedError(path, "line 1: it names no run")
    return named


def best_step(evals: list[dict[str, Any]], saved: list[int]) -> int | None:
    """Return the saved step with the lowest validation loss, of the measurements that compare.

    Example:
        >>> evals = [{"step": 5, "loss": 2.0, "whole": False}]
        >>> best_step([*evals, {"step": 9, "loss": 2.5, "whole": False}], [5, 9])
        5
    """
    losses = {r["step"]: r["loss"] for r in evals if r["step"] in saved and not r["whole"]}
    return min(losses, key=losses.__getitem__) if losses else None
