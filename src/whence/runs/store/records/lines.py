"""A record: a file of JSON lines that only grows, each with a checksum."""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from whence.data.files import written_whole
from whence.runs.store.files import (
    SCHEMA,
    DamagedError,
    cannot_write,
    check_schema,
    open_file,
    parse_object,
)

LONGEST_LINE = 16 << 20  # bytes: no record of ours comes near it


class Lines:
    """A file of JSON objects, one a line, that only grows; a torn last line doesn't count.

    The first line is `{"schema": 1}` and the run's id. Every line ends with the CRC-32 of what
    stands before it, so that a flipped bit is found.

    Args:
        path: the file; it need not be there yet.
        fields: names that every record has, and the type of each (`float` takes whole numbers too).
        run: the id of the run that the file belongs to, which its first line names; empty: it names
            none; None: whatever it names.

    Example:
        >>> import tempfile
        >>> lines = Lines(Path(tempfile.mkdtemp()) / "steps.jsonl", {"step": int})
        >>> lines.append({"step": 0})
        >>> list(lines)
        [{'step': 0}]
        >>> lines.close()
    """

    def __init__(self, path: Path, fields: Mapping[str, type], run: str | None = None):
        self.path, self.fields, self.run = path, fields, run
        self._file = None
        self._read_to = self._lines_read = 0  # by `added`
        self._identity: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the complete lines.

        Raises:
            WhenceError: at a line that is damaged, or where the file is missing, of another run or
                of a newer version.
        """
        if self._is_absent():
            return
        number = 0
        with _opened(self.path) as file:
            for number, line in _complete(file, 0, self.path):
                record = self.read_line(line, number)
                if number > 1:
                    yield record
        if self.run and not number:
            raise DamagedError(self.path, "it has lost its first line")

    def added(self) -> Iterator[dict[str, Any]]:
        """Read the lines that were added since the last call.

        Raises:
            WhenceError: as reading all of it, after the lines that are sound.
        """
        for _, record in self.added_lines():
            if record is not None:
                yield record

    def added_lines(self) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        """Read the lines that were added, each with its record; the first line holds none."""
        if self._is_absent():
            return
        with _opened(self.path) as file:
            self._identity = _identity(self.path)
            file.seek(self._read_to)
            for number, line in _complete(file, self._lines_read, self.path):
                record = self.read_line(line, number)
                self._read_to, self._lines_read = self._read_to + len(line), number
                yield line, record if number > 1 else None

    def was_replaced(self) -> bool:
        """Tell whether the file is another than the one that `added` has read from."""
        if self._identity is None:
            return False
        try:
            return _identity(self.path) != self._identity or (
                self.path.stat().st_size < self._read_to
            )
        except FileNotFoundError:
            return True

    def read_line(self, line: bytes, number: int) -> dict[str, Any]:
        """Return what a line holds.

        Raises:
            DamagedError: where it isn't what was written.
        """
        where = f"line {number}: "
        body, found, crc = line.rpartition(b', "crc": "')
        if not found or crc != f'{zlib.crc32(body):08x}"}}\n'.encode():
            raise DamagedError(self.path, f"{where}its checksum doesn't fit")
        record = parse_object(body + b"}", self.path, where)
        if number == 1:
            check_schema(record, self.path)
            if self.run is not None and record.get("run", "") != self.run:
                raise DamagedError(self.path, "it is of another run")
            return record
        for name, kind in self.fields.items():
            value = record.get(name)
            fits = type(value) is kind or (kind is float and _is_number(value))
            if not fits:
                raise DamagedError(self.path, f"{where}{name} isn't of type {kind.__name__}")
            if type(value) is int and not -(2**63) <= value < 2**63:
                raise DamagedError(self.path, f"{where}{name} is beyond any that Whence writes")
        return record

    def sound(self) -> tuple[list[dict[str, Any]], DamagedError | None]:
        """Return the records up to the first damaged line, and what is wrong there, if anything."""
        records: list[dict[str, Any]] = []
        try:
            for record in self:
                records.append(record)  # noqa: PERF402  # what was read before the error counts
        except DamagedError as error:
            return records, error
        return records, None

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line; it is in the operating system's hands when this returns.

        Raises:
            WhenceError: where it can't be written, such as on a full disk.
        """
        self._append(encode_line(record))

    def _append(self, line: bytes) -> None:
        try:
            if self._file is None:
                self._file = self._open()
            _write_all(self._file, line)
        except OSError as error:
            self.close()
            raise cannot_write(self.path, error) from error

    def sync(self) -> None:
        """Put what was appended on the disk.

        Raises:
            WhenceError: where it can't be.
        """
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise cannot_write(self.path, error) from error

    def replace(self, records: list[dict[str, Any]]) -> None:
        """Rewrite the file with these records."""
        self.close()
        with written_whole(self.path) as file:
            for record in [self._first(), *records]:
                file.write(encode_line(record))

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self):
        """Open for appending, after the last complete line."""
        file = self.path.open("ab+", buffering=0)
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size - LONGEST_LINE))
        end = start + file.read(size - start).rfind(b"\n") + 1
        if end < size:
            file.truncate(end)
        if end == 0:
            _write_all(file, encode_line(self._first()))
        return file

    def _first(self) -> dict[str, Any]:
        return {"schema": SCHEMA} | ({"run": self.run} if self.run else {})

    def _is_absent(self) -> bool:
        """A file that isn't there is empty, but for a run that was made with all of its files."""
        if self.path.exists():
            return False
        if self.run:
            raise DamagedError(self.path, "it is missing")
        return True


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with open_file(path) as file:
            yield file
    except OSError as error:
        raise DamagedError(path, f"it can't be read ({error.strerror or error})") from error


def _complete(file: BinaryIO, number: int, path: Path) -> Iterator[tuple[int, bytes]]:
    """Give the complete lines from here on, with their numbers."""
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise DamagedError(path, f"line {number} is endless")
        if not line.endswith(b"\n"):
            return  # a kill tore it; it was never complete
        yield number, line


def _is_number(value: object) -> bool:
    """Whether a whole number fits into a float: JSON allows any number of digits."""
    return type(value) is int and abs(value) < 10**300


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def encode_line(record: Mapping[str, Any]) -> bytes:
    r"""Return a record as a line with its checksum.

    Example:
        >>> encode_line({"step": 0})
        b'{"step": 0, "crc": "4aadb3ac"}\n'
    """
    body = json.dumps(record).encode()[:-1]
    return body + f', "crc": "{zlib.crc32(body):08x}"}}\n'.encode()


def _write_all(file, data: bytes) -> None:
    while data:  # a raw file may take a part only
        data = data[file.write(data) :]
