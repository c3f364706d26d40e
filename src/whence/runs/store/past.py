"""What a run's records held when a checkpoint was made: how many bytes, and a digest of them."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from whence.runs.store.checkpoints import folder_name
from whence.runs.store.files import DamagedError, is_count, open_file, read_json

RECORDS = ("steps.jsonl", "evals.jsonl", "samples.jsonl")
Noted = dict[str, dict[str, Any]]  # record → bytes, sha256


class Past:
    """What the records of a run hold so far, as the next checkpoint notes it.

    Each call reads only what was added since the last one.

    Args:
        folder: the run's folder.

    Example:
        >>> import tempfile
        >>> Past(Path(tempfile.mkdtemp())).now()
        {}
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: dict[str, tuple[int, int, Any]] = {}  # inode, bytes, digest

    def now(self) -> Noted:
        """Return for each record how many bytes it has, and their sha256."""
        return {name: self._of(name) for name in RECORDS if (self.folder / name).is_file()}

    def _of(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        inode, size, digest = self._known.get(name, (0, 0, hashlib.sha256()))
        with open_file(path) as file:
            found = path.stat()
            if found.st_ino != inode or found.st_size < size:  # it was rewritten
                inode, size, digest = found.st_ino, 0, hashlib.sha256()
            file.seek(size)
            rest = b""  # a line that isn't complete doesn't count: the next one will replace it
            while piece := file.read(1 << 20):
                lines, newline, rest = (rest + piece).rpartition(b"\n")
                digest.update(lines + newline)
                size += len(lines + newline)
        self._known[name] = inode, size, digest
        return {"bytes": size, "sha256": digest.hexdigest()}


def read_state(folder: Path, step: int) -> dict[str, Any]:
    """Return a checkpoint's state.json, what ties it to its run checked for its types.

    Args:
        folder: the run's folder.
        step: the checkpoint's.

    Raises:
        DamagedError: where it isn't what was saved.
    """
    path = folder / "checkpoints" / folder_name(step) / "state.json"
    state = {"run": "", "sittings": 0, "past": {}} | read_json(path)
    past = state["past"]
    if not (
        is_count(state["sittings"])
        and isinstance(past, dict)
        and set(past) <= {*RECORDS}
        and all(isinstance(n, dict) and is_count(n.get("bytes")) for n in past.values())
    ):
        raise DamagedError(path, "it doesn't say what the records held")
    return state


def mismatches(
    folder: Path, steps: Iterable[int], names: Iterable[str] = RECORDS
) -> dict[int, DamagedError]:
    """Compare the records with what checkpoints noted of them, reading each record once.

    Args:
        folder: the run's folder.
        steps: the checkpoints.
        names: the records.

    Returns:
        Checkpoint → what has changed since, for those where something has.
    """
    wrong: dict[int, DamagedError] = {}
    noted: dict[int, Noted] = {}
    for step in steps:
        try:
            noted[step] = read_state(folder, step)["past"]
        except DamagedError as error:
            wrong[step] = error
    for name in names:
        path = folder / name
        sizes = {n[name]["bytes"] for n in noted.values() if name in n}
        try:
            digests = _digests(path, sizes) if sizes else {}
        except OSError as error:
            why = DamagedError(path, f"it can't be read ({error.strerror or error})")
            why.__cause__ = error
            digests = dict.fromkeys(sizes, why)
        for step, past in noted.items():
            if name in past:
                found = digests.get(past[name]["bytes"])
                if isinstance(found, DamagedError):
                    wrong.setdefault(step, found)
                elif found is None:
                    wrong.setdefault(step, shorter(path, step))
                elif found != past[name].get("sha256"):
                    where = f"it isn't the record that checkpoint {folder_name(step)} follows on"
                    wrong.setdefault(step, DamagedError(path, where))
    return wrong


def _digests(path: Path, sizes: Iterable[int]) -> Mapping[int, str]:
    """The sha256 of a file's first bytes, for several numbers of them that it has."""
    digest, here, found = hashlib.sha256(), 0, {}
    with open_file(path) as file:
        for size in sorted(sizes):
            while here < size and (piece := file.read(min(size - here, 1 << 20))):
                digest.update(piece)
                here += len(piece)
            if here == size:
                found[size] = digest.hexdigest()
    return found


def past_of(path: Path, n_records: int) -> dict[str, Any]:
    """Return what a checkpoint notes of a record's first line and so many after it."""
    with open_file(path) as file:
        size = sum(len(file.readline()) for _ in range(1 + n_records))
    return {"bytes": size, "sha256": _digests(path, [size])[size]}


def shorter(path: Path, step: int) -> DamagedError:
    """Return the error of a record that was cut."""
    return DamagedError(path, f"it ends before what checkpoint {folder_name(step)} follows on")
