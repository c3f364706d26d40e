"""Training in a process of its own, which continues without the page and the studio.

`python -m whence.studio.processes.worker FOLDER [STEPS]` trains a run, to a new length if one is
given, as its control file asks for.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.runs.folder import State
from whence.runs.run import Run
from whence.runs.store.files import SCHEMA, read_json, write_whole
from whence.runs.store.records.curves import Curves
from whence.runs.summary import Summary, state_of_summary
from whence.runs.training.control import Control, train_controlled
from whence.scale.process import keep_freed_memory

TROUBLE = "trouble.json"
_started: dict[Path, subprocess.Popen[Any]] = {}
_seen: set[Path] = set()  # of those, the ones that have begun
_looking = threading.Lock()  # two looks at a run's lock at once would see each other


def start(run: Run, steps: int | None = None, pause_at: int | None = None) -> None:
    """Train a run in a process of its own.

    Args:
        run: the run, which must not be finished.
        steps: its new length; none: as its recipe says.
        pause_at: as of `whence.runs.training.control.Control`.

    Raises:
        WhenceError: as `Run.check_unfinished`.
    """
    with _looking:
        if _is_starting(run.path):
            raise WhenceError(f"{run.path} is being trained already.")
        run.check_unfinished(steps)
        _seen.discard(run.path)
        (run.path / TROUBLE).unlink(missing_ok=True)
        Control(pause_at).write(run.path)
        words = [str(run.path), *([str(steps)] if steps else [])]
        own: dict[str, Any] = {"start_new_session": True}  # the terminal's Ctrl-C isn't for it
        if sys.platform == "win32":
            own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | 0x8}  # detached
        _started[run.path] = subprocess.Popen(
            [sys.executable, "-m", "whence.studio.processes.worker", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **own,
        )
        # One that has ended stays as a zombie until it is waited for.
        threading.Thread(target=_started[run.path].wait, daemon=True).start()


def _is_starting(path: Path) -> bool:
    process = _started.get(path)
    return process is not None and process.poll() is None and path not in _seen


def state_of(run: Run, curves: Curves) -> tuple[str, str | None]:
    """Return what a run is doing, and what went wrong when it was last trained, if anything.

    Args:
        run: the run.
        curves: its record.

    Returns:
        new, starting, training, paused, stopped, finished or damaged; and a sentence or None.
    """
    if curves.damage:
        return "damaged", str(curves.damage)
    return _state(run.path, lambda: run.state, curves.n_steps)


def state_now(path: Path, summary: Summary) -> tuple[str, str | None]:
    """Return what `state_of` does, of a run's folder and its summary."""
    if summary.trouble:
        return "damaged", summary.trouble
    return _state(path, lambda: state_of_summary(path, summary), summary.done)


def _state(path: Path, look: Callable[[], State], done: int) -> tuple[str, str | None]:
    with _looking:
        try:
            state = look()
        except WhenceError as error:
            return "damaged", str(error)
        if state == "training":
            _seen.add(path)
        starting = _is_starting(path)
        code = _started[path].poll() if path in _started else 0
    if state == "training":
        return ("training" if Control.read(path).lets(done) else "paused"), None
    if starting and state != "finished":
        return "starting", None
    trouble = None
    if (path / TROUBLE).is_file():
        try:
            trouble = str(read_json(path / TROUBLE).get("message"))
        except WhenceError:
            trouble = "Its last training failed."
    elif code:
        trouble = f"Its process ended with code {code}, as if it had been killed: resume it."
    return state, trouble


def main(words: list[str]) -> int:
    """Train the run that the arguments name."""
    path, steps = Path(words[0]), int(words[1]) if words[1:] else None
    asked = threading.Event()  # as when the machine is shut down: save, then end
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        for _ in train_controlled(Run.open(path), steps, asked.is_set, fresh=False):
            pass
    except WhenceError as error:
        message = str(error)
    except Exception as error:  # nobody reads this process's output
        message = f"The training broke: {type(error).__name__}: {error}"
    else:
        return 0
    write_whole(path / TROUBLE, json.dumps({"schema": SCHEMA, "message": message}) + "\n")
    return 2


if __name__ == "__main__":
    keep_freed_memory()  # this process is ours
    sys.exit(main(sys.argv[1:]))
