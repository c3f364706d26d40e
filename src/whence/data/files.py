"""Files that are either whole or not there: temporary name, fsync, rename."""

import glob
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from whence.errors import WhenceError


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when all of it is on the disk.

    A kill at any instant leaves the old file (or none) under `path`, never half of the new one.

    Args:
        path: the file's final name; its folder is made if need be.

    Yields:
        A binary file to write to.

    Raises:
        WhenceError: the folder can't be written or the disk is full; nothing is left behind.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "greeting.txt"
        >>> with written_whole(path) as file:
        ...     _ = file.write(b"hello")
        >>> path.read_bytes()
        b'hello'
    """
    who = f"{os.getpid()}-{threading.get_native_id()}"  # two may write one file at once
    temporary = path.with_name(f"{path.name}.{who}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WhenceError(
            f"{path} can't be written ({error.strerror or error}): "
            "choose another folder, or make room on the disk."
        ) from error
    finally:
        with suppress(OSError):  # it is gone after the rename, and never was where mkdir failed
            temporary.unlink()


def second_name(original: Path, copy: Path) -> None:
    """Put a file under a second name: the same bytes on the disk, or a copy where need be.

    Both names are equal, and either can be deleted or replaced; the bytes are never written again.

    Raises:
        WhenceError: where there can be neither.
    """
    try:
        os.link(original, copy)
    except OSError:  # another disk, a file system without such links, or the name is taken
        with written_whole(copy) as file, original.open("rb") as whole:
            shutil.copyfileobj(whole, file, 1 << 20)


def is_alive(process: int) -> bool:
    """Tell whether a process of this number runs."""
    import psutil  # only where something was left behind

    return psutil.pid_exists(process)


def _sweep(path: Path) -> None:
    """Remove what a process that was killed had begun to write under this name."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        found = re.fullmatch(r"\.([0-9]{1,9})-[0-9]+\.tmp", left.name[len(path.name) :])
        if found and not is_alive(int(found[1])):
            with suppress(OSError):
                left.unlink()


def is_hollow(found: os.stat_result) -> bool:
    """Tell whether a huge file is almost nothing but a hole, which would take an hour to read.

    A file of a terabyte can be made in an instant and take no room.

    Args:
        found: what `stat` says of it.

    Returns:
        Whether less than a hundredth of more than a gigabyte is on the disk.

    Example:
        >>> is_hollow(Path(__file__).stat())
        False
    """
    on_disk = 512 * getattr(found, "st_blocks", found.st_size)  # Windows doesn't say
    return found.st_size > 1 << 30 and on_disk < found.st_size // 100


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can open a folder (Windows can't)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
