"""One process at a time trains a run; the lock dies with its process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from whence.errors import WhenceError


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Hold a run's folder for this process alone.

    Raises:
        WhenceError: where another process holds it, or the folder can't be written.
    """
    lock = FileLock(run / ".lock")
    try:
        lock.acquire(timeout=0.2, poll_interval=0.05)  # another may just look whether it's held
    except Timeout as error:
        raise WhenceError(f"another process is training {run}: wait for it or stop it.") from error
    except OSError as error:
        raise WhenceError(
            f"{run} can't be written ({error.strerror}): copy it where it can."
        ) from error
    try:
        yield
    finally:
        lock.release()


def can_be_held(run: Path) -> bool:
    """Tell whether the lock is a file or can become one, not a link or something else put there."""
    lock = run / ".lock"
    return not os.path.lexists(lock) or (lock.is_file() and not lock.is_symlink())


def is_held(run: Path) -> bool:
    """Tell whether some process holds a run's folder."""
    if not (run / ".lock").is_file():
        return False
    try:
        with FileLock(run / ".lock").acquire(blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that can't be written isn't being trained
        return False
