"""How coarsely a kernel rounds, by the types that it reads and makes."""

from __future__ import annotations

import torch

from whence.why.recording.storage import Ref
from whence.why.recording.tape import Call, flatten
from whence.why.rules.opening import UNIT


def accuracy(call: Call) -> float:
    """Relative size of one rounding inside a kernel: float32's for the narrower types."""
    return min(UNIT.get(call.output.dtype, 0.0), UNIT[torch.float32])


def narrow(call: Call) -> float:
    """Relative size of a rounding in the narrowest type among what is read and made.

    Some kernels round what lies between to it; 0 where all are float32 or wider.
    """
    refs = [*flatten(list(call.values.values()), Ref), call.output]
    worst = max((UNIT.get(ref.dtype, 0.0) for ref in refs), default=0.0)
    return worst if worst > UNIT[torch.float32] else 0.0


def own_unit(call: Call) -> float | None:
    """Relative size of a rounding where a sum is kept in the output's own type."""
    return UNIT.get(call.output.dtype)
