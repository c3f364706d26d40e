"""Which runs there are."""

from pathlib import Path

from whence.errors import WhenceError
from whence.runs.run import Run


def list_runs(folder: Path | str = "runs") -> list[Run]:
    """Return the runs in a folder, the newest last; what isn't a sound run is passed over.

    Example:
        >>> list_runs("there is no such folder")
        []
    """
    folder = Path(folder)
    found: list[Run] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (path / "run.toml").is_file() and not path.name.startswith("."):
            try:
                found.append(Run.open(path))
            except WhenceError:
                continue
    return sorted(found, key=lambda run: run.created)
