"""The last steps of a watched loop, in limited memory."""

from __future__ import annotations

from collections import deque

from whence.errors import WhenceError, in_bytes
from whence.watch.step.events import Snapshot, Step


class Ring:
    """Keeps the last steps, from one with a snapshot on.

    Args:
        most: how many steps.
        memory: how many bytes; the steps of the last snapshot are kept in any case.
        every: steps between two snapshots.

    Attributes:
        steps: those kept, oldest first.
        nbytes: memory that they take.
    """

    def __init__(self, most: int, memory: int, every: int):
        self.most, self.memory, self.every = most, memory, every
        self.steps: deque[Step] = deque()
        self.nbytes = 0
        self._sizes: deque[int] = deque()
        self._since = every

    def wants_snapshot(self) -> bool:
        """Whether the step that begins now should begin with one."""
        self._since += 1
        if self._since >= self.every:
            self._since = 0
            return True
        return False

    def add(self, step: Step) -> None:
        """Keep a step, and drop the oldest if there are too many."""
        if step.lost or any(not update.done for update in step.updates):
            self._since = self.every  # nothing leads on from here but a copy
        self.steps.append(step)
        self._sizes.append(step.nbytes())
        self.nbytes += self._sizes[-1]
        while len(self.steps) > self.most or self.nbytes > self.memory:
            later = next((i for i, s in enumerate(self.steps) if i and s.snapshot), None)
            if later is None:
                return
            for _ in range(later):
                self.steps.popleft()
                self.nbytes -= self._sizes.popleft()

    def clear(self) -> None:
        """Drop all steps."""
        self.steps.clear()
        self._sizes.clear()
        self.nbytes = 0

    def until(self, number: int) -> tuple[Snapshot, list[Step], Step]:
        """Return a snapshot, the steps from it up to a step, and that step.

        Raises:
            WhenceError: it isn't kept.
        """
        steps = list(self.steps)
        where = next((i for i, s in enumerate(steps) if s.number == number), None)
        if where is None:
            raise WhenceError(f"step {number} isn't in memory: {self.told()}.")
        if steps[where].lost:
            raise WhenceError(
                f"step {number} took more than the {in_bytes(self.memory)} there are for steps: "
                "give watch() more memory, or a part of the loop's batch at a time."
            )
        start = max(i for i in range(where + 1) if steps[i].snapshot)
        snapshot = steps[start].snapshot
        assert snapshot is not None
        return snapshot, steps[start:where], steps[where]

    def leading_to(self, step: Step) -> tuple[Snapshot, list[Step], Step] | None:
        """Return the same for a step in progress; `None` if nothing leads to it."""
        if step.snapshot:
            return step.snapshot, [], step
        steps = list(self.steps)
        start = max((i for i, s in enumerate(steps) if s.snapshot), default=None)
        if start is None:
            return None
        snapshot = steps[start].snapshot
        assert snapshot is not None
        return snapshot, steps[start:], step

    def told(self) -> str:
        """Say which steps are kept."""
        if not self.steps:
            return "no step has been done yet"
        first, last = self.steps[0].number, self.steps[-1].number
        return f"steps {first} to {last} are kept, in {in_bytes(self.nbytes)}"
