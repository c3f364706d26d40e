"""What a process finishes for one that was killed while it saved or removed a checkpoint."""

from contextlib import closing, suppress
from pathlib import Path

from whence.runs.store.chain import as_a_kill_leaves, check_ours
from whence.runs.store.checkpoints import remove_checkpoint, saved_line, saved_steps
from whence.runs.store.files import DamagedError, cannot_write, remove_leftovers
from whence.runs.store.header import Header
from whence.runs.store.records.record import Logs
from whence.runs.store.retention import Spacing, before_the_end, surplus


def let_go(logs: Logs, checkpoints: Path, step: int) -> None:
    """Remove a checkpoint: the record says so first, so one missing without a note was lost.

    Raises:
        WhenceError: where it can't be removed, or the record can't be written.
    """
    logs.checkpoints.append({"step": step, "state": "", "kept": False})
    logs.checkpoints.sync()
    remove_checkpoint(checkpoints, step)


def tidy(folder: Path, header: Header) -> None:
    """Remove what a kill left half-written or half-removed, and note a checkpoint that it didn't.

    Args:
        folder: the run's folder, held by this process.
        header: what its run.toml says.

    Raises:
        WhenceError: where the folder can't be written.
    """
    checkpoints = folder / "checkpoints"
    try:
        remove_leftovers(folder)
        if checkpoints.is_dir():
            remove_leftovers(checkpoints)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with closing(Logs(folder, header.id)) as logs:
        try:
            kept, noted = logs.kept(), logs.noted()
        except DamagedError:
            return  # whoever goes on from here says so
        there = [step for step in saved_steps(checkpoints) if step not in kept]
        for step in there:
            if step in noted:
                remove_checkpoint(checkpoints, step)
        unnoted = [step for step in there if step not in noted]
        if not unnoted or not as_a_kill_leaves(set(unnoted), kept):  # else lines were lost
            return
        with suppress(DamagedError):
            check_ours(folder, header, unnoted[0])
            logs.checkpoints.append(saved_line(checkpoints, unnoted[0]))
            logs.checkpoints.sync()


def let_go_of_surplus(folder: Path, header: Header) -> None:
    """Do at a run's end what a process that was killed there would have done next.

    Raises:
        WhenceError: where the record is damaged or the folder can't be written.
    """
    checkpoints = folder / "checkpoints"
    spacing = Spacing(header.recipe.record)
    with closing(Logs(folder, header.id)) as logs:
        spacing.took_before(logs.read_steps().column("seconds"))
        losses = {r["step"]: r["loss"] for r in logs.evals if not r["whole"]}
        saved = saved_steps(checkpoints)
        for step in surplus(saved, precious(saved, losses, header), spacing):
            let_go(logs, checkpoints, step)


def precious(saved: list[int], losses: dict[int, float], header: Header) -> set[int]:
    """Return the checkpoints that stay: the best one, a fork's first, and the one before the end.

    Args:
        saved: the steps with a checkpoint.
        losses: on the validation text, by step.
        header: what run.toml says.
    """
    known = {step: loss for step, loss in losses.items() if step in saved}
    stay = {min(known, key=known.__getitem__)} if known else set[int]()
    stay |= before_the_end(header.recipe.record, header.recipe.steps)
    return stay | ({header.origin.step} if header.origin else set())
