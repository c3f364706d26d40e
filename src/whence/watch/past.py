"""A step of the past: redone, traced, compared with what it was."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from whence.watch.events import Snapshot, Step
from whence.watch.redo import Redo, only
from whence.watch.world import World
from whence.why.step import trace
from whence.why.trace import Trace


class Past:
    """A step that was watched; get one by `Recorder.at`.

    Args:
        world: what was watched.
        hooks: ids of the functions that watch it.
        snapshot: a state from before.
        between: the steps from it up to this one.
        step: this one.
        decode: token id → its text.

    Attributes:
        step: what was kept of it.
    """

    def __init__(
        self,
        world: World,
        hooks: set[int],
        snapshot: Snapshot,
        between: list[Step],
        step: Step,
        decode: Callable[[int], str] | None = None,
    ):
        self.step, self._decode = step, decode
        self._of = (world, hooks, snapshot, between, step)

    def state_before(self) -> Snapshot:
        """Return the parameters, and what the optimizers keep, as they were before the step."""
        _, _, snapshot, between, _ = self._of
        return Redo(*self._of).state_before() if between else snapshot

    def prepare(self) -> Redo:
        """Return copies in the state before the step; their `run()` does it."""
        return Redo(*self._of)

    def redo(self) -> Redo:
        """Do the step again on copies of the models and optimizers.

        Returns:
            What it was done on, `copies`, in the state behind the step; and `differences`, the
            outputs whose bits aren't what they were.
        """
        redone = Redo(*self._of)
        redone.run()
        return redone

    def trace(self, tell: Callable[[int], None] | None = None) -> Trace:
        """Do the step again with every number of it recorded.

        Where numbers come out otherwise than they were, the trace's `notes` say "approximate",
        which call, and how far off.

        Raises:
            WhenceError: the trace would need more memory than there is.
        """
        redone = Redo(*self._of)
        models = redone.copies.models
        model = next(iter(models.values())) if len(models) == 1 else nn.ModuleDict(models)
        optimizer = only(redone.copies.optimizers, redone)
        opened = trace(redone.run, model=model, optimizer=optimizer, decode=self._decode, tell=tell)
        opened.notes += redone.notes
        if redone.differences:
            opened.notes.append(_approximate(redone))
        return opened


def _approximate(redone: Redo) -> str:
    first, n = redone.differences[0], len(redone.differences)
    more = f", and {n - 1} more" if n > 1 else ""
    return (
        f"approximate: the step came out otherwise than it was ({first}{more}); a kernel that "
        "isn't deterministic, a state outside the module, a generator that isn't torch's, or a "
        "write to parameters by .data does that"
    )
