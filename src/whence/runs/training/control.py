"""A training that another process may pause, slow down, do step by step, and end.

The commands are in a small file in the run's folder that is checked between steps; the training
is a generator, so a pause is only its caller not asking for the next step yet.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import WhenceError
from whence.fields import check_fields
from whence.runs.store.files import SCHEMA, read_json, write_whole
from whence.runs.training.events import Event, Stepped

if TYPE_CHECKING:
    from whence.runs.run import Run
    from whence.runs.training.recorded import Measuring
    from whence.scale.team import Team

FILE = "control.json"
LOOK = 0.05  # seconds between two looks while waiting


@dataclass(frozen=True)
class Control:
    """What a training is asked to do.

    Attributes:
        pause_at: wait before the step of this number, and before any later one; none: go on. 0 is a
            pause at once, and one more than the steps done is a single step.
        pace: at most so many steps a second; none: as fast as it goes.
        stop: save after the step that is being done, and end.

    Raises:
        WhenceError: where a value makes no sense.

    Example:
        >>> Control(pause_at=12).lets(11), Control(pause_at=12).lets(12)
        (True, False)
    """

    pause_at: int | None = None
    pace: float | None = None
    stop: bool = False

    def __post_init__(self):
        check_fields(self)
        if self.pause_at is not None and not (type(self.pause_at) is int and self.pause_at >= 0):
            raise WhenceError(f"pause_at is {self.pause_at}: give a step, 0 or more.")
        if self.pace is not None and not 0.01 <= self.pace <= 1e6:
            raise WhenceError(f"pace is {self.pace}: give 0.01 to 1,000,000 steps a second.")

    def lets(self, step: int) -> bool:
        """Tell whether a step may be done now."""
        return self.pause_at is None or step < self.pause_at

    @classmethod
    def read(cls, folder: Path) -> Control:
        """Read what a run is asked to do; what can't be read asks for nothing."""
        try:
            tree = read_json(folder / FILE)
            return cls(tree.get("pause_at"), tree.get("pace"), tree.get("stop") is True)
        except (WhenceError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Ask a run's training for this.

        Raises:
            WhenceError: where the folder can't be written.
        """
        write_whole(folder / FILE, json.dumps({"schema": SCHEMA, **asdict(self)}) + "\n")


def ask(folder: Path, **wishes: Any) -> Control:
    """Change some of what a run's training is asked to do, and leave the rest.

    Args:
        folder: the run's folder.
        **wishes: fields of `Control`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> ask(folder, pace=2.0)
        Control(pause_at=None, pace=2.0, stop=False)
        >>> ask(folder, pause_at=0)
        Control(pause_at=0, pace=2.0, stop=False)
    """
    control = replace(Control.read(folder), **wishes)
    control.write(folder)
    return control


def train_controlled(
    run: Run,
    steps: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    fresh: bool = True,
    measuring: Measuring = lambda done, total: False,
    team: Team | None = None,
) -> Iterator[Event]:
    """Train a run as `Run.train` does, between steps doing what `ask` asks for.

    Args:
        run: the run.
        steps: as of `Run.train`.
        should_stop: as of `Run.train`; asked also while waiting.
        fresh: forget what was asked for before it began.
        measuring: as of `Run.train`.
        team: as of `Run.train`.

    Raises:
        WhenceError: as `Run.train`.
    """
    if fresh:
        Control().write(run.path)
    look = _Look(run.path)
    step, began = run.checkpoints[-1] if run.checkpoints else 0, time.monotonic()

    def stops() -> bool:
        nonlocal began
        while True:
            asked = look()
            if asked.stop or should_stop():
                return True
            due = began + 1 / asked.pace if asked.pace else began
            left = due - time.monotonic()
            if asked.lets(step) and left <= 0:
                began = time.monotonic()
                return False
            time.sleep(LOOK if not asked.lets(step) else min(LOOK, left))

    for event in run.train(steps, stops, measuring, team=team):
        if isinstance(event, Stepped):
            step = event.step + 1
        yield event


class _Look:
    """Reads the file where it has changed; looking whether it has costs microseconds."""

    def __init__(self, folder: Path):
        self.folder, self.seen, self.control = folder, (-1, -1), Control()

    def __call__(self) -> Control:
        try:
            found = os.stat(self.folder / FILE)
        except OSError:
            return Control()
        seen = (found.st_mtime_ns, found.st_ino)
        if seen != self.seen:
            self.seen, self.control = seen, Control.read(self.folder)
        return self.control
