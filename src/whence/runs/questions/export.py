"""A run's record for other programs: a CSV file or TensorBoard's event files."""

import csv
import io
from pathlib import Path

from whence.data.files import written_whole
from whence.errors import WhenceError
from whence.runs.run import Run

COLUMNS = ("step", "loss", "validation_loss", "bits_per_byte", "rate", "grad_norm", "seconds")
FORMATS = ("csv", "tensorboard")


def export_metrics(run: Run, form: str) -> Path:
    """Write a run's record into its folder.

    Args:
        run: the run.
        form: `csv` (metrics.csv, a row a step) or `tensorboard` (a folder of event files).

    Returns:
        The file or folder.

    Raises:
        WhenceError: where the form is unknown or TensorBoard isn't installed.
    """
    if form == "csv":
        return _to_csv(run)
    if form == "tensorboard":
        return _to_tensorboard(run)
    raise WhenceError(f"metrics can't be exported as {form!r}: choose from {', '.join(FORMATS)}.")


def _rows(run: Run) -> list[dict]:
    rows = {r["step"]: {k: r[k] for k in COLUMNS if k in r} for r in run.steps}
    for r in run.evals:
        row = rows.setdefault(r["step"], {"step": r["step"]})
        row |= {"validation_loss": r["loss"], "bits_per_byte": r["bits_per_byte"]}
    return [rows[step] for step in sorted(rows)]


def _to_csv(run: Run) -> Path:
    path = run.path / "metrics.csv"
    with written_whole(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(_rows(run))
        text.detach()  # whoever opened it closes it
    return path


def _to_tensorboard(run: Run) -> Path:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise WhenceError(
            "TensorBoard is not installed: run 'pip install whence[tensorboard]'."
        ) from error
    folder = run.path / "tensorboard"
    with SummaryWriter(str(folder)) as writer:
        for row in _rows(run):
            for name in COLUMNS[1:]:
                if name in row:
                    writer.add_scalar(name, row[name], row["step"])
    return folder
