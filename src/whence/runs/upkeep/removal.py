"""Removing a run: one that is damaged, too, and never a folder that Whence didn't make."""

import os
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.files import DamagedError, read_start
from whence.runs.store.records.record import id_of
from whence.runs.store.watched import is_watched


def run_to_remove(path: Path) -> Run:
    """Return the run in a folder so that it can be removed: sound, damaged or of a newer version.

    Raises:
        WhenceError: where there is no folder that Whence made.

    Example:
        >>> run_to_remove(Path("runs/mine")).remove()  # doctest: +SKIP
    """
    if os.path.islink(path):
        raise WhenceError(f"{path} is a link: remove the link itself, or name the run's folder.")
    if not path.is_dir() or not (_is_marked(path) or is_watched(path)):
        return Run.open(path)  # it says what is there instead
    leads_through_itself = not path.name or ".." in path.parts  # which would break on the way
    return Run(path.resolve() if leads_through_itself else path)


def _is_marked(path: Path) -> bool:
    """Whether run.toml or the record of steps begins as Whence begins it."""
    try:
        if read_start(path / "run.toml", 12) == b'checksum = "':
            return True
    except DamagedError:
        pass
    try:
        id_of(path / "steps.jsonl")
    except DamagedError:
        return False
    return True
