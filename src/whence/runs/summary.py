"""What a list says of a run, kept in the run's folder so that a long list is there at once.

Making a run and training it leave a summary behind, so that a list need only read that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import WhenceError
from whence.models.kinds import MODELS
from whence.runs.folder import RunFolder, State
from whence.runs.recipe import kind_of
from whence.runs.settings import flat
from whence.runs.store.files import SCHEMA, SUMMARY, disk_use, open_file, refuse_links
from whence.runs.store.lock import is_held
from whence.runs.store.records.lines import Lines, encode_line
from whence.runs.store.stamps import Stamps, are_of_copy, bytes_shared, holds_a_link, stamps_of
from whence.runs.store.watched import Watched, is_watched

if TYPE_CHECKING:
    import numpy as np

SPARKLINE = 24  # buckets
SIGNS = ("run.toml", "watch.json", "steps.jsonl", "checkpoints")  # of a run, whole or not
LONGEST = 400  # characters of what is wrong


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
        validation: the loss on validation, nats per token, of that same measurement.
        measured: bits per byte on the whole validation part, which training ends with; until then,
            the best so far.
        tokens_per_second: the speed of the last steps.
        spark: a few (step, loss) that draw the curve.
        bytes: what the folder takes.
        origin: (run, step, how): where its first state comes from, if it wasn't drawn.
        settings: its recipe, as one table of dotted names.
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
    validation: float | None = None
    measured: float | None = None
    tokens_per_second: float | None = None
    spark: tuple[tuple[int, float], ...] = ()
    bytes: int = 0
    origin: tuple[str, int, str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    trouble: str | None = None


def runs_in(folder: Path) -> Iterator[Path]:
    """Give what looks like a run's folder, sound or not, in the order of the names.

    Raises:
        WhenceError: where the folder can't be read.
    """
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise WhenceError(
            f"{folder} can't be read ({error.strerror or error}): check its permissions."
        ) from error
    yield from (path for path in found if not path.name.startswith(".") and _looks_like_one(path))


def _looks_like_one(path: Path) -> bool:
    if not os.path.isdir(path):
        return False
    closed = not os.access(path, os.R_OK | os.X_OK)
    return closed or any(os.path.lexists(path / name) for name in SIGNS)


def summary_of(path: Path) -> Summary:
    """Return what a list says of a run; from its folder, where nothing has changed since.

    Whatever is wrong with the run is in `Summary.trouble`.

    Example:
        >>> summary_of(Path("there is no such run")).trouble
        "there is no run at there is no such run: 'whence runs' lists those there are."
    """
    now = stamps_of(path)
    kept = _read(path / SUMMARY, now)
    if kept is not None:
        return kept
    try:
        found = _make_watched(path) if is_watched(path) else _make(RunFolder.open(path))
    except WhenceError as error:
        return _damaged(path, str(error))
    except Exception as error:  # a folder may hold anything, and so break what reads it anyhow
        return _damaged(path, f"{path} can't be read ({type(error).__name__}: {error}).")
    if now == stamps_of(path):  # nothing has changed meanwhile
        _keep(path, found, now)
    return found


def _damaged(path: Path, trouble: str) -> Summary:
    try:
        size = disk_use(path)
    except OSError:  # what is in it can't even be listed
        size = 0
    return Summary(trouble=_one_line(trouble), bytes=size)


def kept_summary(path: Path) -> Summary | None:
    """Return what the run's folder holds of its summary, where that still fits; never makes one."""
    return _read(path / SUMMARY, stamps_of(path))


def state_of_summary(path: Path, summary: Summary) -> State:
    """Return how far a run has come, as `Run.state` does, from its summary and its lock."""
    if is_held(path):
        return "training"
    if summary.saved is not None and summary.complete:
        return "finished"
    return "stopped" if summary.done else "new"


def _make(run: RunFolder) -> Summary:
    from whence.runs.store.records.curves import (  # with NumPy, which a kept summary spares
        Curves,
        thin,
    )

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
        validation=best["loss"] if best else None,
        measured=whole[-1] if whole else best["bits_per_byte"] if best else None,
        tokens_per_second=curves.tokens_per_second,
        spark=tuple(zip(shown.tolist(), loss[shown].tolist(), strict=True)),
        bytes=disk_use(run.path),
        origin=(run.origin.run, run.origin.step, run.origin.how) if run.origin else None,
        settings=flat(run.recipe.to_dict()),
        trouble=_one_line(str(trouble)) if trouble else None,
    )


def _make_watched(path: Path) -> Summary:
    """Sum up a loop that was watched: it has a record of steps, and no recipe."""
    from whence.runs.store.records.curves import Curves, thin

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


def _keep(path: Path, found: Summary, now: Stamps) -> None:
    """Write a summary into its folder; the share of common tokens is counted at each look."""
    from whence.runs.store.records.index import keep

    own = found.bytes - bytes_shared(path)
    line = {"schema": SCHEMA, "stamps": now, **asdict(replace(found, bytes=max(0, own)))}
    keep(path / SUMMARY, encode_line(line))


def _read(path: Path, now: Stamps) -> Summary | None:
    try:
        with open_file(path) as file:
            line = file.read(1 << 20)
        record = Lines(path, {}).read_line(line, 2)
        then = record.pop("stamps")
        if record.pop("schema") != SCHEMA or not (then == now or are_of_copy(then, now)):
            return None
        if "validation" not in record:  # of an older cache: it is rebuilt
            return None
        origin = record.pop("origin")
        spark = tuple((int(step), float(loss)) for step, loss in record.pop("spark"))
        if origin is not None:
            run, step, how = origin  # of an older cache it has two: then it is rebuilt
            origin = (str(run), int(step), str(how))
        settings = record.pop("settings")  # summaries of before have none: they are rebuilt
        found = Summary(**record, spark=spark, origin=origin, settings=dict(settings))
        if not _is_sound(found) or holds_a_link(path.parent):
            return None
        found = replace(found, bytes=found.bytes + bytes_shared(path.parent))
    except (OSError, WhenceError, KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if then != now:
        _keep(path.parent, found, now)  # from now on whatever changes in this copy is noticed
    return found


def _is_sound(s: Summary) -> bool:
    """Check a summary's contents: the file in the folder may not be ours."""
    numbers = (s.saved, s.loss, s.best, s.validation, s.measured, s.tokens_per_second)
    return (
        all(type(text) is str for text in (s.created, s.model, s.text, s.trouble or ""))
        and all(type(count) is int and 0 <= count < 2**63 for count in (s.steps, s.done, s.bytes))
        and all(number is None or type(number) in (int, float) for number in numbers)
        and all(0 <= step < 2**31 for step, _ in s.spark)
    )


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def spark_of(summary: Summary) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a summary's curve: steps int32 [M] and losses float32 [M]."""
    import numpy as np

    steps, losses = zip(*summary.spark, strict=True) if summary.spark else ((), ())
    return np.array(steps, np.int32), np.array(losses, np.float32)


__all__ = ["Summary", "kept_summary", "runs_in", "spark_of", "state_of_summary", "summary_of"]
