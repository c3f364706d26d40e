"""Where training continues from, and the error where a file that it needs is damaged."""

from pathlib import Path

from whence.errors import WhenceError, shell_word
from whence.runs.store.chain import check_ours, check_run
from whence.runs.store.checkpoints import saved_steps
from whence.runs.store.files import DamagedError
from whence.runs.store.header import Header
from whence.runs.store.past import mismatches
from whence.runs.store.records.record import Logs


def resume_point(run: Path, header: Header) -> tuple[int, int]:
    """Return the checkpoint to go on from, and how many steps the record holds.

    The checkpoint is the last one that the record reaches; 0 stands for the first weights.

    Raises:
        WhenceError: where one of them is damaged: which file, and the step to go on from.
    """
    logs, checkpoints = Logs(run, header.id), run / "checkpoints"
    records, damage = logs.sound_steps()
    try:
        check_run(run, header)
    except DamagedError as error:
        if error.path.name == "run.toml":  # nothing else says what it said
            raise
        damage = damage or error
    n, saved = len(records), saved_steps(checkpoints)
    if damage is None and saved and n < saved[-1]:
        # A kill can't do that: a step is recorded before its checkpoint.
        damage = DamagedError(logs.steps.path, f"it ends before step {n}, and checkpoints do not")
    sound = None if header.origin else 0
    for step in reversed([s for s in saved if s <= n]):
        try:
            check_ours(run, header, step)
            sound = step
            damage = damage or mismatches(run, [step]).get(step)
            break
        except DamagedError as error:
            damage = damage or error
    if sound is None:
        assert header.origin
        whose = "A fork" if header.origin.how == "fork" else "The run"
        raise WhenceError(
            f"{damage or f'{checkpoints} is empty.'} {whose} can't start without its first "
            f"checkpoint: {header.origin.again}."
        )
    if damage:
        raise WhenceError(
            f"{damage} The run can continue from step {sound}: 'whence verify {shell_word(run)} "
            "--repair' moves the damaged files aside."
        ) from damage
    return sound, n
