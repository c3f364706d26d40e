"""What every tensor of a step runs over: rows and columns of token ids, heads.

It begins at the ids that an embedding looks up, [rows, columns], and is followed from there through
the operations in their order, and through views by their strides. A matrix product that adds up
over the batch leaves none of it, so a weight's gradient is never taken for an activation. What the
step was given beside the ids (targets, masks) is laid out as the ids whose shape it has, where only
one has it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from whence.why.receipts.layout.axes import (
    OTHER,
    Axes,
    Axis,
    B,
    broadcasts,
    fits,
    in_batch,
    laid,
    merged,
    plain,
    shaped,
    spread,
    stand_there,
    vote,
)
from whence.why.receipts.layout.operations import FORMS
from whence.why.receipts.layout.streams import Stream, ids_of
from whence.why.recording.recomputed import Recomputed
from whence.why.recording.storage import Memory, Ref
from whence.why.recording.tape import Call, Op, flatten


class Layouts:
    """Finds the axes of tensors in one part of a batch.

    Args:
        ops: the operations of the part.
        parameters: memory that belongs to parameters and to the optimizer.
        ids: the token ids [B, T] that went in, where they are known.
        batch: number of examples, where no tokens go in.
        recurrent: the paths of recurrent layers.
    """

    def __init__(
        self,
        ops: Iterable[Op],
        parameters: set[Memory],
        ids: np.ndarray | None,
        batch: int,
        recurrent: set[str],
    ):
        self.batch, self._recurrent = batch, recurrent
        self.streams = [] if ids is None else [Stream(ids, given=True)]
        self._ops, self._parameters = list(ops), parameters
        self.known: dict[Ref, Axes | None] = {}

    @property
    def examples(self) -> int:
        """How many examples the part holds, counted over all its streams."""
        self.follow()
        return sum(s.examples for s in self.streams if s.joined is None) or self.batch

    def of(self, cells: object) -> Axes | None:
        """Return the axes of a tensor, `None` where nothing is known of them."""
        self.follow()
        if isinstance(cells, Recomputed):  # scores and weights [B, H, T, S]
            axes = self._of(cells.call["query"])
            return None if axes is None else (*axes[:3], (Axis(OTHER, cells.size[3]),))
        return self._of(cells) if isinstance(cells, Ref) else None

    def follow(self) -> None:
        """Work out the axes of everything that the operations made, once."""
        ops, self._ops = self._ops, []
        if not ops:
            return
        for op in ops:
            if op.name == "unbind" and op.phase == "forward" and op.module in self._recurrent:
                axes = self._of(op.args[0])  # cut into steps, which are gone through one by one
                if axes is not None:
                    vote(axes[1], axes[0])
            if op.alias or op.phase == "update":
                continue
            for slot, output in enumerate(op.outputs):
                if output is not None:
                    self.known[output] = self._made(op.call(slot), output)
        first = 0
        for stream in self.streams:
            if stream.joined is None:
                stream.first, first = first, first + stream.examples

    def axes(self, ref: Ref) -> Axes | None:
        """The same while they are being worked out."""
        return self._of(ref)

    def _of(self, ref: Ref) -> Axes | None:
        if ref in self.known:
            return self.known[ref]
        if ref.version.stands_for is not None:
            whole = ref.version.stands_for
            axes = self._of(whole)
            return None if axes is None else laid(ref, ref.copied_from(whole), axes)
        memory = ref.version.memory
        found = None
        for version in reversed(memory.versions[: ref.version.number + 1]):
            for region, _ in version.regions:
                axes = self.known.get(region)
                found = found or (None if axes is None else laid(ref, region, axes))
            if version.writer is None and memory not in self._parameters:
                found = found or self._given(ref)
        if (found is None or not in_batch(found)) and spread(ref):
            found = self._given(ref)  # one number for all places, as from a sum
        outside = memory.versions[0].writer is None and memory not in self._parameters
        if found is not None or not outside:  # else more may be known of it later
            self.known[ref] = found
        return found

    def _given(self, ref: Ref) -> Axes | None:
        """Lay out what the step was given: ids by their values, anything else by its shape."""
        for whole in ref.version.memory.versions[0].seen if ref.version.memory.outside else ():
            if len(whole.size) == 2 and whole is not ref and not whole.dtype.is_floating_point:
                for stream in self.streams:
                    axes = shaped(whole.size, stream)
                    if axes is not None and stand_there(whole, axes):
                        return laid(ref, whole, axes)
        several = [s for s in self.streams if shaped(ref.size, s) is not None]
        if len(several) > 1 and len(ref.size) == 2 and not ref.dtype.is_floating_point:
            same = ids_of(ref)
            several = [s for s in several if np.array_equal(s.ids, same)]
        if len(several) == 1:
            return shaped(ref.size, several[0])
        images = len(ref.size) > 2 and ref.dtype.is_floating_point
        if not self.streams and ref.size[:1] == (self.batch,) and (len(ref.size) < 3 or images):
            return ((Axis(B, self.batch),), *plain(ref)[1:])
        return None

    def _made(self, call: Call, output: Ref) -> Axes | None:
        """Tell what an operation's output runs over, by what its inputs do."""
        special = FORMS.get(call.name)
        if special is not None:
            axes = special(self, call)
            return axes if axes is None or fits(axes, output.size) else None
        sources = flatten(list(call.values.values()), Ref)
        known = [(s, a) for s in sources if (a := self._of(s)) is not None and in_batch(a)]
        streams = {axis.stream for _, axes in known for several in axes for axis in several}
        streams.discard(None)
        only = streams.pop() if len(streams) == 1 else None
        broadcast = known and all(broadcasts(s.size, output.size) for s, _ in known)
        if broadcast:
            return merged(known, output, only)
        for source, axes in known:
            if source.size[:-1] == output.size[:-1] and len(source.size) > 1:
                return (*axes[:-1], (Axis(OTHER, output.size[-1]),))
        if not streams and known and output.size[:1] == (self.batch,) and len(output.size) < 3:
            return ((Axis(B, self.batch),), *plain(output)[1:])
        return None if only is None else shaped(output.size, only)
