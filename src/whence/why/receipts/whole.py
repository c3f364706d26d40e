"""The loss of a step whose batch went through in parts: the sum of the parts' losses."""

from __future__ import annotations

import numpy as np
import torch

from whence.why.recording.storage import Index, Ref
from whence.why.rules.opening import Factor, Opened, Part


class Whole:
    """Σ of the parts' losses, each weighed with its part's share of the batch already.

    Args:
        losses: what `backward()` was called on, one for each part.
    """

    dtype = torch.float64
    carries = False
    size: tuple[int, ...] = ()
    numel = 1
    name = "loss"
    call = None

    def __init__(self, losses: list[Ref]):
        self.losses = losses
        self.ordinal = losses[-1].ordinal + 0.5

    def gather(self, at: Index) -> np.ndarray:
        """Return the sum, added in float64."""
        return sum((loss.gather(at) for loss in self.losses), np.zeros(len(at)))

    def tensor(self) -> torch.Tensor:
        """Return the sum."""
        return torch.tensor(self.gather(np.zeros(1, dtype=np.int64))[0])

    def start(self, at: Index) -> list[tuple[Ref, Index, np.ndarray]]:
        """Write it as a weighted sum, for `unroll`."""
        return [(loss, at, np.ones(len(at))) for loss in self.losses]

    def open(self, at: Index) -> Opened:
        """Open the sum into the parts' losses."""
        parts = [
            Part(f"loss of part {i}", (Factor(loss, at.reshape(1, -1)),))
            for i, loss in enumerate(self.losses, start=1)
        ]
        return Opened("Σ over the parts of the batch", parts, exact=True)
