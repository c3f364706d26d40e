"""What a page asks about: a step of a run, or a stored step of a watched loop."""

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from whence.errors import WhenceError, shell_word
from whence.runs.store.records.record import Logs
from whence.runs.store.watched import Watched, is_watched
from whence.studio.answers.inside.traces import KEPT, Asked, Key, held
from whence.studio.answers.place import BUILD, path_of, python_path
from whence.why import Trace
from whence.why.address import unknown


class Loop:
    """A stored step of a watched loop, with what `Asked` has.

    Args:
        path: the loop's folder.
        step: which step; none: the last crash, else the last that is stored.

    Raises:
        WhenceError: the studio wasn't told what builds the model, or the step isn't stored.
    """

    text = None

    def __init__(self, path: Path, step: int | None):
        from whence.watch.again.reopen import stored_steps

        self.path, self._build = path, os.environ.get(BUILD)
        if not self._build:
            raise WhenceError(
                f"{path.name} is the record of a watched loop, and only your code can build its "
                "model: start the studio with --model my_module:build, a function that returns it."
            )
        self._stored = stored_steps(path)
        self.step = step if step is not None else max(self._stored, default=0)
        self.has_before = self.step - 1 in self._stored
        self._record = Logs(path).read_steps()
        self.done = len(self._record)

    def trace(self) -> Trace:
        """Return the trace, made now or kept from before."""
        return KEPT.get(self.key(), self._make)

    def _make(self, tell: Callable[[int, int], None]) -> Trace:
        from whence.watch.again.reopen import built_by, open_step

        tell(self.step, self.step)
        assert self._build
        return open_step(self.path, self.step, built_by(self._build))[0].trace()

    def loss(self, t: Trace) -> float:
        """The step's loss, as the loop told it; it may have been worked out outside the model."""
        at = self.step < self.done
        return float(self._record.column("loss")[self.step]) if at else math.nan

    def key(self) -> Key:
        """What the trace is of."""
        return (str(self.path), tuple(self._stored), self.step, self._build)

    def opened(self) -> AbstractContextManager[Trace]:
        """Hold the trace while it is read."""
        return held(self.trace())

    def head(self) -> dict[str, Any]:
        """What every answer about a step begins with."""
        optimizers = Watched.read(self.path).optimizers
        return {
            "run": self.path.name,
            "step": self.step,
            "done": self.done,
            "text": "",
            "optimizer": ", ".join(optimizers),
        }

    def python(self, rest: str) -> str:
        """Write the line of Python that opens this step; `model` is yours."""
        opened = f"open_step({python_path(self.path)}, {self.step}, model)"
        return f"from whence.watch import open_step; {opened}[0].trace(){rest}"

    def shell(self, address: str, *options: str) -> str:
        """Write the command that opens a number of this step."""
        words = ["whence why", shell_word(self.path), shell_word(address), f"--step {self.step}"]
        return " ".join([*words, f"--model {self._build}", *options])


def asked_of(folder: Path, run: str, step: int | None, text: str = "") -> Asked | Loop:
    """Return what a page asks about.

    Args:
        folder: the folder of runs.
        run: the run's name.
        step: the step; none: the last one.
        text: a text of one's own; empty: the step's batch.

    Raises:
        WhenceError: there is no such run or step.
    """
    path = path_of(folder, run)
    if not is_watched(path):
        return Asked(folder, run, step, text)
    if text:
        raise WhenceError(
            f"{run} is a watched loop, whose tokenizer isn't known, so it can't read your own "
            "text: leave the text empty."
        )
    return Loop(path, step)


def tracing(folder: Path, *, run: str, step: int | None = None, text: str = "") -> dict[str, Any]:
    """Say how far a trace is that another question waits for.

    Args:
        folder: the folder of runs.
        run: the run's name.
        step: as of `Asked`.
        text: as of `Asked`.
    """
    asked = asked_of(folder, run, step, text)
    found = KEPT.progress(asked.key(), asked.step)
    return {**found, "python": asked.python(""), "shell": asked.shell("loss")}


def tensor_names(
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
    asked = asked_of(folder, run, step, text)
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
