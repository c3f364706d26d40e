"""Putting aside what is damaged in a run's folder, so that the rest can be used."""

from pathlib import Path

from whence.data.files import second_name
from whence.runs.run import Run
from whence.runs.store.chain import bind, check_ours, check_run, lost, note
from whence.runs.store.checkpoints import folder_name, saved_steps
from whence.runs.store.files import DamagedError, cannot_write
from whence.runs.store.header import Header
from whence.runs.store.lines import Lines
from whence.runs.store.past import mismatches
from whence.runs.store.tidy import let_go_of_surplus, tidy


def repair(run: Run) -> list[str]:
    """Put what is damaged in a run's folder aside, so that the rest can be used.

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
        _keep_aside(logs.checkpoints.path)
        told.append(f"{error} The checkpoints that are there are noted anew.")
    else:
        if len(set(saved_steps(run.checkpoint_folder)) - logs.noted()) > 1:
            told.append(f"{logs.checkpoints.path} lacks lines. What it lacks is noted anew.")
    records, damage = logs.sound_steps()
    if damage:
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
            why = f"checkpoint {step} lies behind the record's end, step {len(records)}."
        except DamagedError as error:
            why = str(error)
        _move_aside(run.checkpoint_folder / folder_name(step), folder / "damaged")
        told.append(f"{why} Checkpoint {folder_name(step)} is put aside.")
    for step, error in mismatches(folder, sound).items():
        bind(folder, header, step)
        if not any(sentence.startswith(str(error.path)) for sentence in told):
            told.append(f"{error} What is left of it is kept.")
    note(folder, header, sound)
    return told


def _keep_sound(lines: Lines) -> list[str]:
    sound, damage = lines.sound()
    if not damage:
        return []
    _keep_aside(lines.path)
    lines.replace(sound)
    return [f"{damage} Its first {len(sound)} lines are kept."]


def _move_aside(path: Path, aside: Path) -> None:
    aside.mkdir(exist_ok=True)
    path.rename(_free(aside / path.name))


def _keep_aside(path: Path) -> None:
    """Give what is damaged a second name: the file is going to be written anew, under its first."""
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
