"""One segment of a run: from its last checkpoint to its end, held by this process alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from whence.errors import WhenceError
from whence.runs.store.checkpoints import saved_steps
from whence.runs.store.header import Header, Segment
from whence.runs.store.tidy import let_go_of_surplus, tidy
from whence.runs.training.events import Event
from whence.runs.training.recorded import Evaluations, Measuring, Training
from whence.runs.training.resume import resume_point
from whence.runs.training.saver import check_room
from whence.runs.training.session import assemble
from whence.runs.training.trouble import told
from whence.scale.hardware import manifest
from whence.scale.sharing import check_parts

if TYPE_CHECKING:
    from whence.runs.run import Run
    from whence.scale.team import Team


def train(
    run: Run,
    steps: int | None,
    should_stop: Callable[[], bool],
    measuring: Measuring,
    evaluations: Evaluations | None = None,
    team: Team | None = None,
) -> Iterator[Event]:
    """Train a run; see `Run.train`."""
    with run.locked(), told(run.path):
        run.header = Header.read(run.path)
        recipe = replace(run.header.recipe, steps=steps or run.header.recipe.steps)
        start, recorded = _begin(run, recipe.steps)
        run.recipe = run.header.recipe = recipe
        if team is not None:
            ordered = recipe.hardware.reduction == "ordered"
            check_parts(recipe.accumulate, team.size, ordered)
            team.share({"run": str(run.path), "start": start, "steps": recipe.steps})
        session = assemble(recipe, run.dataset, team)
        check_room(session, run.path)
        noted = manifest(session.hardware, team.size if team else 1)
        run.header.segments.append(Segment(recorded, recipe.steps, noted))
        run.header.write(run.path)
        training = Training(
            run.path, run.header, session, start, should_stop, measuring, evaluations
        )
        yield from training.events()


def check_unfinished(run: Run, steps: int | None) -> None:
    """Refuse at once what `train` would refuse; see `Run.check_unfinished`."""
    with run.locked(), told(run.path):
        run.header = Header.read(run.path)  # another process may have trained it meanwhile
        _begin(run, steps or run.recipe.steps)


def _begin(run: Run, steps: int) -> tuple[int, int]:
    """Tidy up after a kill; return the checkpoint to go on from, and how many steps are recorded.

    Raises:
        WhenceError: where the run is finished, or has done more steps than it is to have.
    """
    tidy(run.path, run.header)
    start, recorded = resume_point(run.path, run.header)
    last = max([start, *saved_steps(run.checkpoint_folder)])
    if last > steps or run.is_measured(last, steps):
        let_go_of_surplus(run.path, run.header)
        raise WhenceError(
            f"the run is finished: it has done its {start} "
            f"step{'s' if start != 1 else ''}. {run.task.more}"
        )
    if recorded > steps:
        raise WhenceError(
            f"the run has already done {recorded} steps: --steps {steps} would undo some; give "
            "more, or fork it at an earlier step."
        )
    return start, recorded
