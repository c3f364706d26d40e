"""Traced steps, kept for the next question; and how far a replay has come."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from whence.errors import WhenceError, shell_word
from whence.models.ngram.config import NGramConfig
from whence.runs.replay import nearest_checkpoint, start_from
from whence.runs.run import Run
from whence.scale.limits import memory_left
from whence.studio.answers.place import COMPUTING, open_run, python_path
from whence.why import Trace
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

    def get(self, key: Key, make: Callable[[Callable[[int, int], None]], Trace]) -> Trace:
        """Return a trace; made at most once at a time.

        Args:
            key: what it is of.
            make: makes it, and tells how far it is: (step reached, step wanted).
        """
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            try:
                with COMPUTING:
                    made = make(lambda *far: self.doing.__setitem__(key, far))
            finally:
                self.doing.pop(key, None)
            with self._lock:
                self._keep(key, made)
                self._making.pop(key, None)
            return made

    def _keep(self, key: Key, made: Trace) -> None:
        if self.most is None:
            self.most = memory_left() // 4 // self.shared_by
        self._kept[key] = made
        while len(self._kept) > 1 and sum(t.nbytes for t in self._kept.values()) > self.most:
            self._kept.popitem(last=False)

    def progress(self, key: Key, step: int) -> dict[str, Any]:
        """Say how far the trace of a step is."""
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


@contextmanager
def held(t: Trace) -> Iterator[Trace]:
    """Hold a trace while it is read."""
    with OPENING.setdefault(t, threading.RLock()):
        yield t


class Asked:
    """A step of a run, or a text read by its model at that step, and what was asked of it.

    Args:
        folder: the folder of runs.
        run: the run's name.
        step: the step; none: the last one done.
        text: a text of one's own; empty: the step's batch.

    Attributes:
        has_before: the step before it can be opened too.
    """

    def __init__(self, folder: Path, run: str, step: int | None, text: str):
        self.run = open_run(folder, run)
        if isinstance(self.run.recipe.model, NGramConfig):
            raise WhenceError(
                f"{self.run.path} is an n-gram model, counted in one pass, so it has no steps to "
                "open: Prediction shows its probabilities."
            )
        done = len(self.run.steps)
        self.step = max(done - 1, 0) if step is None else step
        if done == 0 and not text:
            raise WhenceError(
                f"{self.run.path} has no steps yet: train it first, or give it a text to read."
            )
        self.done, self.text = done, text or None
        self.has_before = self.step > 0 and not text

    def trace(self) -> Trace:
        """Return the trace, made now or kept from before."""
        if self.text is None and self.step >= self.done:
            raise WhenceError(
                f"{self.run.path} has no step {self.step} to open: choose 0 to {self.done - 1}."
            )
        return KEPT.get(self.key(), self._make)

    def _make(self, tell: Callable[[int, int], None]) -> Trace:
        start = nearest_checkpoint(self.run, self.step)
        tell(start, self.step)
        moment = start_from(self.run, start)
        for done, _ in moment.advance_to(self.step):
            tell(done + 1, self.step)
        return trace_moment(moment, self.text)

    def loss(self, t: Trace) -> float:
        """The step's loss."""
        return t.loss.value

    def key(self) -> Key:
        """What the trace is of."""
        return (*stamp(self.run, self.step), self.text)

    def opened(self) -> AbstractContextManager[Trace]:
        """Hold the trace while it is read."""
        return held(self.trace())

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
