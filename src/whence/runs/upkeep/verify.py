"""Proof that a run is what its record says: replay it and sign for what was found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from whence.runs.replay import Difference, Moment, changed_since, start_from
from whence.runs.run import Run
from whence.runs.store.chain import check_run
from whence.runs.store.checkpoints import LetGoError, check_checkpoint, load_optimizer, load_weights
from whence.runs.store.past import mismatches
from whence.scale.hardware import manifest


@dataclass
class Certificate:
    """What a verification found.

    Attributes:
        steps: how many steps the run has done.
        checked: how many of them were replayed.
        differences: those whose loss wasn't the recorded one.
        states: checkpoints that a replay reached with every weight and moment equal to the bit.
        other_states: checkpoints that it reached otherwise.
        manifest: what this was computed on.
        reasons: what differs from what the run was computed on.
        deterministic: the run allowed only kernels that repeat their bits.
    """

    steps: int
    checked: int = 0
    differences: list[Difference] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    other_states: list[int] = field(default_factory=list)
    manifest: dict[str, str | int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    deterministic: bool = True

    @property
    def exact(self) -> bool:
        """Whether nothing differed."""
        return not self.differences and not self.other_states


def verify(
    run: Run, n_steps: int | None = None, progress: Callable[[int], None] = lambda step: None
) -> Certificate:
    """Replay a run, or a sample of it, and compare every loss and every checkpoint on the way.

    All files are checked first, and that they belong to each other. The steps between two
    checkpoints are replayed from the one to the other; the losses must have the recorded bits and
    the state reached those of the checkpoint.

    Args:
        run: the run.
        n_steps: replay at least so many steps, in stretches spread over the run; none: all.
        progress: called with each step that was replayed.

    Raises:
        WhenceError: where a file is damaged.

    Example:
        >>> verify(Run.open("runs/mine")).exact  # doctest: +SKIP
        True
    """
    check_run(run.path, run.header)
    done, saved = len(run.steps), _sound_checkpoints(run)
    for lines in run.logs:
        list(lines)  # raises at a damaged line
    first = run.origin.step if run.origin else 0
    anchors = sorted({first, *(s for s in saved if s <= done), done})
    stretches = _spread(list(pairwise(anchors)), n_steps)
    session = run.session()
    result = Certificate(
        steps=done,
        manifest=manifest(session.hardware),
        deterministic=session.hardware.deterministic,
    )
    for start, stop in stretches:
        moment = start_from(run, start, approximate=True)
        for step, _ in moment.advance_to(stop):
            progress(step)
        result.checked += stop - start
        result.differences += moment.differences
        if stop in saved:
            (result.states if _is_saved(moment, run, stop) else result.other_states).append(stop)
        for reason in changed_since(run, start, session):
            if reason not in result.reasons:
                result.reasons.append(reason)
    return result


def _sound_checkpoints(run: Run) -> list[int]:
    """The checkpoints, each checked, and that it follows on the record."""
    sound: list[int] = []
    for step in run.checkpoints:
        try:
            check_checkpoint(run.checkpoint_folder, step)
            sound.append(step)
        except LetGoError:  # by a process that is training the run
            continue
    for step, error in mismatches(run.path, sound).items():
        if step in run.checkpoints:
            raise error
    return sound


def _spread(stretches: list[tuple[int, int]], n_steps: int | None) -> list[tuple[int, int]]:
    """Some of the stretches, evenly spread, with at least so many steps in all."""
    total = sum(stop - start for start, stop in stretches)
    if n_steps is None or n_steps >= total:
        return stretches
    for count in range(1, len(stretches) + 1):
        chosen = [stretches[round((k + 0.5) * len(stretches) / count - 0.5)] for k in range(count)]
        if sum(stop - start for start, stop in chosen) >= n_steps:
            return chosen
    return stretches


def _is_saved(moment: Moment, run: Run, step: int) -> bool:
    weights = load_weights(run.checkpoint_folder, step)
    memory = load_optimizer(run.checkpoint_folder, step)
    mine = moment.model.state_dict()
    return _equal(mine, weights) and _equal(moment.optimizer.state_dict(), memory)


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name].cpu(), b[name]) for name in a)
