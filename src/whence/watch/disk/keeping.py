"""Which steps are stored on disk besides crashes, and what that costs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from whence.errors import WhenceError, in_bytes
from whence.watch.disk.ondisk import write_step
from whence.watch.step.events import Step
from whence.watch.step.world import World

_WAITING = 2  # steps that may wait to be written; then the loop waits
# Tensors of a parameter's size that torch's optimizers keep of it.
_KEPT = {"SGD": 1, "Adagrad": 1, "RMSprop": 1, "Lion": 1, "Muon": 1, "Adafactor": 0}


def spacing(keep: str) -> int:
    """Return how many steps lie between two that are stored: 0 for none, 1 for all.

    Raises:
        WhenceError: it isn't `crash`, `all` or such as `every 100`.

    Example:
        >>> spacing("crash"), spacing("all"), spacing("every 100")
        (0, 1, 100)
    """
    words = keep.split() if isinstance(keep, str) else []
    if words == ["crash"]:
        return 0
    if words == ["all"]:
        return 1
    if len(words) == 2 and words[0] == "every" and words[1].isdigit() and int(words[1]) > 0:
        return int(words[1])
    raise WhenceError(f"keep is {keep!r}: give 'crash', 'all' or such as 'every 100'.")


def cost_of(world: World, every: int, snapshot_every: int) -> str:
    """Say what storing steps takes on disk, before any has been stored."""
    weights = sum(p.nbytes for p in world.parameters)
    kinds = [type(one).__name__ for one in world.optimizers]
    state = sum(
        _KEPT.get(kind, 2) * sum(p.nbytes for g in one.param_groups for p in g["params"])
        for kind, one in zip(kinds, world.optimizers, strict=True)
    )
    if every == 1:
        each = weights + (weights + state) / snapshot_every
        return (
            f"every step is stored, about {in_bytes(round(each))} each (gradients, and a copy of "
            f"the state every {snapshot_every} steps), besides what the models are given: "
            f"{in_bytes(round(1000 * each))} for 1,000 steps"
        )
    each = 2 * weights + state
    in_all = in_bytes(round(1000 * each / every))
    return (
        f"every {every:,}th step is stored, about {in_bytes(each)} each (the state before it and "
        f"its gradients), besides what the models are given: {in_all} for 1,000 steps"
    )


class Keeping:
    """Stores steps in `steps/` in the background.

    Args:
        folder: the folder of the run.
        world: what is watched.
        every: steps between two that are stored; 0: none is.
        tell: is given a sentence where a step can't be stored.
    """

    def __init__(self, folder: Path, world: World, every: int, tell: Callable[[str], None]):
        self.folder, self.world, self.every, self._tell = folder / "steps", world, every, tell
        self._queue: queue.Queue[Step | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def wants_snapshot(self, number: int) -> bool:
        """Whether a step must begin with a copy of the state because it will be stored alone."""
        return self.every > 1 and number % self.every == 0

    def add(self, step: Step) -> None:
        """Store a step, if it is one of those to be stored."""
        if not self.every or step.number % self.every or step.lost:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="whence-watch", daemon=True)
            self._thread.start()
        self._queue.put(step)

    def close(self) -> None:
        """Wait until all is written."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _write(self) -> None:
        failed = False
        while (step := self._queue.get()) is not None:
            if failed:
                continue
            try:
                with torch.no_grad():
                    path = self.folder / f"{step.number:06d}"
                    write_step(path, self.world, step, step.snapshot)
            except (WhenceError, OSError) as error:
                failed = True
                self._tell(f"step {step.number} and those after it are not stored: {error}")
