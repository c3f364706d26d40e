"""A step of the past: redone, traced, compared with what it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from whence.watch.again.redo import Redo
from whence.watch.step.events import Backward, Call, Snapshot, Step
from whence.watch.step.nested import tensors
from whence.watch.step.world import World
from whence.why.step import trace
from whence.why.trace import Trace

__all__ = ["Past"]


class Past:
    """A step that was watched; get one by `Recorder.at`.

    Args:
        world: what was watched.
        hooks: ids of the functions that watch it.
        snapshot: a state from before.
        between: the steps from it up to this one.
        step: this one.
        decode: token id → its text.
        source: batch → the rows of the data set that it is made of.

    Attributes:
        step: what was kept of it.
        world: what was watched.

    Example:
        >>> from torch import nn
        >>> from whence.watch import open_step
        >>> past, _ = open_step("runs/watched", 2, nn.Linear(2, 1))
        >>> past.step.number, past.redo().differences
        (2, [])
    """

    def __init__(
        self,
        world: World,
        hooks: set[int],
        snapshot: Snapshot,
        between: list[Step],
        step: Step,
        decode: Callable[[int], str] | None = None,
        source: Callable[[Any], Any] | None = None,
    ):
        self.step, self._decode, self._source = step, decode, source
        self.world = world
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
            What it was done on, `copies`, in the state after the step; and `differences`, the
            outputs whose bits aren't what they were.
        """
        redone = Redo(*self._of)
        redone.run()
        return redone

    def trace(self, tell: Callable[[int], None] | None = None) -> Trace:
        """Do the step again with every number of it recorded.

        Where numbers differ from the original, the trace's `notes` say "approximate",
        which call, and how far off.

        Raises:
            WhenceError: the trace would need more memory than there is.
        """
        redone = Redo(*self._of)
        models = dict(redone.copies.models)
        model = models[""] if "" in models else nn.ModuleDict(models)
        rows = self.rows

        def where(example: int, _: int) -> str:
            row = rows[example] if example < len(rows) else None
            return "" if row is None else f"row {row}"

        opened = trace(
            redone.run,
            model=model,
            optimizer=_only(redone.copies.optimizers, redone),
            decode=self._decode,
            tokens=self._tokens(rows),
            where=where if rows else None,
            tell=tell,
        )
        opened.notes += redone.notes
        if redone.differences:
            opened.notes.append(approximate(redone))
        return opened

    def text(self, ids: list[int]) -> str:
        """Return token ids as text; as they are where there is no decoder."""
        if self._decode is None:
            return " ".join(map(str, ids))
        return "".join(self._decode(token) for token in ids)

    @property
    def rows(self) -> list[Any]:
        """The rows of the data set that the step's examples are, in their order; if known."""
        if self._source is None:
            return []
        found: list[Any] = []
        for call in self.step.calls:
            if not call.links:
                found += list(self._source(call.batch) or [])
        return found

    def _tokens(self, rows: list[Any]) -> list[Tensor] | None:
        """The ids [B, T] of each part of the batch, where the source says: rows are examples."""
        found: list[Tensor] = []
        passes = 0
        for event in self.step.events:
            if isinstance(event, Backward):
                passes += 1
            elif isinstance(event, Call) and not event.links:
                ids = [
                    t
                    for t in tensors((event.args, event.kwargs))
                    if t.dim() == 2 and not t.is_floating_point()
                ]
                if not ids or len(found) > passes:
                    return None  # without tokens, or two calls in a part
                found.append(ids[0])
        return found if found and sum(map(len, found)) == len(rows) else None


def approximate(redone: Redo) -> str:
    """Say how far a redone step is from the original, and what may cause that."""
    first, n = redone.differences[0], len(redone.differences)
    more = f", and {n - 1} more" if n > 1 else ""
    return (
        f"approximate: the redone step differs from the original ({first}{more}); a kernel that "
        "isn't deterministic, a state outside the module, a generator that isn't torch's, or a "
        "write to parameters by .data does that"
    )


def _only(optimizers: list[Any], several: Any) -> Any:
    """Return the one optimizer, or what stands for several."""
    return optimizers[0] if len(optimizers) == 1 else several
