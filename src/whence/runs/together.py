"""What the followers of a training do: as its leader says, step by step."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.checkpoints import saved_steps
from whence.runs.training.session import Session, assemble
from whence.runs.training.split import gather, restore, save_shards
from whence.scale.team import Order, Team
from whence.train.optimizer import NotFiniteError


def follow(session: Session, folder: Path) -> None:
    """Do what the leader says, until it says that it is over.

    Args:
        session: this process's.
        folder: the run's folder of checkpoints.
    """
    assert session.team is not None
    while True:
        order, step, length = session.team.hear()
        if order is Order.STEP:
            session.optimizer.steps = length
            with suppress(NotFiniteError):  # the leader has it as well, and says so
                for _ in session.learn([step]):
                    pass
        elif order is Order.SHARDS:
            with suppress(WhenceError):  # as above
                save_shards(session, folder)
        elif order is Order.WHOLE:
            gather(session)
        else:
            return


def take_part(team: Team) -> None:
    """Train as a follower: open the run that the leader names, and do what it says.

    Raises:
        WhenceError: where the run can't be opened here.
    """
    told = team.share(None)
    if told is None:  # the leader found nothing to train
        return
    run = Run.open(told["run"])
    recipe = replace(run.header.recipe, steps=told["steps"])
    session = assemble(recipe, run.dataset, team)
    if told["start"] in saved_steps(run.checkpoint_folder):  # else it is 0, the first weights
        restore(session, run.checkpoint_folder, told["start"])
    follow(session, run.checkpoint_folder)
