"""Checkpoints in the background: the step's thread only copies, another one writes."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from whence.runs.store.checkpoints import copied, folder_name, save_checkpoint
from whence.runs.store.files import cannot_write, make_folder
from whence.runs.training.session import Session
from whence.scale.plan import check_disk
from whence.train.optimizers import SGDConfig


def check_room(session: Session, folder: Path) -> None:
    """Find out before the first step whether a checkpoint will fit on the disk.

    Args:
        session: what is going to be trained.
        folder: the run's folder.

    Raises:
        WhenceError: where it won't, saying how much it takes and how much is free.
    """
    weights = sum(p.nbytes for p in session.model.parameters())
    config = session.recipe.optimizer
    moments = (config.momentum > 0) if isinstance(config, SGDConfig) else 2
    advice = "make room, or choose another disk with --out"
    check_disk(2 * (1 + moments) * weights, folder, advice)


class Saver:
    """Writes one checkpoint at a time while training goes on.

    Args:
        folder: the run's folder of checkpoints.
        before: called in the background ahead of each write, to put the record on the disk first.
        after: called in the background after each write with the step, to note it and to let older
            checkpoints go.

    Raises:
        WhenceError: from any method, where the write before could not be done.
    """

    def __init__(self, folder: Path, before: Callable[[], None], after: Callable[[int], None]):
        self.folder, self.before, self.after = folder, before, after
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[int] | None = None

    def save(
        self,
        step: int,
        model: dict[str, Tensor],
        optimizer: dict[str, Tensor],
        link: Callable[[], Mapping[str, Any]] = dict,
        write: Callable[[Path], None] | None = None,
    ) -> list[int]:
        """Copy a state and begin to write it; waits for the one before, if need be.

        Args:
            step: the next step's number.
            model: name → tensor.
            optimizer: name → tensor.
            link: gives what ties it to its run; asked now.
            write: as of `save_checkpoint`; then nothing is copied.

        Returns:
            The steps whose checkpoint has become complete meanwhile.
        """
        done = self.wait()
        if (self.folder / folder_name(step)).exists():
            return done
        weights, memory = (model, optimizer) if write else (copied(model), copied(optimizer))
        self._writing = self._pool.submit(self._write, step, weights, memory, link(), write)
        return done

    def finished(self) -> list[int]:
        """Return the step whose checkpoint has become complete since the last call, if any."""
        return self.wait() if self._writing is not None and self._writing.done() else []

    def wait(self) -> list[int]:
        """Wait until nothing is being written, and return the step that was, if any."""
        if self._writing is None:
            return []
        writing, self._writing = self._writing, None
        return [writing.result()]

    def close(self) -> None:
        """End the thread; what it is writing is completed first."""
        self._pool.shutdown(wait=True)

    def _write(
        self,
        step: int,
        model: dict[str, Tensor],
        optimizer: dict[str, Tensor],
        link: Mapping[str, Any],
        write: Callable[[Path], None] | None,
    ) -> int:
        need = 2 * sum(t.nbytes for t in [*model.values(), *optimizer.values()])
        try:
            make_folder(self.folder)
            check_disk(need, self.folder, "make room, then resume the run")
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        self.before()
        save_checkpoint(self.folder, step, model, optimizer, link, write)
        self.after(step)
        return step
