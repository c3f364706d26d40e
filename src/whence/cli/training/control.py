"""`whence control`: pause, slow, step or stop a training in another process."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.training.control import ask


def control(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    pause: bool = False,
    play: bool = False,
    step: bool = False,
    stop: bool = False,
    pace: float | None = None,
) -> None:
    """Pause, slow down, step or stop a training in another terminal or in the studio.

    Args:
        run: the run's folder.
        pause: wait before the next step.
        play: continue, as fast as possible or at the given pace.
        step: do one step, then wait.
        stop: save after this step and stop.
        pace: the most steps a second; 0: as fast as possible.
    """
    opened = Run.open(run)
    if sum((pause, play, step, stop, pace is not None)) != 1:
        raise WhenceError("give one of --pause, --play, --step, --stop and --pace N.")
    if opened.state != "training":
        raise WhenceError(f"no process is training {run}: 'whence resume {run}' does.")
    wishes: dict[str, Any] = {"stop": True}
    if pause:
        wishes = {"pause_at": 0}
    elif play:
        wishes = {"pause_at": None}
    elif step:
        wishes = {"pause_at": len(opened.steps) + 1}
    elif pace is not None:
        wishes = {"pace": pace or None}
    ask(opened.path, **wishes)
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in wishes.items())
    print(f"asked {run}: {said}")
