"""Which runs there are."""

from contextlib import suppress
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.summary import runs_in


def list_runs(folder: Path | str = "runs") -> list[Run]:
    """Return the runs in a folder, the newest last; what isn't a sound run is passed over.

    Example:
        >>> list_runs("there is no such folder")
        []
    """
    found: list[Run] = []
    for path in runs_in(Path(folder)):
        with suppress(WhenceError):
            found.append(Run.open(path))
    return sorted(found, key=lambda run: run.created)
