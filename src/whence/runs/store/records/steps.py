"""The record of a run's steps: lines that only grow, with an index, and a list that reads them."""

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np

from whence.data.files import written_whole
from whence.runs.store.files import DamagedError, open_file
from whence.runs.store.lock import is_held
from whence.runs.store.records.index import BLOCK, COLUMNS, ROW, Index, keep, read_index
from whence.runs.store.records.lines import Lines, encode_line

STEP = {
    "step": int,
    "loss": float,
    "loss_hex": str,
    "rate": float,
    "grad_norm": float,
    "seconds": float,
    "tokens": int,
}
WORTH_KEEPING = 1000  # lines read without an index, after which a reader writes one


class StepLines(Lines):
    """The file `steps.jsonl` and the index beside it.

    Args:
        path: the file; it need not be there yet.
        run: the id of its run; None: any.

    Example:
        >>> import tempfile
        >>> lines = StepLines(Path(tempfile.mkdtemp()) / "steps.jsonl")
        >>> record = {"step": 0, "loss": 4.0, "loss_hex": (4.0).hex(), "rate": 1e-3,
        ...           "grad_norm": 1.0, "seconds": 0.1, "tokens": 64}
        >>> lines.append(record)
        >>> lines.close()
        >>> list(lines.all()) == [record]
        True
    """

    def __init__(self, path: Path, run: str | None = None):
        super().__init__(path, STEP, run)
        self.index_path = path.with_name("steps.index")
        self.index = Index()
        self._start = 0  # the length of the first line, once it was read
        self._written = 0  # rows of the index that are in its file
        self._loaded = False
        self._read_at: tuple[int, ...] | None = None  # what the file was when it was last read
        self._at_work = threading.RLock()

    def added(self) -> Iterator[dict[str, Any]]:
        """Read the lines that were added since the last call; at the first, take up the index.

        Raises:
            WhenceError: at a line that is damaged or missing, after those that are sound.
        """
        with self._at_work:
            self._take_up_index()
            try:
                for line, record in self.added_lines():
                    if record is None:
                        self._start = len(line)
                    else:
                        self._add(line, record)
                        yield record
            finally:
                self._has_read()

    def load(self) -> None:
        """Read what the index doesn't hold, and keep the index where that took a while.

        Raises:
            WhenceError: as `added`.
        """
        first = not self._loaded
        with self._at_work:
            stamp = self._stamp()
            changed = not first and stamp != self._read_at
            if changed and self._file is None and not _has_grown(self._read_at, stamp):
                self.index, self._start, self._written = Index(), 0, 0
                self._loaded = False
                self._has_read()
            if first or changed:
                for _ in self.added():
                    pass
            self._read_at = stamp
        if first and self.index.n - self._written >= WORTH_KEEPING:
            self._write_index_unless_training()

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def all(self) -> "Steps":
        """Return all records.

        Raises:
            WhenceError: as `added`.
        """
        self.load()
        return Steps(self.path, self._start, self.index.rows)

    def until_damage(self) -> tuple["Steps", DamagedError | None]:
        """Return the records up to the first that is damaged or missing, and what is wrong."""
        damage = None
        try:
            self.load()
        except DamagedError as error:
            damage = error
        return Steps(self.path, self._start, self.index.rows), damage

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line; it is in the operating system's hands when this returns."""
        with self._at_work:
            if self._file is None:
                self.load()
            line = encode_line(record)
            self._append(line)
            self._start = self._start or len(encode_line(self._first()))
            self._add(line, record)
            self._has_read()

    def sync(self) -> None:
        """Put what was appended on the disk, then what the index lacks into its file."""
        super().sync()
        self.write_index()

    def close(self) -> None:
        """Close the file, with the index up to date."""
        if self._file is not None:
            self.write_index()
        super().close()

    def replace(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Rewrite the file with these records."""
        index, first = Index(), encode_line(self._first())
        super().close()
        with written_whole(self.path) as file:
            file.write(first)
            for record in records:
                line = encode_line(record)
                index.add(line, record)
                file.write(line)
        self._has_become(index, len(first))

    def begin_as(self, other: "StepLines", n: int) -> None:
        """Rewrite the file with the first `n` records of another, or of itself, to the byte."""
        other.load()
        index = Index(other.index.rows.copy()) if other.index.n else Index()
        index.cut(n)
        first, left = encode_line(self._first()), index.end
        super().close()
        with open_file(other.path) as source, written_whole(self.path) as file:
            file.write(first)
            source.seek(other._start)
            while left and (block := source.read(min(BLOCK, left))):
                file.write(block)
                left -= len(block)
        self._has_become(index, len(first))

    def write_index(self) -> None:
        """Write the rows that the index's file lacks; without it all is as well, only slower."""
        with self._at_work, suppress(OSError):
            if not self._loaded or not self.index.n:
                return
            there = self._written * ROW.itemsize
            if not self.index_path.is_file() or self.index_path.stat().st_size < there:
                self._written = there = 0
            with self.index_path.open("r+b" if there else "wb") as file:
                file.truncate(there)  # what a kill tore
                file.seek(there)
                file.write(self.index.rows[self._written :].tobytes())
            self._written = self.index.n

    def _has_become(self, index: Index, start: int) -> None:
        with self._at_work:
            self.index, self._start, self._written, self._loaded = index, start, 0, True
            self._has_read()
            self._read_at = self._stamp()
            self.index_path.unlink(missing_ok=True)
            self.write_index()

    def _has_read(self) -> None:
        self._read_to = self._start + self.index.end
        self._lines_read = self.index.n + 1 if self._start else 0

    def _take_up_index(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for line, _ in self.added_lines():  # the first one, which says whose the record is
            self._start = len(line)
            break
        if not self._start:
            if self.run:
                raise DamagedError(self.path, "it has lost its first line")
            return
        found = read_index(self.index_path, self.path, self._start)
        if found is not None:
            self.index, self._written = found, found.n
        self._has_read()

    def _add(self, line: bytes, record: Mapping[str, Any]) -> None:
        where = f"line {self.index.n + 2}"
        if record["step"] != self.index.n:
            why = f"{where} is of step {record['step']} instead of {self.index.n}"
            raise DamagedError(self.path, why)
        try:
            exact = float.fromhex(record["loss_hex"])
            self.index.add(line, record)
        except (ValueError, OverflowError) as error:
            raise DamagedError(self.path, f"{where} holds a number that is none") from error
        if exact != record["loss"] and not (math.isnan(exact) and math.isnan(record["loss"])):
            self.index.cut(self.index.n - 1)
            raise DamagedError(self.path, f"{where}: loss and loss_hex differ")

    def _write_index_unless_training(self) -> None:
        if not is_held(self.path.parent):
            keep(self.index_path, self.index.rows.tobytes())
            self._written = self.index.n


def _has_grown(before: tuple[int, ...] | None, now: tuple[int, ...] | None) -> bool:
    """Tell from two stamps whether a file is the same and longer."""
    return before is not None and now is not None and before[:2] == now[:2] and before[2] < now[2]


class Steps(Sequence[dict[str, Any]]):
    """The record of each step, as a list whose items are read when they are asked for.

    A list of all of them in memory is `list(steps)`; a column of numbers is `steps.column("loss")`.

    Args:
        path: the file of the record.
        start: where its first step's line begins.
        rows: its index.

    Example:
        >>> from whence.runs.run import Run
        >>> steps = Run.open("runs/mine").steps  # doctest: +SKIP
        >>> steps[-1]["loss"], len(steps), steps.column("loss").mean()  # doctest: +SKIP
    """

    def __init__(self, path: Path, start: int, rows: np.ndarray):
        self.path, self._start, self._rows = path, start, rows

    def __len__(self) -> int:
        """How many steps are recorded."""
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Read one record, or a list of some.

        Raises:
            IndexError: where there is no such step.
            WhenceError: where its line isn't the one that was read before.
        """
        if isinstance(at, slice):
            start, stop, stride = at.indices(len(self))
            if stride == 1:
                return list(self._read(start, stop))
            return [self[k] for k in range(start, stop, stride)]
        step = range(len(self))[at]
        return next(self._read(step, step + 1))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read one record after the other."""
        return self._read(0, len(self))

    def __eq__(self, other: object) -> bool:
        """Whether the records are the same as another list's."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # equal by contents, which grow

    def __repr__(self) -> str:
        """Say whose they are and how many."""
        return f"<{len(self):,} steps of {self.path}>"

    def column(self, name: str) -> np.ndarray:
        """Return a number of each step: loss, rate, grad_norm, seconds or tokens; float64 [N]."""
        assert name in COLUMNS
        return self._rows[name].astype(np.float64)

    def seconds(self, start: int = 0, stop: int | None = None) -> float:
        """Return how long the steps from `start` up to `stop` took."""
        return float(self._rows["seconds"][start:stop].sum())

    def _read(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        if start >= stop:
            return
        lines = Lines(self.path, STEP)
        try:
            with open_file(self.path) as file:
                before = int(self._rows["end"][start - 1]) if start else 0
                file.seek(self._start + before)
                for step in range(start, stop):
                    record = lines.read_line(file.readline(), step + 2)
                    if record["step"] != step:
                        raise DamagedError(self.path, f"step {step} isn't where it was")
                    yield record
        except OSError as error:
            why = f"it can't be read ({error.strerror or error})"
            raise DamagedError(self.path, why) from error
