"""Moving damaged files in a run's folder aside, so that the rest can be used."""

from pathlib import Path

from whence.data.files import second_name
from whence.runs.run import Run
from whence.runs.store.chain import (
    as_a_kill_leaves,
    bind,
    check_ours,
    check_run,
    lost,
    note,
)
from whence.runs.store.checkpoints import folder_name, saved_steps
from whence.runs.store.files import DamagedError, cannot_write
from whence.runs.store.header import Header
from whence.runs.store.past import mismatches
from whence.runs.store.records.lines import Lines
from whence.runs.store.tidy import let_go_of_surplus, tidy


def repair(run: Run) -> list[str]:
    """Move damaged files in a run's folder aside, so that the rest can be used.

    Checkpoints that aren't what was saved, or that the record doesn't lead to, and the damaged end
    of a record are moved or copied into the run's folder `damaged`. Training then goes on from the
    last sound checkpoint and does the lost steps again. What a killed process had begun to write
    is removed.

    Args:
        run: the run.

    Returns:
        A sentence for each thing that was put aside, or found to be missing.

    Raises:
        WhenceError: where a process is training the run, the folder can't be written, or nothing
            can be saved: the recipe, the tokenizer or the tokens are damaged.
    """
    with run.locked():
        run.header = Header.read(run.path)
        assert run.dataset is not None
        try:
            check_run(run.path, run.header)
        except DamagedError as error:
            if error.path.name == "run.toml":  # nothing else says what it said
                raise
        try:
            told = _put_aside(run)
            let_go_of_surplus(run.path, run.header)
            return told
        except OSError as error:
            raise cannot_write(Path(error.filename or run.path), error) from error


def _put_aside(run: Run) -> list[str]:
    folder, header, logs = run.path, run.header, run.logs
    tidy(folder, header)
    told: list[str] = []
    kept: dict[int, str] = {}
    try:
        kept = logs.kept()
    except DamagedError as error:
        _refuse_unread(error)
        _keep_aside(logs.checkpoints.path)
        told.append(f"{error} The checkpoints that are there are noted again.")
    else:
        if not as_a_kill_leaves({*saved_steps(run.checkpoint_folder)} - logs.noted(), kept):
            told.append(f"{logs.checkpoints.path} lacks lines. What it lacks is noted again.")
    records, damage = logs.sound_steps()
    if damage:
        _refuse_unread(damage)
        _keep_aside(logs.steps.path)
        told.append(f"{damage} Its first {len(records)} steps are kept.")
        logs.steps.replace(records)
    for lines in (logs.evals, logs.samples):
        told += _keep_sound(lines)
    there = saved_steps(run.checkpoint_folder)
    told += [f"{lost(folder, step)} It is struck out." for step in kept if step not in there]
    sound: list[int] = []
    for step in there:
        try:
            check_ours(folder, header, step)
            if step <= len(records):
                sound.append(step)
                continue
            why = f"checkpoint {step} is after the record's end, step {len(records)}."
        except DamagedError as error:
            _refuse_unread(error)
            why = str(error)
        _move_aside(run.checkpoint_folder / folder_name(step), folder / "damaged")
        told.append(f"{why} Checkpoint {folder_name(step)} is put aside.")
    for step, error in mismatches(folder, sound).items():
        _refuse_unread(error)
        bind(folder, header, step)
        if not any(sentence.startswith(str(error.path)) for sentence in told):
            told.append(f"{error} What is left of it is kept.")
    note(folder, header, sound)
    return told


def _refuse_unread(error: DamagedError) -> None:
    """Refuse to treat a file that can't be read right now as damaged.

    Raises:
        DamagedError: where a file is there and can't be read.
    """
    if isinstance(error.__cause__, OSError) and error.path.is_file():
        raise DamagedError(
            error.path, f"{error.why}; nothing was put aside: try again, or copy the run's folder"
        ) from error


def _keep_sound(lines: Lines) -> list[str]:
    sound, damage = lines.sound()
    if not damage:
        return []
    _refuse_unread(damage)
    _keep_aside(lines.path)
    lines.replace(sound)
    return [f"{damage} Its first {len(sound)} lines are kept."]


def _move_aside(path: Path, aside: Path) -> None:
    aside.mkdir(exist_ok=True)
    path.rename(_free(aside / path.name))


def _keep_aside(path: Path) -> None:
    """Give a damaged file a second name, since it will be rewritten under its first."""
    aside = path.parent / "damaged"
    aside.mkdir(exist_ok=True)
    if path.is_dir():
        path.rename(_free(aside / path.name))
    elif path.exists():
        second_name(path, _free(aside / path.name))


def _free(path: Path) -> Path:
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name.partition('~')[0]}~{number}")
    return path
