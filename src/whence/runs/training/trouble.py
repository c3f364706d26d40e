"""Disk and memory failures in the middle of a training, as one-line errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whence.errors import WhenceError, shell_word
from whence.runs.store.checkpoints import saved_steps
from whence.runs.store.records.record import Logs, id_of
from whence.scale.limits import memory_ran_out


@contextmanager
def told(run: Path) -> Iterator[None]:
    """Turn a disk or memory error into a sentence: what, what is saved, how to continue.

    Args:
        run: the folder of the run that is being trained.

    Raises:
        WhenceError: instead of an `OSError`, or of running out of memory.
    """
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        if memory_ran_out(error):
            raise WhenceError(
                f"the memory ran out: {_saved(run)} Close other programs, or start again with a "
                "smaller model or batch_size, or with accumulate; 'whence resume "
                f"{shell_word(run)}' continues from there."
            ) from error
        if not isinstance(error, OSError):
            raise
        raise WhenceError(
            f"{error.filename or run} can't be read or written ({error.strerror or error}): "
            f"{_saved(run)} When the disk works again, 'whence resume {shell_word(run)}' continues "
            "from there."
        ) from error


def _saved(run: Path) -> str:
    """What is there to go on from, as far as that can still be read."""
    try:
        steps, _ = Logs(run, id_of(run / "steps.jsonl")).sound_steps()
        saved = saved_steps(run / "checkpoints")
    except (WhenceError, OSError, MemoryError):
        return "what was complete is saved."
    where = f"the last checkpoint is of step {saved[-1]:,}" if saved else "there is no checkpoint"
    return f"{len(steps):,} steps are in the record and {where}."
