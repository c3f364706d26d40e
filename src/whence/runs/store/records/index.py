"""The index of a record of steps: its numbers as columns, and where each line ends.

A million lines of JSON take seconds to read and a gigabyte to hold. Beside them `steps.index` holds
a row of 56 bytes for each. It isn't a source of anything: every row carries the CRC-32 of all of
the
record up to there and of all rows up to there, so that an index that doesn't fit is passed over and
made again from the record.
"""

import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from whence.runs.store.files import open_file

COLUMNS = ("loss", "rate", "grad_norm", "seconds", "tokens")
ROW = np.dtype(
    [
        ("end", "<u8"),  # where the line ends, in bytes from the first step's line on
        *((name, "<f8") for name in COLUMNS[:-1]),
        ("tokens", "<u8"),
        ("record_crc", "<u4"),  # of the record from the first step's line up to that end
        ("crc", "<u4"),  # of all rows up to here, without this field itself
    ]
)
PAYLOAD = struct.Struct("<QddddQI")  # a row without its last field
BLOCK = 1 << 20
LONGEST = 1024  # bytes of a line, at the most: longer ones aren't ours


class Index:
    """The columns of a record of steps, in memory; they grow with it.

    Attributes:
        n: how many steps it holds.
        end: how many bytes of the record it has read.

    Example:
        >>> index = Index()
        >>> index.add(b"...", dict.fromkeys(COLUMNS, 1))
        >>> index.rows["end"].tolist(), index.rows["loss"].tolist()
        ([3], [1.0])
    """

    def __init__(self, rows: np.ndarray | None = None):
        self._data = np.zeros(64, ROW) if rows is None else rows
        self._new: list[bytes] = []  # rows that aren't in the array yet
        self.n = self.end = self._record_crc = self._crc = 0
        if rows is not None:
            self.n = len(rows)
            self.cut(len(rows))

    @property
    def rows(self) -> np.ndarray:
        """All rows, as a structured array; what is added later isn't in it."""
        if self._new:
            start = self.n - len(self._new)
            if self.n > len(self._data):
                spare = np.zeros(max(self.n, 2 * len(self._data)), ROW)
                spare[:start] = self._data[:start]
                self._data = spare
            self._data[start : self.n] = np.frombuffer(b"".join(self._new), ROW)
            self._new = []
        return self._data[: self.n]

    def add(self, line: bytes, record: Mapping[str, Any]) -> None:
        """Take up the next line.

        Raises:
            OverflowError: where a number of it is beyond its column.
        """
        end, record_crc = self.end + len(line), zlib.crc32(line, self._record_crc)
        try:
            row = PAYLOAD.pack(end, *(record[name] for name in COLUMNS), record_crc)
        except struct.error as error:
            raise OverflowError(str(error)) from error
        self._crc = zlib.crc32(row, self._crc)
        self._new.append(row + self._crc.to_bytes(4, "little"))
        self.n, self.end, self._record_crc = self.n + 1, end, record_crc

    def cut(self, n: int) -> None:
        """Forget all rows but the first `n`."""
        rows = self.rows
        self.n = n
        self.end = self._record_crc = self._crc = 0
        if n:
            self.end, self._record_crc, self._crc = (
                int(rows[n - 1][name]) for name in ("end", "record_crc", "crc")
            )


def read_index(path: Path, record: Path, start: int) -> Index | None:
    """Read an index, whole or up to where it was torn; None where it doesn't fit the record.

    Args:
        path: the index.
        record: the record.
        start: where its first step's line begins.
    """
    try:
        size, whole = path.stat().st_size, record.stat().st_size
        if not ROW.itemsize <= size <= whole:
            return None
        rows = np.fromfile(path, ROW, size // ROW.itemsize)
        if not _fits(rows, whole - start):
            return None
        with open_file(record) as file:
            file.seek(start)
            fits = crc_of(file, int(rows["end"][-1])) == rows["record_crc"][-1]
    except OSError:
        return None
    return Index(rows) if fits else None


def _fits(rows: np.ndarray, size: int) -> bool:
    end, crc = int(rows["end"][-1]), 0
    if end > min(size, LONGEST * len(rows)):
        return False
    for start in range(0, len(rows), BLOCK // ROW.itemsize):
        some = rows[start : start + BLOCK // ROW.itemsize]
        payload = some.view(np.uint8).reshape(len(some), ROW.itemsize)[:, : PAYLOAD.size]
        crc = zlib.crc32(payload.tobytes(), crc)
    return crc == rows["crc"][-1]


def keep(path: Path, data: bytes) -> None:
    """Write a file that can be rebuilt at any time: whole or not at all, failures ignored."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with suppress(OSError):  # a folder that is gone, or that only others may write
        temporary.write_bytes(data)
        os.replace(temporary, path)


def crc_of(file: BinaryIO, length: int) -> int | None:
    """Return the CRC-32 of a file's next bytes; None where it has fewer.

    Example:
        >>> import io
        >>> crc_of(io.BytesIO(b"abc"), 2) == zlib.crc32(b"ab")
        True
    """
    crc = 0
    while length:
        block = file.read(min(BLOCK, length))
        if not block:
            return None
        crc, length = zlib.crc32(block, crc), length - len(block)
    return crc
