"""A run's record as columns that keep up with a training, and the few points that draw them."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import WhenceError
from whence.runs.store.header import Header
from whence.runs.store.records.record import Logs

RECENT = 50  # steps that the speed is measured over


def _id_of(folder: Path) -> str | None:
    try:
        return Header.read(folder).id
    except WhenceError:  # whoever opens the run says so
        return None


class Curves:
    """The record of a run's steps in columns; `refresh` reads only what was added.

    Args:
        folder: the run's folder.

    Attributes:
        evals: the measurements on the validation text.
        samples: what the model wrote during training.
        damage: what is wrong with the record, where something is; what comes before it is here.
        rewritten: how often the record was rewritten instead of added to.

    Example:
        >>> import tempfile
        >>> Curves(Path(tempfile.mkdtemp())).n_steps
        0
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.rewritten = -1
        self._reading = threading.Lock()
        self._forget()
        self.refresh()

    def _forget(self) -> None:
        self.rewritten += 1
        self._logs = Logs(self.folder, _id_of(self.folder))
        self.evals: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        self.damage: WhenceError | None = None

    @property
    def n_steps(self) -> int:
        """How many steps the record holds."""
        return self._logs.steps.index.n

    def refresh(self) -> bool:
        """Read what was added since the last call.

        Returns:
            Whether anything is new.
        """
        with self._reading:
            before = self._state()
            if any(lines.was_replaced() for lines in self._logs):
                self._forget()
            for read in (self._read_others, self._read_steps) if self.damage is None else ():
                try:
                    read()
                except WhenceError as error:
                    self.damage = error
            return self._state() != before

    def _state(self) -> tuple:
        return self.rewritten, self.n_steps, len(self.evals), len(self.samples), self.damage

    def _read_others(self) -> None:
        self.evals += self._logs.evals.added()
        self.samples += self._logs.samples.added()

    def _read_steps(self) -> None:
        self._logs.steps.load()

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column of the steps: loss, rate, grad_norm, seconds or tokens; float64 [N]."""
        return self.since(name, 0)

    def since(self, name: str, step: int) -> np.ndarray:
        """Return a column from a step on; float64 [N − step].

        Example:
            >>> import tempfile
            >>> Curves(Path(tempfile.mkdtemp())).since("loss", 0).shape
            (0,)
        """
        return self._logs.steps.index.rows[name][step:].astype(np.float64)

    @property
    def tokens_per_second(self) -> float | None:
        """The speed of the last steps; None where there is none yet."""
        recent = self._logs.steps.index.rows[-RECENT:]
        seconds = float(recent["seconds"].sum())
        return int(recent["tokens"].sum()) / seconds if seconds else None

    @property
    def mean_tokens_per_second(self) -> float | None:
        """The speed over all steps; None where there is none yet."""
        rows = self._logs.steps.index.rows
        seconds = float(rows["seconds"].sum())
        return int(rows["tokens"].sum()) / seconds if seconds else None

    def seconds_left(self, steps: int) -> float | None:
        """Return how long the rest of `steps` takes at the speed of the last steps.

        Example:
            >>> import tempfile
            >>> Curves(Path(tempfile.mkdtemp())).seconds_left(100) is None
            True
        """
        recent = self._logs.steps.index.rows["seconds"][-RECENT:]
        return max(0, steps - self.n_steps) * float(recent.mean()) if len(recent) else None

    def best(self) -> dict[str, Any] | None:
        """Return the measurement with the lowest loss on validation, of those that compare."""
        usual = [e for e in self.evals if not e["whole"]]
        return min(usual, key=lambda e: e["loss"], default=None)


def thin(values: np.ndarray, buckets: int, start: int = 0) -> np.ndarray:
    """Choose the points that draw a long curve: the lowest and highest of each bucket.

    A bucket is a stretch of as many values as any other. No peak and no dip is lost, as it would be
    with every n-th point; the first and the last point are always there.

    Args:
        values: [N]; what is not finite is chosen too, so that a gap can be drawn.
        buckets: at most 2·buckets + 2 points are chosen, and those that are not finite.
        start: added to each index.

    Returns:
        Indices, int32 [M], in order. All of them where N ≤ 2·buckets.

    Example:
        >>> thin(np.array([0, 9, 1, 1, 1, -5, 1, 1.0]), buckets=2).tolist()
        [0, 1, 4, 5, 7]
    """
    n = len(values)
    if n <= 2 * buckets:
        return np.arange(n, dtype=np.int32) + np.int32(start)
    edges = np.linspace(0, n, buckets + 1).astype(np.int64)[:-1]
    finite = np.isfinite(values)
    bucket = np.searchsorted(edges, np.arange(n), side="right") - 1
    low, high = (np.where(finite, values, other) for other in (np.inf, -np.inf))
    chosen = {0, n - 1, *np.flatnonzero(~finite).tolist()}
    for extreme, ufunc in ((low, np.minimum), (high, np.maximum)):
        hits = np.flatnonzero((extreme == ufunc.reduceat(extreme, edges)[bucket]) & finite)
        _, first = np.unique(bucket[hits], return_index=True)
        chosen.update(hits[first].tolist())
    return np.array(sorted(chosen), np.int32) + np.int32(start)
