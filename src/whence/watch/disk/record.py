"""The record of a watched loop on disk: a line for each step, as `whence train` writes them."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psutil

from whence.runs.store.lock import hold
from whence.runs.store.records.record import Logs
from whence.runs.store.watched import Watched
from whence.scale.hardware import Hardware, manifest
from whence.watch.step.events import Step
from whence.watch.step.losses import loss_of
from whence.watch.step.world import World


class Folder:
    """The folder of a watched loop.

    A step's line is written when the next step begins, so that the loop can tell its loss until
    then.

    Args:
        path: the folder, not there yet.
        world: what is watched.
        build: `module:function` that builds the model, if it is known.

    Raises:
        WhenceError: the folder is there, or can't be written.
    """

    def __init__(self, path: Path, world: World, build: str | None = None):
        self.path = path
        trained = sum(p.numel() for p in world.parameters if p.requires_grad)
        Watched(
            datetime.now(UTC).isoformat(timespec="seconds"),
            tuple(type(m).__name__ for name, m in world.written.items() if name != "loss"),
            (*(type(o).__name__ for o in world.optimizers), *world.blind),
            trained,
            manifest(Hardware().resolved()),
            build,
        ).write(path)
        self._stack = ExitStack()
        self._stack.enter_context(hold(path))
        self._logs = Logs(path)
        self._waiting: Step | None = None
        self._process = psutil.Process()

    def add(self, step: Step) -> None:
        """Add a step that has just been done; its line may wait."""
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
                "examples": step.examples,
                "memory": self._memory(),
            }
        )

    def _memory(self) -> int:
        """Bytes that the process takes."""
        return self._process.memory_info().rss

    def close(self) -> None:
        """Write what waits, and release the folder."""
        self.flush()
        self._logs.close()
        self._stack.close()
