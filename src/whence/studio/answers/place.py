"""Where runs are: a name inside the folder of runs, never a path out of it."""

import os
import threading
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.run import Run

# Names what builds the model of watched loops: given when the studio starts, never by a page
# or a folder, for it runs code. The processes that answer inherit it.
BUILD = "WHENCE_STUDIO_MODEL"

# Steps are computed one question at a time: threads and kernels are settings of the whole process.
COMPUTING = threading.RLock()


def path_of(folder: Path, run: str) -> Path:
    r"""Return the folder of a run.

    Raises:
        WhenceError: where the name leads out of the folder of runs.

    Example:
        >>> path_of(Path("runs"), "mine").parts
        ('runs', 'mine')
        >>> path_of(Path("runs"), "../secret")
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: '../secret' isn't a run's name: name a folder in runs.
    """
    bad = not run or run.startswith(".") or len(run) > 200 or any(c in '/\\:*?"<>|' for c in run)
    path = folder / run
    bad = bad or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in run) or path.name != run
    if bad or os.path.islink(path):
        raise WhenceError(f"{run[:80]!r} isn't a run's name: name a folder in {folder}.")
    return path


def open_run(folder: Path, run: str) -> Run:
    """Open a run by its name.

    Raises:
        WhenceError: where there is none of that name, or it is damaged.
    """
    return Run.open(path_of(folder, run))


def origin_of(run: Run) -> str | None:
    """Say which run or model a run comes from; only its name if it is in the same folder."""
    found = run.origin
    return origin_told(run.path, (found.run, found.step, found.how) if found else None)


def origin_told(path: Path, origin: tuple[str, int, str] | None) -> str | None:
    """Say where the run in a folder comes from: (run or model, step, how).

    Example:
        >>> origin_told(Path("runs/half"), ("runs/mine", 4300, "fork"))
        'fork of mine at step 4,300'
    """
    if origin is None:
        return None
    parent, step, how = Path(origin[0]), origin[1], origin[2]
    beside = parent.resolve().parent == path.resolve().parent
    shown = parent.name if beside else str(parent)
    if how == "fork":
        return f"fork of {shown} at step {step:,}"
    return f"{'imported from' if how == 'import' else 'started from'} {shown}"


def python_path(path: Path) -> str:
    """Return a path as written in a line of Python.

    Example:
        >>> python_path(Path("runs") / "mine")
        '"runs/mine"'
    """
    escaped = path.as_posix().replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in escaped) + '"'
