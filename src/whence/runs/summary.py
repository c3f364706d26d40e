"""What a list says of a run, kept in the run's folder so that a long list is there at once."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from whence.errors import WhenceError
from whence.models.kinds import MODELS
from whence.runs.curves import Curves, thin
from whence.runs.files import SCHEMA, disk_use, refuse_links
from whence.runs.index import keep
from whence.runs.lines import Lines, encode_line
from whence.runs.lock import is_held
from whence.runs.recipe import kind_of
from whence.runs.run import Run, State
from whence.runs.watched import Watched, is_watched

FILE = ".summary.json"
SPARKLINE = 24  # buckets
# What a summary is made from: where one of them is another than it was, it is made anew.
SOURCES = (
    "run.toml", "steps.jsonl", "evals.jsonl", "samples.jsonl", "checkpoints.jsonl", "tokens.bin",
    "checkpoints", ".",
)  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """What a list says of a run.

    Attributes:
        created: when the folder was made; empty where run.toml can't be read.
        model: the kind of its model.
        text: what it was trained on.
        steps: its whole length.
        done: how many steps are recorded.
        saved: the step of its last checkpoint, if it has one.
        complete: its last state is saved, and measured on all of the text.
        loss: of the last step.
        best: the lowest bits per byte of the measurements that compare.
        measured: bits per byte on the whole validation part, which training ends with; until then,
            the best so far.
        tokens_per_second: the speed of the last steps.
        spark: a few (step, loss) that draw the curve.
        bytes: what the folder takes.
        origin: (run, step, how): where its first state comes from, if it wasn't drawn.
        trouble: what is wrong with it, in a sentence.
    """

    created: str = ""
    model: str = ""
    text: str = ""
    steps: int = 0
    done: int = 0
    saved: int | None = None
    complete: bool = False
    loss: float | None = None
    best: float | None = None
    measured: float | None = None
    tokens_per_second: float | None = None
    spark: tuple[tuple[int, float], ...] = ()
    bytes: int = 0
    origin: tuple[str, int, str] | None = None
    trouble: str | None = None


def runs_in(folder: Path) -> Iterator[Path]:
    """Give the folders of runs in a folder, in the order of their names."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        if (path / "run.toml").is_file() or is_watched(path):
            yield path


def summary_of(path: Path) -> Summary:
    """Return what a list says of a run; from its folder, where nothing has changed since.

    Whatever is wrong with the run stands in `Summary.trouble`.

    Example:
        >>> summary_of(Path("there is no such run")).trouble
        "there is no run at there is no such run: 'whence runs' lists those there are."
    """
    stamps = _stamps(path)
    kept = _read(path / FILE, stamps)
    if kept is not None:
        return kept
    try:
        found = _make_watched(path) if is_watched(path) else _make(Run.open(path))
    except (WhenceError, OSError, ArithmeticError) as error:
        return Summary(trouble=str(error))
    if stamps == _stamps(path):  # nothing has changed meanwhile
        keep(path / FILE, encode_line({"schema": SCHEMA, "stamps": stamps, **asdict(found)}))
    return found


def state_of_summary(path: Path, summary: Summary) -> State:
    """Return how far a run has come, as `Run.state` does, from its summary and its lock."""
    if is_held(path):
        return "training"
    if summary.saved is None:
        return "stopped" if summary.done else "new"
    return "finished" if summary.complete else "stopped"


def _make(run: Run) -> Summary:
    curves = Curves(run.path)
    trouble: WhenceError | None = curves.damage
    saved: list[int] = []
    try:
        saved = run.checkpoints
    except WhenceError as error:
        trouble = trouble or error
    loss, best = curves["loss"], curves.best()
    whole = [e["bits_per_byte"] for e in curves.evals if e["whole"]]
    shown = thin(loss, SPARKLINE)
    return Summary(
        created=run.created,
        model=kind_of(run.recipe.model, MODELS),
        text=", ".join(run.recipe.data.source),
        steps=run.recipe.steps,
        done=curves.n_steps,
        saved=max(saved, default=None),
        complete=trouble is None and run.is_complete,
        loss=float(loss[-1]) if len(loss) else None,
        best=best["bits_per_byte"] if best else None,
        measured=whole[-1] if whole else best["bits_per_byte"] if best else None,
        tokens_per_second=curves.tokens_per_second,
        spark=tuple(zip(shown.tolist(), loss[shown].tolist(), strict=True)),
        bytes=run.disk_use,
        origin=(run.origin.run, run.origin.step, run.origin.how) if run.origin else None,
        trouble=str(trouble) if trouble else None,
    )


def _make_watched(path: Path) -> Summary:
    """Sum up a loop that was watched: it has a record of steps, and no recipe."""
    refuse_links(path)
    watched, curves = Watched.read(path), Curves(path)
    loss = curves["loss"]
    shown = thin(loss, SPARKLINE)
    return Summary(
        created=watched.created,
        model=", ".join(watched.models),
        text="(watched)",
        steps=curves.n_steps,
        done=curves.n_steps,
        loss=float(loss[-1]) if len(loss) else None,
        tokens_per_second=curves.tokens_per_second,
        spark=tuple(zip(shown.tolist(), loss[shown].tolist(), strict=True)),
        bytes=disk_use(path),
        trouble=str(curves.damage) if curves.damage else None,
    )


def _stamps(path: Path) -> list[list[int] | None]:
    """What changes when a file does; its own time of change can't be set back by anyone."""
    found: list[list[int] | None] = []
    for name in SOURCES:
        try:
            s = os.stat(path / name)
        except OSError:
            found.append(None)
            continue
        # Keeping the summary changes the folder itself: of that, only which it is counts.
        found.append([s.st_ino] if name == "." else [s.st_ino, s.st_size, s.st_ctime_ns])
    return found


def _read(path: Path, stamps: list[list[int] | None]) -> Summary | None:
    try:
        with path.open("rb") as file:
            line = file.read(1 << 16)
        record = Lines(path, {}).read_line(line, 2)
        if record.pop("schema") != SCHEMA or record.pop("stamps") != stamps:
            return None
        origin = record.pop("origin")
        spark = tuple((int(step), float(loss)) for step, loss in record.pop("spark"))
        if origin is not None:
            run, step, how = origin  # of an older cache it has two: then it is made anew
            origin = (str(run), int(step), str(how))
        return Summary(**record, spark=spark, origin=origin)
    except (OSError, WhenceError, KeyError, TypeError, ValueError):
        return None


def spark_of(summary: Summary) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a summary's curve: steps int32 [M] and losses float32 [M]."""
    steps, losses = zip(*summary.spark, strict=True) if summary.spark else ((), ())
    return np.array(steps, np.int32), np.array(losses, np.float32)


__all__ = ["Summary", "runs_in", "spark_of", "state_of_summary", "summary_of"]
