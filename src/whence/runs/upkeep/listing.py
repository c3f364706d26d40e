"""Which runs there are."""

from contextlib import suppress
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.watched import is_watched
from whence.runs.summary import kept_summary, runs_in


def list_runs(folder: Path | str = "runs") -> list[Run]:
    """Return the runs in a folder, the newest last; what isn't a sound run is passed over.

    A run that hasn't changed since it was summed up is opened when something is asked of it.

    Example:
        >>> list_runs("there is no such folder")
        []
    """
    found: list[tuple[str, Run]] = []
    for path in runs_in(Path(folder)):
        kept = kept_summary(path)
        if kept is not None and kept.created and not is_watched(path):
            found.append((kept.created, Run(path)))
            continue
        with suppress(WhenceError):
            run = Run.open(path)
            found.append((run.created, run))
    return [run for _, run in sorted(found, key=lambda pair: pair[0])]
