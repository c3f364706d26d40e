"""Writing so that a kill at any instant loses nothing that was complete, and reading it back."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from whence.errors import WhenceError

SCHEMA = 1


def write_whole(path: Path, text: str) -> None:
    """Write a file under a temporary name, then rename it: it is there whole or not at all.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_whole(path, "all of it")
        >>> path.read_text()
        'all of it'
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_folder_whole(path: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder under a temporary name, then rename it: it is there whole or not at all.

    Args:
        path: the folder's name; a folder of that name is replaced.
        fill: writes the files into the folder it is given.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        fill(temporary)
        for file in temporary.iterdir():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


class Lines:
    """A file of JSON objects, one a line, that only grows; a torn last line doesn't count.

    The first line is `{"schema": 1}`.

    Args:
        path: the file; it need not be there yet.

    Example:
        >>> import tempfile
        >>> lines = Lines(Path(tempfile.mkdtemp()) / "steps.jsonl")
        >>> lines.append({"step": 0})
        >>> list(lines)
        [{'step': 0}]
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the complete lines.

        Raises:
            WhenceError: where a line in the middle is damaged, or the file is of a newer version.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise WhenceError(
                        f"{self.path} is damaged at line {number}: it is not JSON."
                    ) from error
                if not isinstance(record, dict):
                    raise WhenceError(f"{self.path} is damaged at line {number}: no record.")
                if number == 1:
                    check_schema(record, self.path)
                else:
                    yield record

    def append(self, record: dict[str, Any]) -> None:
        """Add one line; it is in the operating system's hands when this returns."""
        if self._file is None:
            self._file = self._open()
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    def cut(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Keep only the lines that fulfil a condition."""
        self.close()
        kept = [record for record in self if keep(record)]
        text = "".join(json.dumps(r) + "\n" for r in [{"schema": SCHEMA}, *kept])
        write_whole(self.path, text)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self):
        file = self.path.open("ab+")
        file.seek(0)
        whole = file.read()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            file.truncate(end)
        if end == 0:
            file.write(json.dumps({"schema": SCHEMA}).encode() + b"\n")
        return file


def check_schema(record: dict[str, Any], path: Path) -> None:
    """Refuse what a newer Whence has written, and what isn't Whence's.

    Raises:
        WhenceError: saying which of the two.
    """
    schema = record.get("schema")
    if not isinstance(schema, int):
        raise WhenceError(f"{path} carries no schema number: it was not written by Whence.")
    if schema > SCHEMA:
        raise WhenceError(
            f"{path} has schema {schema} and this Whence reads up to {SCHEMA}: upgrade Whence."
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that carries a schema number.

    Raises:
        WhenceError: where it is missing, damaged or newer.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WhenceError(f"{path} is missing.") from error
    except (ValueError, OSError) as error:
        raise WhenceError(f"{path} is damaged: {error}.") from error
    if not isinstance(record, dict):
        raise WhenceError(f"{path} is damaged: it holds no object.")
    check_schema(record, path)
    return record


def disk_use(folder: Path) -> int:
    """Return how many bytes the files under a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
