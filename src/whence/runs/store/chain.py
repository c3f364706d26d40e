"""The chain that ties a run's files together: one that is cut, lost or foreign is noticed.

run.toml has a random id; the first line of each record repeats it. A checkpoint's state.json has it
too, and how far each record had come when it was saved, with a digest of all before that.
checkpoints.jsonl pins each state.json, and says which checkpoints were removed since.
"""

import json
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from whence.runs.store.checkpoints import check_files, folder_name, saved_line, saved_steps
from whence.runs.store.files import DamagedError, sha256, write_whole
from whence.runs.store.header import Header
from whence.runs.store.past import RECORDS, mismatches, past_of, read_state, shorter
from whence.runs.store.records.record import Logs, id_of


def link(header: Header, past: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint's state.json says of the run that it belongs to.

    Args:
        header: what run.toml says.
        past: what the records hold; see `whence.runs.store.past.Past`.
    """
    return {"run": header.id, "sittings": len(header.segments), "past": dict(past)}


def check_run(folder: Path, header: Header) -> None:
    """Check that a run's files are there and belong to each other, by small reads alone.

    A training process may change them meanwhile: what looks wrong then is looked at again.

    Raises:
        DamagedError: naming the file that is missing, of another run, or shorter than the last
            checkpoint found it.
    """
    if not header.id:  # made before runs had one
        return None
    while True:
        before = _stamp(folder)
        try:
            return _check(folder, header)
        except DamagedError:
            if _stamp(folder) == before:
                raise


def _check(folder: Path, header: Header) -> None:
    logs = Logs(folder, header.id)
    ids = {lines.path: id_of(lines.path) for lines in logs}
    if header.id not in ids.values() and len(set(ids.values())) == 1:
        why = "it is of another run than the records beside it; restore the run's own"
        raise DamagedError(folder / "run.toml", why)
    for path, id in ids.items():
        if id != header.id:
            raise DamagedError(path, "it is of another run")
    kept, there = logs.kept(), set(saved_steps(folder / "checkpoints"))
    for step in kept:
        if step not in there:
            raise lost(folder, step)
    unnoted = there - logs.noted()
    if not as_a_kill_leaves(unnoted, kept):
        raise DamagedError(logs.checkpoints.path, "it lacks checkpoints that are there")
    if not kept:
        return
    last = max(kept)
    path, state = _path(folder, last), read_state(folder, last)
    if state["run"] != header.id:
        raise DamagedError(path, "it is of another run")
    if sha256(path) != kept[last]:
        raise DamagedError(path, "it isn't what was saved (its sha256 differs)")
    segments = state["sittings"]
    if segments > len(header.segments) and segments > len(Header.read(folder).segments):
        why = f"it is older than checkpoint {folder_name(last)}; restore the newer one"
        raise DamagedError(folder / "run.toml", why)
    for name, noted in state["past"].items():
        if (folder / name).stat().st_size < noted["bytes"]:
            raise shorter(folder / name, last)


def as_a_kill_leaves(unnoted: Set[int], kept: Iterable[int]) -> bool:
    """Tell whether a kill can leave these checkpoints without a note: one, the last to be saved."""
    return not unnoted or (len(unnoted) == 1 and max(unnoted) > max(kept, default=-1))


def check_ours(folder: Path, header: Header, step: int) -> None:
    """Check that a checkpoint is whole, the run's own, and follows on its record of steps.

    Raises:
        DamagedError: naming the file that is wrong.
    """
    check_files(folder / "checkpoints", step)
    state = read_state(folder, step)
    if state["run"] != header.id:
        raise DamagedError(_path(folder, step), "it is of another run")
    if state["sittings"] > len(header.segments):
        raise DamagedError(_path(folder, step), "run.toml doesn't know who saved it")
    for error in mismatches(folder, [step], ["steps.jsonl"]).values():
        raise error


def bind(folder: Path, header: Header, step: int) -> None:
    """Tie a checkpoint to the measurements and samples that are left, where some were lost.

    Raises:
        WhenceError: where it can't be written.
    """
    state, logs = read_state(folder, step), Logs(folder, header.id)
    for lines in (logs.evals, logs.samples):
        n = sum(record["step"] <= step for record in lines)
        state["past"][lines.path.name] = past_of(lines.path, n)
    write_whole(_path(folder, step), json.dumps(state) + "\n")


def note(folder: Path, header: Header, steps: list[int]) -> None:
    """Rewrite checkpoints.jsonl with these checkpoints as they are on the disk.

    Raises:
        WhenceError: where it can't be written.
    """
    lines = [saved_line(folder / "checkpoints", step) for step in steps]
    log = Logs(folder, header.id).checkpoints
    try:
        if list(log) == lines:
            return
    except DamagedError:
        pass
    log.replace(lines)


def lost(folder: Path, step: int) -> DamagedError:
    """Return the error of a checkpoint that was saved, not let go, and isn't there."""
    path = folder / "checkpoints" / folder_name(step)
    return DamagedError(path, "it is missing, and checkpoints.jsonl says that it was saved")


def _path(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / folder_name(step) / "state.json"


def _stamp(folder: Path) -> list[tuple[int, int]]:
    """Changes when a training process has saved, let go of, or rewritten something."""
    stamps: list[tuple[int, int]] = []
    for name in ("checkpoints.jsonl", "run.toml", *RECORDS):
        try:
            found = (folder / name).stat()
            size = found.st_size if name == "checkpoints.jsonl" else 0  # records grow all the time
            stamps.append((found.st_ino, size))
        except OSError:
            stamps.append((0, 0))
    return stamps
