"""A formula run again in float64, and recorded, in place of a fused kernel that keeps nothing."""

from __future__ import annotations

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
        module: what the names of the formula's variables begin with.
    """

    def __init__(self, op: Op, module: str):
        self.recorder = Recorder(None, None, within=op)
        self.module = module

    def given(self, ref: Ref, dim: int | None = None, index: int = 0) -> Tensor:
        """Return a tensor of the step in float64, or one index of it along a dimension."""
        if dim is not None:
            ref = narrow(ref, dim, index)
        tensor = ref.tensor().double().clone(memory_format=torch.contiguous_format)
        ours = self.recorder.ref(tensor)
        assert ours is not None
        ours.version.stands_for = ref
        return tensor

    def name(self, name: str, tensor: Tensor) -> Tensor:
        """Name a variable of the formula."""
        full = f"{self.module}.{name}" if self.module else name
        self.recorder.namer.give(full, self.recorder.ref(tensor), 0)
        return tensor

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
