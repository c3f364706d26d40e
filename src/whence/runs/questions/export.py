"""A run's record for other programs: CSV, TensorBoard, Weights & Biases, Trackio."""

import csv
import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from whence.data.files import written_whole
from whence.errors import WhenceError
from whence.runs.run import Run

MEASURED = ("loss", "validation_loss", "bits_per_byte")
COLUMNS: tuple[str, ...] = ("step", *MEASURED, "rate", "grad_norm", "seconds")
FORMATS = ("csv", "tensorboard", "wandb", "trackio")
PROJECT = "whence"


def export_metrics(run: Run, form: str) -> Path:
    """Write a run's record into its folder.

    Args:
        run: the run.
        form: `csv` (metrics.csv, a row a step), `tensorboard` (a folder of event files), `wandb` (a
            folder that `wandb sync` sends) or `trackio` (its own folder, which `trackio show`
            shows). Nothing is sent anywhere.

    Returns:
        The file or folder.

    Raises:
        WhenceError: where the form is unknown or its program isn't installed.
    """
    writers = {"csv": _to_csv, "tensorboard": _to_tensorboard}
    writers |= {"wandb": _to_wandb, "trackio": _to_trackio}
    if form not in writers:
        choices = ", ".join(FORMATS)
        raise WhenceError(f"metrics can't be exported as {form!r}: choose from {choices}.")
    try:
        with redirect_stdout(sys.stderr):  # what those programs say isn't an output of ours
            return writers[form](run)
    except ImportError as error:
        raise WhenceError(f"{form} is not installed: run 'pip install whence[{form}]'.") from error


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    """Give a row for each step and each measurement, in order; one at a time is in memory."""
    measured: dict[int, dict[str, Any]] = {}
    for r in run.evals:
        found = {"validation_loss": r["loss"], "bits_per_byte": r["bits_per_byte"]}
        measured[r["step"]] = {"step": r["step"], **found}
    for r in run.steps:
        yield {k: r[k] for k in COLUMNS if k in r} | measured.pop(r["step"], {})
    yield from (measured[step] for step in sorted(measured))


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
    from torch.utils.tensorboard import SummaryWriter

    folder = run.path / "tensorboard"
    with SummaryWriter(str(folder)) as writer:
        for row in _rows(run):
            for name in COLUMNS[1:]:
                if name in row:
                    writer.add_scalar(name, row[name], row["step"])
    return folder


def _to_wandb(run: Run) -> Path:
    wandb = import_module("wandb")
    folder = run.path / "wandb"
    shutil.rmtree(folder, ignore_errors=True)  # what was written before
    log = wandb.init(
        project=PROJECT,
        name=run.name,
        id=run.header.id,  # sent again, it is the same run
        dir=str(run.path),
        mode="offline",
        config=run.recipe.to_dict(),
        settings=wandb.Settings(console="off", silent=True),
    )
    _log(run, log)
    log.finish()
    return folder


def _to_trackio(run: Run) -> Path:
    trackio = import_module("trackio")
    quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    log = trackio.init(project=PROJECT, name=run.name, config=run.recipe.to_dict(), **quiet)
    _log(run, log)
    trackio.finish()
    return Path(trackio.TRACKIO_DIR)


def _log(run: Run, log: Any) -> None:
    for row in _rows(run):
        log.log({name: row[name] for name in COLUMNS[1:] if name in row}, step=row["step"])
