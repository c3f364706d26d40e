"""Which runs there are, whatever has happened to one of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from whence.errors import WhenceError
from whence.runs.run import Run

T = TypeVar("T")
SIGNS = ("run.toml", "steps.jsonl", "checkpoints")  # what a run's folder has, whole or not
LONGEST = 400  # characters of what is wrong


@dataclass(frozen=True)
class Listed(Generic[T]):
    """A run of a list.

    Attributes:
        path: its folder.
        told: what was asked of it; none where that can't be had.
        trouble: what is wrong, in one line; empty where nothing is.
    """

    path: Path
    told: T | None
    trouble: str = ""


def each_run(folder: Path | str, tell: Callable[[Run], T]) -> list[Listed[T]]:
    """Ask something of each run in a folder; one that can't be read never hides the others.

    Args:
        folder: where to look.
        tell: what is asked.

    Returns:
        The runs by their names, the damaged ones among them.

    Raises:
        WhenceError: where the folder itself can't be read.

    Example:
        >>> each_run("there is no such folder", lambda run: run.created)
        []
    """
    return [_listed(path, tell) for path in run_folders(Path(folder))]


def list_runs(folder: Path | str = "runs") -> list[Run]:
    """Return the runs in a folder, the newest last; what isn't a sound run is passed over.

    Example:
        >>> list_runs("there is no such folder")
        []
    """
    found = [each.told for each in each_run(folder, lambda run: run) if each.told]
    return sorted(found, key=lambda run: run.created)


def run_folders(folder: Path) -> list[Path]:
    """List what looks like a run's folder, sound or not.

    Raises:
        WhenceError: where the folder can't be read.
    """
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise WhenceError(
            f"{folder} can't be read ({error.strerror or error}): check its permissions."
        ) from error
    return [path for path in found if not path.name.startswith(".") and _looks_like_one(path)]


def _looks_like_one(path: Path) -> bool:
    if not os.path.isdir(path):
        return False
    closed = not os.access(path, os.R_OK | os.X_OK)
    return closed or any(os.path.lexists(path / name) for name in SIGNS)


def _listed(path: Path, tell: Callable[[Run], T]) -> Listed[T]:
    try:
        return Listed(path, tell(Run.open(path)))
    except WhenceError as error:
        trouble = str(error)
    except Exception as error:  # a folder may hold anything, and so break what reads it anyhow
        trouble = f"{path} can't be read ({type(error).__name__}: {error})."
    line = " ".join(trouble.split())
    return Listed(path, None, line if len(line) <= LONGEST else line[: LONGEST - 1] + "…")
