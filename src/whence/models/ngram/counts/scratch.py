"""Long arrays under a memory limit: in memory while they fit, in files above it."""

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from whence.errors import WhenceError


class Scratch:
    """Hands out arrays, at most `limit` bytes of them in memory, the others in a folder's files.

    The folder is made on first use, inside `parent` or the system's temporary folder, and goes
    when the last user of this object does.

    Args:
        limit: bytes of memory that the arrays may take together.
        parent: folder for the files; by default the system's (TMPDIR and its like choose it).

    Example:
        >>> scratch = Scratch(limit=100)
        >>> a, b = scratch.empty(20, np.uint32), scratch.empty(20, np.uint32)
        >>> scratch.in_memory, [path.stat().st_size for path in scratch.files]
        (80, [80])
    """

    def __init__(self, limit: int, parent: Path | None = None):
        self.limit = limit
        self.parent = parent
        self.in_memory = 0
        self.files: list[Path] = []
        self.folder: Path | None = None

    def empty(self, length: int, dtype: type[np.generic]) -> np.ndarray:
        """An array of `length` values, their contents unset.

        Raises:
            WhenceError: the disk has no room for it.
        """
        size = length * np.dtype(dtype).itemsize
        if self.in_memory + size <= self.limit:
            self.in_memory += size
            return np.empty(length, dtype)
        path = self.new_file(size)
        if size == 0:
            return np.empty(0, dtype)
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # else a full disk shows only as a crash, later
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        return np.memmap(path, dtype=dtype, mode="r+", shape=(length,))

    def free(self, array: np.ndarray) -> None:
        """Takes back an array from `empty`, or a slice of one; it must not be used again."""
        if isinstance(array, np.memmap):
            path = Path(str(array.filename))
            self.files.remove(path)
            with contextlib.suppress(OSError):  # Windows keeps a mapped file until the end
                path.unlink()
        else:
            whole = array if array.base is None else array.base
            self.in_memory -= whole.nbytes

    def new_file(self, size: int) -> Path:
        """The path of a file yet to be written, after making sure that `size` bytes fit."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="whence-counts-", dir=self.parent))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise WhenceError(
                f"Counting needs {size / 1e6:,.0f} MB of disk in {self.folder.parent}, which has "
                f"{free / 1e6:,.0f} MB left: free some, set TMPDIR to another folder, or raise "
                "memory_mb."
            )
        path = self.folder / f"{len(self.files)}-{os.urandom(4).hex()}.bin"
        self.files.append(path)
        return path
