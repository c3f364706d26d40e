"""A formula run again in float64, and recorded, in place of a fused kernel that keeps nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from whence.why.recording.recorder import Recorder
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Op


class Nested:
    """Records a formula that stands for a fused operation.

    Its inputs stand for tensors of the step, so that opening its numbers leads back to those.

    Args:
        op: the fused operation.
        part: the part of it that the formula is run for, such as `example1`.

    Attributes:
        names: the record of each variable that the formula names: those of the module's second
            run begin with `run2`, those of a backward pass with `backward`.
    """

    def __init__(self, op: Op, part: str = ""):
        self.recorder = Recorder(None, None, within=op)
        self.names: dict[str, Ref] = self.recorder.namer.names
        back = ""
        if op.forward is not None:  # without a module the step's own names begin with "backward"
            back = "backward" if op.forward.module else "layer.backward"
        run = f"run{op.run}" if op.run > 1 else ""
        self.prefix = [p for p in ((op.forward or op).module, back, run, part) if p]

    def given(self, ref: Ref, dim: int | None = None, index: int = 0) -> Tensor:
        """Return a tensor of the step in float64, or one index of it along a dimension."""
        if dim is not None:
            ref = narrow(ref, dim, index)
        tensor = ref.tensor().double().clone(memory_format=torch.contiguous_format)
        ours = self.recorder.ref(tensor)
        assert ours is not None
        ours.version.stands_for = ref
        return tensor

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what runs in it; what it doesn't name is called what made it."""
        with torch.no_grad(), self.recorder:
            yield
        for op in self.recorder.ops:
            for output in () if op.alias else op.outputs:
                if output is not None and not output.version.names:
                    self._give(op.name, output)
        for memory in self.recorder.memories:
            first = memory.versions[0]
            if memory.outside and not first.names and first.stands_for is None and first.seen:
                self._give("given", first.seen[0])

    def name(self, name: str, tensor: Tensor) -> Tensor:
        """Name a variable of the formula."""
        self._give(name, self.ref(tensor))
        return tensor

    def _give(self, name: str, ref: Ref) -> None:
        self.recorder.namer.give(".".join([*self.prefix, name]), ref, 0)

    def ref(self, tensor: Tensor) -> Ref:
        """Return the record of a tensor of the formula."""
        ref = self.recorder.ref(tensor)
        assert ref is not None
        return ref


def narrow(ref: Ref, dim: int, index: int) -> Ref:
    """Return one index of a tensor along a dimension, which it keeps with length 1."""
    size = (*ref.size[:dim], 1, *ref.size[dim + 1 :])
    offset = ref.offset + index * ref.stride[dim]
    return Ref(ref.version, offset, size, ref.stride, ref.dtype)
