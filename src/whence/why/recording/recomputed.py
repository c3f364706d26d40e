"""Tensors that a fused kernel never stored, computed again in float64 from its recorded inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from whence.why.recording.storage import Index

if TYPE_CHECKING:
    from whence.why.recording.tape import Call
    from whence.why.rules.opening import Opened


class Recomputed:
    """A tensor whose elements are worked out when they are asked for.

    Args:
        name: what it is called after its operation's module (`weights`).
        size: its shape.
        call: the fused operation.
        values: logical positions → values.
        opening: logical positions → the elements opened.
        order: its place among what the operation works out, between 0 and 1.
    """

    dtype = torch.float64

    def __init__(
        self,
        name: str,
        size: tuple[int, ...],
        call: Call,
        values: Callable[[Index], np.ndarray],
        opening: Callable[[Index], Opened],
        order: float,
    ):
        module = call.op.module
        self.name = f"{module}.{name}" if module else name
        self.size, self.call = tuple(size), call
        self.gather, self.open = values, opening
        self.ordinal = call.op.ordinal - 1 + order

    @property
    def numel(self) -> int:
        """Number of elements."""
        return int(np.prod(self.size, dtype=np.int64))

    @property
    def carries(self) -> bool:
        """Whether it is a gradient."""
        return self.call.op.phase == "backward" and self.name.endswith(".grad")

    def tensor(self) -> torch.Tensor:
        """Compute the whole tensor."""
        return torch.from_numpy(self.gather(np.arange(self.numel)).reshape(self.size))
