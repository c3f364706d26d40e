"""Reading and writing a run's files so that a kill loses nothing and forged contents do no harm."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from whence.data.files import is_alive, is_hollow, written_whole
from whence.errors import WhenceError

SUMMARY = ".summary.json"
SCHEMA = 1
LARGEST_TEXT = 8 << 20  # run.toml, state.json and the like


class DamagedError(WhenceError):
    """A file of a run isn't what Whence wrote.

    Attributes:
        path: the file.
        why: what is wrong with it.
    """

    def __init__(self, path: Path, why: str):
        super().__init__(f"{path} is damaged: {why}.")
        self.path, self.why = path, why


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        WhenceError: where it can't be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_whole(path, "all of it")
        >>> path.read_text()
        'all of it'
    """
    with written_whole(path) as file:
        file.write(text.encode())


def write_folder_whole(path: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder under a temporary name, then rename it: it is there whole or not at all.

    Args:
        path: the folder, not there yet.
        fill: writes the files into the folder it is given.

    Raises:
        WhenceError: where the disk is full or can't be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        make_folder(path.parent)
        temporary.mkdir()
        fill(temporary)
        sync_all(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder if it isn't there, and put its name on the disk."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync_folder(folder.parent)


def sync_all(folder: Path) -> None:
    """Flush everything in a folder to the disk, bytes and names."""
    mode = "rb+" if os.name == "nt" else "rb"  # a shared file may be another's
    for root, _, files in os.walk(folder):
        for name in files:
            with Path(root, name).open(mode) as handle:
                os.fsync(handle.fileno())
        sync_folder(Path(root))


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can (Windows can't)."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cannot_write(path: Path, error: Exception) -> WhenceError:
    """Return the error of a file that can't be written, such as on a full disk."""
    reason = getattr(error, "strerror", None) or error
    return WhenceError(
        f"{path} can't be written ({reason}): make room on the disk or check its permissions; "
        "nothing that was complete is lost, and the run can be resumed."
    )


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading; a pipe or a device, which might never end, is refused at once.

    Raises:
        OSError: where it is missing, can't be read or isn't a file.

    Example:
        >>> with open_file(Path(__file__)) as file:
        ...     len(file.read(3))
        3
    """
    # Without O_NONBLOCK a pipe would wait for someone who writes.
    own = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, os.O_RDONLY | own)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device", str(path))
    return os.fdopen(handle, "rb")


def read_text(path: Path, limit: int = LARGEST_TEXT) -> str:
    """Read a small text file.

    Raises:
        DamagedError: where it is missing, too large or not UTF-8.
    """
    try:
        with open_file(path) as file:
            raw = file.read(limit + 1)
        if len(raw) > limit:
            raise DamagedError(path, f"it is larger than {limit:,} bytes")
        return raw.decode("utf-8")
    except FileNotFoundError as error:
        raise DamagedError(path, "it is missing") from error
    except OSError as error:
        raise DamagedError(path, f"it can't be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DamagedError(path, "it is not UTF-8 text") from error


def is_count(value: object) -> bool:
    """Tell whether a value from a file is a number of things that could be.

    Example:
        >>> is_count(3), is_count(-1), is_count(True), is_count(10**30)
        (True, False, False, False)
    """
    return type(value) is int and 0 <= value < 2**63


def read_start(path: Path, n_bytes: int) -> bytes:
    """Read the first bytes of a file.

    Raises:
        DamagedError: where it is missing or can't be read.
    """
    try:
        with open_file(path) as file:
            return file.read(n_bytes)
    except FileNotFoundError as error:
        raise DamagedError(path, "it is missing") from error
    except OSError as error:
        raise DamagedError(path, f"it can't be read ({error.strerror or error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON object that carries a schema number.

    Raises:
        WhenceError: where it is missing, damaged or of a newer version.
    """
    record = parse_object(read_text(path), path, "")
    check_schema(record, path)
    return record


def parse_object(text: str | bytes, path: Path, where: str) -> dict[str, Any]:
    """Parse a JSON object; a DamagedError says where and what is wrong."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, f"{where}it is not JSON") from error
    if not isinstance(record, dict):
        raise DamagedError(path, f"{where}it isn't a JSON object")
    return record


def check_schema(record: Mapping[str, Any], path: Path) -> None:
    """Refuse what a newer Whence has written, and what isn't Whence's.

    Raises:
        WhenceError: saying which of the two.
    """
    schema = record.get("schema")
    if type(schema) is not int or schema < 1:
        raise DamagedError(path, "it carries no schema number, as if Whence hadn't written it")
    if schema > SCHEMA:
        raise WhenceError(
            f"{path} has schema {schema} and this Whence reads up to {SCHEMA}: upgrade Whence."
        )


def sha256(path: Path, n_bytes: int | None = None) -> str:
    """Return the sha256 of a file, or of its first bytes.

    Args:
        path: the file.
        n_bytes: so many of its bytes; none: all.

    Raises:
        DamagedError: where it is missing, can't be read, or is almost nothing but a hole.
    """
    try:
        with open_file(path) as file:
            if is_hollow(found := os.fstat(file.fileno())):
                raise DamagedError(path, f"of its {found.st_size:,} bytes few are on the disk")
            if n_bytes is None:
                return hashlib.file_digest(file, "sha256").hexdigest()
            digest = hashlib.sha256()
            while n_bytes > 0 and (piece := file.read(min(n_bytes, 1 << 20))):
                digest.update(piece)
                n_bytes -= len(piece)
            return digest.hexdigest()
    except FileNotFoundError as error:
        raise DamagedError(path, "it is missing") from error
    except OSError as error:
        raise DamagedError(path, f"it can't be read ({error.strerror or error})") from error


def refuse_links(folder: Path) -> None:
    """Refuse a run's folder with links out of it, or with anything but files and folders.

    Raises:
        DamagedError: at the first link, pipe or device.
    """
    folders: list[str | Path] = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                        why = "it is a link or a device, and a run has only files"
                        raise DamagedError(Path(entry.path), why)
        except OSError:
            continue  # it has just been renamed or removed by a training process


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process had begun to write; only its temporary names are touched.

    Args:
        folder: a run's folder or its checkpoints, held by this process. Who doesn't hold it may
            write other files there, such as control.json: what a live process writes stays.
    """
    for path in folder.iterdir():
        if re.fullmatch(r"\.[0-9]+\.(part|gone)", path.name):
            shutil.rmtree(path, ignore_errors=True)
        elif found := re.fullmatch(r"(.+)\.([0-9]{1,9})(-[0-9]+)?\.tmp", path.name):
            held = found[1] == "run.toml" or found[1].endswith(".jsonl")
            if held or not is_alive(int(found[2])):
                path.unlink(missing_ok=True)


def disk_use(folder: Path) -> int:
    """Return how many bytes the files under a folder take; one of n equal names takes 1/n.

    The summary that holds this number isn't counted.
    """
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            if name == SUMMARY:
                continue
            try:
                found = Path(root, name).lstat()
                total += found.st_size // max(1, found.st_nlink)
            except FileNotFoundError:  # a training process has just renamed it
                continue
    return total
