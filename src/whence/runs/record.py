"""The record of a run: what each step, measurement and sample left in the folder."""

from pathlib import Path
from typing import Any

from whence.runs.files import DamagedError
from whence.runs.lines import Lines
from whence.runs.steps import StepLines, Steps

EVALUATION = {
    "step": int,
    "loss": float,
    "loss_hex": str,
    "bits_per_byte": float,
    "tokens": int,
    "whole": bool,
}
SAMPLE = {"step": int, "text": str}


class Logs:
    """The three files that a run's training appends to.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path):
        self.steps = StepLines(folder / "steps.jsonl")
        self.evals = Lines(folder / "evals.jsonl", EVALUATION)
        self.samples = Lines(folder / "samples.jsonl", SAMPLE)

    def __iter__(self):
        """Give the three files."""
        return iter((self.steps, self.evals, self.samples))

    def read_steps(self) -> Steps:
        """Return the record of each step, from 0 on without a gap.

        Raises:
            DamagedError: where a line is damaged or missing.
        """
        return self.steps.all()

    def sound_steps(self) -> tuple[Steps, DamagedError | None]:
        """Return the records up to the first that is damaged or missing, and what is wrong."""
        return self.steps.until_damage()

    def close(self) -> None:
        """Close the files."""
        for lines in self:
            lines.close()


def best_step(evals: list[dict[str, Any]], saved: list[int]) -> int | None:
    """Return the saved step with the lowest validation loss, of the measurements that compare.

    Example:
        >>> evals = [{"step": 5, "loss": 2.0, "whole": False}]
        >>> best_step([*evals, {"step": 9, "loss": 2.5, "whole": False}], [5, 9])
        5
    """
    losses = {r["step"]: r["loss"] for r in evals if r["step"] in saved and not r["whole"]}
    return min(losses, key=losses.__getitem__) if losses else None
