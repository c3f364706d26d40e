"""The record of a watched loop on disk: a line for each step, as `whence train` writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from whence.runs.store.lock import hold
from whence.runs.store.record import Logs
from whence.runs.store.watched import Watched
from whence.scale.hardware import Hardware, manifest
from whence.watch.events import Backward, Step
from whence.watch.world import World


class Folder:
    """The folder of a watched loop.

    A step's line is written when the next step begins, so that the loop can tell its loss until
    then.

    Args:
        path: the folder, not there yet.
        world: what is watched.

    Raises:
        WhenceError: the folder is there, or can't be written.
    """

    def __init__(self, path: Path, world: World):
        self.path = path
        trained = sum(p.numel() for p in world.parameters if p.requires_grad)
        Watched(
            datetime.now(UTC).isoformat(timespec="seconds"),
            tuple(type(m).__name__ for m in world.models.values()),
            tuple(type(o).__name__ for o in world.optimizers),
            trained,
            manifest(Hardware().resolved()),
        ).write(path)
        self._stack = ExitStack()
        self._stack.enter_context(hold(path))
        self._logs = Logs(path)
        self._waiting: Step | None = None

    def add(self, step: Step) -> None:
        """Take up a step that has just been done; its line may wait."""
        self.flush()
        self._waiting = step

    def flush(self) -> None:
        """Write the line that waits.

        Raises:
            WhenceError: it can't be written, such as on a full disk.
        """
        step, self._waiting = self._waiting, None
        if step is None:
            return
        loss = loss_of(step)
        self._logs.steps.append(
            {
                "step": step.number,
                "loss": loss,
                "loss_hex": loss.hex(),
                "rate": step.rate,
                "grad_norm": step.grad_norm,
                "seconds": step.seconds,
                "tokens": step.tokens,
            }
        )

    def close(self) -> None:
        """Write what waits, and let go of the folder."""
        self.flush()
        self._logs.close()
        self._stack.close()


def loss_of(step: Step) -> float:
    """Return a step's loss; NaN where nothing tells it.

    It is what the loop logged; else, where the model returns a loss of one number and gradients
    arrive at it, the sum of what the calls returned, each times its gradient: the number whose
    gradient the step follows. Under a GradScaler, whose factor would be in it, the weighted mean.
    """
    if isinstance(step.loss, Tensor):
        step.loss = float(step.loss.detach())
    if step.loss is not None:
        return step.loss
    found = list(_returned(step))
    if not found:
        return float("nan")
    total, weight = sum(a * value for value, a in found), sum(a for _, a in found)
    return total / weight if weight > len(found) else total


def has_bad_loss(step: Step) -> bool:
    """Whether a loss that the loop logged, or that the model returned, isn't finite."""
    if step.loss is not None:
        return not math.isfinite(float(step.loss))
    return any(not math.isfinite(value) for value, _ in _returned(step))


def _returned(step: Step) -> Iterator[tuple[float, float]]:
    """Outputs of one number, with the gradients that arrived at them."""
    for event in step.events:
        for arrival in event.arrivals if isinstance(event, Backward) and event.adds else []:
            value = arrival.call.scalars.get(arrival.output)
            if value is not None:
                yield float(value), float(arrival.gradient)
