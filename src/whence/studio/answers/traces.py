"""Traced steps, kept for the next question; and how far a replay has come."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from whence.errors import WhenceError, shell_word
from whence.models.ngram.config import NGramConfig
from whence.runs.replay import nearest_checkpoint, start_from
from whence.runs.run import Run
from whence.studio.answers.place import COMPUTING, open_run, python_path
from whence.why import Trace
from whence.why.address import unknown
from whence.why.budget import available
from whence.why.history.moments import trace_moment

Key = tuple[Any, ...]


class Traces:
    """The traces asked for last, as many as fit into the memory they may take.

    Args:
        most: bytes; `None`: a quarter of what is free when the first trace is kept.

    Attributes:
        shared_by: how many processes share that quarter.
        doing: how far each trace in the making is: (step reached, step wanted).
    """

    def __init__(self, most: int | None = None):
        self.most, self.shared_by = most, 1
        self.doing: dict[Key, tuple[int, int]] = {}
        self._kept: OrderedDict[Key, Trace] = OrderedDict()
        self._making: dict[Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, run: Run, step: int, text: str | None) -> Trace:
        """Return the trace of a step, or of a text read before it; made at most once at a time."""
        key = (*stamp(run, step), text)
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            try:
                made = self._make(key, run, step, text)
            finally:
                self.doing.pop(key, None)
            with self._lock:
                self._keep(key, made)
                self._making.pop(key, None)
            return made

    def _make(self, key: Key, run: Run, step: int, text: str | None) -> Trace:
        start = nearest_checkpoint(run, step)
        self.doing[key] = (start, step)
        with COMPUTING:
            moment = start_from(run, start)
            for done, _ in moment.advance_to(step):
                self.doing[key] = (done + 1, step)
            return trace_moment(moment, text)

    def _keep(self, key: Key, made: Trace) -> None:
        if self.most is None:
            self.most = (available() or 4_000_000_000) // 4 // self.shared_by
        self._kept[key] = made
        while len(self._kept) > 1 and sum(t.nbytes for t in self._kept.values()) > self.most:
            self._kept.popitem(last=False)

    def progress(self, run: Run, step: int, text: str | None) -> dict[str, Any]:
        """Say how far a trace is."""
        key = (*stamp(run, step), text)
        if key in self._kept:
            return {"state": "ready", "reached": step, "wanted": step}
        if key not in self.doing:
            return {"state": "waiting", "reached": 0, "wanted": step}
        reached, wanted = self.doing[key]
        state = "tracing" if reached == wanted else "replaying"
        return {"state": state, "reached": reached, "wanted": wanted}


def stamp(run: Run, step: int) -> Key:
    """Return what tells whether a run is still the one that was asked about at a step."""
    steps = run.steps
    recorded = steps[step]["loss_hex"] if 0 <= step < len(steps) else ""
    return (str(run.path), (run.path / "run.toml").stat().st_mtime_ns, step, recorded)


KEPT = Traces()
# A trace works things out as it is asked: one question to it at a time.
OPENING: WeakKeyDictionary[Trace, threading.RLock] = WeakKeyDictionary()


class Asked:
    """A step of a run, or a text read by its model at that step, and what was asked of it.

    Args:
        folder: the folder of runs.
        run: the run's name.
        step: the step; none: the last one done.
        text: a text of one's own; empty: the step's batch.
    """

    def __init__(self, folder: Path, run: str, step: int | None, text: str):
        self.run = open_run(folder, run)
        if isinstance(self.run.recipe.model, NGramConfig):
            raise WhenceError(
                f"{self.run.path} was counted, not trained: it has no steps to open. Its "
                "probabilities are in the prediction table."
            )
        done = len(self.run.steps)
        self.step = max(done - 1, 0) if step is None else step
        if done == 0 and not text:
            raise WhenceError(
                f"{self.run.path} has done no step yet: train it first, or give it a text to read."
            )
        self.done, self.text = done, text or None

    def trace(self) -> Trace:
        """Return the trace, made now or kept from before."""
        if self.text is None and self.step >= self.done:
            raise WhenceError(f"{self.run.path} has done the steps 0 to {self.done - 1}.")
        return KEPT.get(self.run, self.step, self.text)

    @contextmanager
    def opened(self) -> Iterator[Trace]:
        """Hold the trace while it is read."""
        t = self.trace()
        with OPENING.setdefault(t, threading.RLock()):
            yield t

    def head(self) -> dict[str, Any]:
        """What every answer about a step begins with."""
        return {
            "run": self.run.path.name,
            "step": self.step,
            "done": self.done,
            "text": self.text or "",
            "optimizer": type(self.run.recipe.optimizer).__name__,
        }

    def python(self, rest: str) -> str:
        """Write the line of Python that opens this step."""
        given = "" if self.text is None else repr(self.text)
        opened = f"from whence import Run; Run.open({python_path(self.run.path)})"
        return f"{opened}.at({self.step}).trace({given}){rest}"

    def shell(self, address: str, *options: str) -> str:
        """Write the command that opens a number of this step."""
        words = ["whence why", shell_word(self.run.path), shell_word(address)]
        words += ["--step", str(self.step)]
        if self.text is not None:
            words += ["--text", shell_word(self.text)]
        return " ".join([*words, *options])


def tracing(folder: Path, *, run: str, step: int | None = None, text: str = "") -> dict[str, Any]:
    """Say how far a trace is that another question waits for.

    Args:
        folder: the folder of runs.
        run: the run's name.
        step: as of `Asked`.
        text: as of `Asked`.
    """
    asked = Asked(folder, run, step, text)
    found = KEPT.progress(asked.run, asked.step, asked.text)
    return {**found, "python": asked.python(""), "shell": asked.shell("loss")}


def names(
    folder: Path, *, run: str, part: str, step: int | None = None, text: str = "", most: int = 30
) -> dict[str, Any]:
    """List the tensors whose name has a part in it, for completing an address.

    Args:
        folder: the folder of runs.
        run: the run's name.
        part: what was typed so far.
        step: as of `Asked`.
        text: as of `Asked`.
        most: how many are listed.
    """
    asked = Asked(folder, run, step, text)
    with asked.opened() as t:
        wanted = part.partition("[")[0]
        found = [name for name in t.names() if wanted in name]
        near = "" if found else str(unknown(wanted, t.names()))
        found.sort(key=lambda name: (not name.startswith(wanted), len(name)))
        rows = [{"name": n, "shape": list(t[n].shape)} for n in found[: max(1, most)]]
    return {
        "names": rows,
        "count": len(found),
        "near": near,
        "python": asked.python(".names()"),
        "shell": asked.shell(wanted, "--list"),
    }
