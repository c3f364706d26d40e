"""Folders that are made and removed under a random name, so that nobody sees half of one."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from whence.errors import WhenceError, shell_word
from whence.runs.store.files import sync_all, sync_folder

SUFFIX = r"\.[0-9a-f]{8}\.(part|gone)"


class TakenError(WhenceError):
    """Another run has this name."""

    def __init__(self, path: Path, said: str = ""):
        super().__init__(
            said
            or f"{path} already exists: continue it with 'whence resume {shell_word(path)}', or "
            "choose another name with --out."
        )


@contextmanager
def made_aside(path: Path) -> Iterator[Path]:
    """Give a folder to fill that gets its name at the end, whole or not at all.

    Any number of processes may make folders at once, of one name too: the first to end has it.

    Args:
        path: the folder, not there yet.

    Raises:
        TakenError: where something has the name by now.
        WhenceError: where it can't be written.
    """
    if os.path.lexists(path):
        raise TakenError(path)
    part = None
    try:
        part, lock = _begin(path)
        try:
            sweep(path.parent)
            yield part
            sync_all(part)
            if os.name == "nt":  # an open file can't move there
                lock.release()
            try:
                part.rename(path)
            except OSError:
                if os.path.lexists(path):
                    raise TakenError(path) from None
                raise
            sync_folder(path.parent)
            with suppress(OSError):  # that folder may be new as well, in one that isn't ours
                sync_folder(path.parent.parent)
        finally:
            lock.release()
    except OSError as error:
        raise WhenceError(
            f"{path} can't be made ({error.strerror or error}): choose another folder."
        ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _begin(path: Path) -> tuple[Path, FileLock]:
    """Make a folder and lock it, so that nobody mistakes it for what a killed process left."""
    while True:
        part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
        part.mkdir(parents=True)
        lock = FileLock(part / ".lock")
        with suppress(Timeout, FileNotFoundError):  # swept before it was held
            lock.acquire(blocking=False)
            if part.is_dir():
                return part, lock
            lock.release()


def remove_aside(path: Path) -> None:
    """Remove a folder: its name is free at once, and a kill leaves no half of it under it.

    Raises:
        WhenceError: where it can't be removed, or not all of it.
    """
    gone = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.gone")
    try:
        path.rename(gone)
    except OSError as error:
        raise WhenceError(
            f"{path} can't be removed ({error.strerror or error}): check the permissions of its "
            "folder."
        ) from error
    try:
        sync_folder(path.parent)  # first, or a power loss could leave the name without what it held
        shutil.rmtree(gone)
    except OSError as error:
        raise WhenceError(
            f"{path} could only partly be removed ({error.strerror or error}): the rest is in "
            f"{gone}, and the next 'whence train' or 'whence runs remove' tries again."
        ) from error


# What a run makes in its folder; `name.*` stands for what it is writing.
OURS = (
    "run.toml", "tokenizer.json", "tokens.json", "tokens.bin", "tokens.bin.shared",
    "steps.jsonl", "evals.jsonl", "samples.jsonl", "steps.index", "checkpoints.jsonl",
    "checkpoints", "control.json", "trouble.json", "metrics.csv", "tensorboard", "wandb",
    "answers", "tags.json",
    "crashes", "steps", "damaged", "watch.json", ".lock", ".summary.json", ".studio.html",
)  # fmt: skip


def foreign(path: Path) -> list[str]:
    """Name what lies in a run's folder that the run didn't make.

    Example:
        >>> foreign(Path("there is no such run"))
        []
    """
    if not path.is_dir():
        return []
    return sorted(p.name for p in path.iterdir() if not _is_ours(p.name))


def remove_ours(path: Path) -> list[str]:
    """Remove what a run made in its folder, and the folder itself if nothing else is in it.

    Returns:
        The names of what was left.

    Raises:
        WhenceError: where it can't be removed, or not all of it.
    """
    try:
        left = foreign(path)
    except OSError as error:
        raise WhenceError(
            f"{path} can't be read ({error.strerror or error}): check its permissions."
        ) from error
    if not left:
        remove_aside(path)
        return []
    gone = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.gone")
    try:
        gone.mkdir()
        # run.toml goes first: what is left of a killed removal is no longer a run.
        names = sorted((p.name for p in path.iterdir()), key=lambda name: name != "run.toml")
        for name in names:
            if name not in left:
                (path / name).rename(gone / name)
        sync_folder(path)
        shutil.rmtree(gone)
    except OSError as error:
        raise WhenceError(
            f"{path} can't be removed ({error.strerror or error}): check its permissions."
        ) from error
    return left


def _is_ours(name: str) -> bool:
    return any(name == ours or name.startswith(f"{ours}.") for ours in OURS) or bool(
        re.fullmatch(rf"\..+{SUFFIX}", name)
    )


def sweep(folder: Path) -> None:
    """Remove what processes that were killed had begun to make or to remove in a folder."""
    found: list[Path] = []
    with suppress(OSError):  # another time
        found = sorted(folder.iterdir())
    for left in found:
        if re.fullmatch(rf"\..+{SUFFIX}", left.name) and not left.is_symlink():
            if left.name.endswith(".gone"):
                shutil.rmtree(left, ignore_errors=True)
                continue
            lock = FileLock(left / ".lock")
            with suppress(Timeout, OSError):  # someone is filling it
                lock.acquire(blocking=False)
                shutil.rmtree(left, ignore_errors=True)
                lock.release()
