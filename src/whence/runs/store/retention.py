"""Which checkpoints are made and kept, so that any step can be gone back to within a bound."""

from array import array
from itertools import pairwise

import numpy as np

from whence.runs.recipe import Record


class Spacing:
    """How far apart two checkpoints may lie: what a replay between them costs.

    Within `replay_steps` steps or `replay_seconds` seconds of them, whichever is longer; or within
    `checkpoint_every` steps where that is given.

    Args:
        record: the run's wishes.

    Example:
        >>> spacing = Spacing(Record(replay_steps=2, replay_seconds=3.0))
        >>> for step in range(9):
        ...     spacing.took(step, 1.0)
        >>> spacing.allows(0, 3), spacing.allows(0, 4)
        (True, False)
    """

    def __init__(self, record: Record):
        self.record = record
        self._clock = array("d", [0.0])  # seconds of all steps before each step

    def took(self, step: int, seconds: float) -> None:
        """Note how long a step took; steps come in order, one done again is passed over."""
        if step == len(self._clock) - 1:
            self._clock.append(self._clock[-1] + seconds)

    def took_before(self, seconds: np.ndarray) -> None:
        """Note how long all steps of a record took, in order from step 0."""
        self._clock = array("d", np.cumsum(np.concatenate(([0.0], seconds))))

    def seconds(self, start: int, stop: int) -> float:
        """Return how long the steps from `start` up to `stop` took."""
        last = len(self._clock) - 1
        return self._clock[min(stop, last)] - self._clock[min(start, last)]

    def allows(self, start: int, stop: int) -> bool:
        """Tell whether a replay from `start` to `stop` stays within the bound."""
        if self.record.checkpoint_every:
            return stop - start <= self.record.checkpoint_every
        if stop - start <= self.record.replay_steps:
            return True
        return self.seconds(start, stop) <= self.record.replay_seconds


def policy(record: Record) -> str:
    """Say in words when checkpoints are made and which of them stay.

    Example:
        >>> policy(Record())
        'every 200 steps or 10 s, whichever is longer, all kept'
        >>> policy(Record(checkpoint_every=50, keep="last", keep_last=2))
        'every 50 steps, the best and the last 2 kept'
    """
    if record.checkpoint_every:
        when = f"every {record.checkpoint_every:,} steps"
    else:
        when = f"every {record.replay_steps:,} steps or {record.replay_seconds:g} s"
        when += ", whichever is longer"
    kept = {
        "all": "all kept",
        "logarithmic": "the older the fewer kept",
        "last": f"the best and the last {record.keep_last} kept",
    }[record.keep]
    return f"{when}, {kept}"


def is_due(state: int, last: int, spacing: Spacing) -> bool:
    """Tell whether the state before step `state` must be saved to keep the bound.

    Args:
        state: the next step.
        last: the one whose state was saved last.
        spacing: how far apart they may lie.

    Example:
        >>> is_due(200, 0, Spacing(Record(checkpoint_every=200)))
        True
    """
    if every := spacing.record.checkpoint_every:
        return state % every == 0
    return not spacing.allows(last, state + 1)


def before_the_end(record: Record, steps: int) -> set[int]:
    """Return the state before a run's last step: kept, the step asked for most opens at once.

    Where the spacing of checkpoints was chosen, or only the last are kept, there is none.

    Args:
        record: the run's wishes.
        steps: its length.

    Example:
        >>> before_the_end(Record(), 12_000), before_the_end(Record(checkpoint_every=50), 12_000)
        ({11999}, set())
    """
    chosen = record.checkpoint_every or record.keep == "last"
    return set() if chosen or steps < 2 else {steps - 1}


def surplus(saved: list[int], precious: set[int], spacing: Spacing) -> list[int]:
    """Return the checkpoints that the policy lets go.

    - `all`: those between two others that are near enough without it, such as a best one of before.
    - `logarithmic`: also where the distance between its neighbours is at most that from there to
      the end: going back d steps takes at most d steps of replay, and a run of n steps keeps
      about log₂ n checkpoints.
    - `last`: all but the last `keep_last`.

    Args:
        saved: the steps with a checkpoint, in order.
        precious: steps whose checkpoint stays: the best one, the one a fork began with, and the one
            before the run's last step.
        spacing: how far apart they may lie.

    Example:
        >>> spacing = Spacing(Record(checkpoint_every=10, keep="logarithmic"))
        >>> steps = list(range(10, 170, 10))
        >>> gone = surplus(steps, set(), spacing)
        >>> [step for step in steps if step not in gone]
        [80, 120, 140, 150, 160]
    """
    if not saved:
        return []
    record, end = spacing.record, saved[-1]
    if record.keep == "last":
        return [s for s in saved[: -record.keep_last] if s not in precious]

    def near(start: int, stop: int) -> bool:
        old = record.keep == "logarithmic" and stop - start <= end - stop
        return old or spacing.allows(start, stop)

    gone: list[int] = []
    before = 0
    for step, after in pairwise(saved):
        if step not in precious and near(before, after):
            gone.append(step)
        else:
            before = step
    return gone
