"""Through the optimizer: what a parameter's change in this step is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from whence.why.receipts.followed import Node
from whence.why.receipts.unroll import Unrolled, normal, unroll
from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.opening import UNIT, Cells, Factor, Opened, Part

if TYPE_CHECKING:
    from whence.why.trace import Trace


PAST = "(before this step)"
MIXED = "orthogonalised"  # by a matrix that mixes the elements, as Muon's
MOMENTA = ("exp_avg", "m", "momentum", "momentum_buffer")


class Update:
    """What a step added to a parameter or a moment: stored after − stored before, in float64.

    It opens into the optimizer's arithmetic with its denominators shared: weight decay, the
    decayed past, and this step's gradient.

    Args:
        trace: the step.
        before: the tensor as it was.
        after: and as it was left.
    """

    carries = False

    def __init__(self, trace: Trace, before: Cells, after: Cells, name: str):
        self.trace, self.before, self.after = trace, before, after
        self.name = f"{name}.update"
        self.size, self.numel = before.size, before.numel
        self.dtype = torch.complex128 if after.dtype.is_complex else torch.float64
        self.ordinal = after.ordinal + 0.5

    def gather(self, at: Index) -> np.ndarray:
        """Return after − before; exact in float64 for all narrower types but far apart numbers."""
        return self.after.gather(at) - self.before.gather(at)

    def tensor(self) -> torch.Tensor:
        """Return the whole change."""
        return self.after.tensor().to(self.dtype) - self.before.tensor().to(self.dtype)

    def start(self, at: Index) -> list[tuple[Cells, Index, np.ndarray]]:
        """Write the change as a weighted sum, for `unroll`."""
        one = np.ones(len(at))
        return [(self.after, at, one), (self.before, at, -one)]

    @property
    def call(self) -> Call | None:
        """The operation that wrote the new value."""
        return normal(self.after, np.array([0]), np.ones(1))[0].call if self.numel else None

    def open(self, at: Index) -> Opened:
        """Open one element of the change."""
        unrolled = unroll(self.start(at), in_update)
        return as_opened(self.trace, unrolled)


def in_update(node: Node) -> bool:
    """Whether these elements were made by the optimizer."""
    return node.op is not None and node.op.phase == "update"


def as_opened(trace: Trace, unrolled: Unrolled) -> Opened:
    """Write an unrolled number as the sum of its leaves."""
    parts = []
    for leaf in sorted(unrolled.leaves, key=lambda leaf: -_size(leaf.terms)):
        if not leaf.terms.any():
            continue
        factor = Factor(leaf.cells, leaf.at.reshape(1, -1))
        words = leaf_words(trace, leaf)
        parts.append(Part(words, (factor,), leaf.weight.reshape(1, -1)))
    parts += [Part(words, value=np.array([[value]])) for words, value in unrolled.constants]
    if not parts:
        parts = [Part("nothing", value=np.zeros((1, 1)))]
    notes = []
    shared = [f"{trace.address(c, i)} = {c.gather(np.array([i]))[0]:.9g}"
              for c, i in unrolled.shared]  # fmt: skip
    if shared:
        notes.append("shared by the terms: " + ", ".join(shared))
    return Opened(
        " + ".join(part.symbol for part in parts),
        parts,
        unit=UNIT[torch.float64],
        absolute=unrolled.bound,
        recomputed=unrolled.recomputed,
        notes=notes,
    )


def _size(terms: np.ndarray) -> float:
    return float(np.where(np.isfinite(terms), np.abs(terms), np.inf).sum())


def leaf_words(trace: Trace, leaf: Node) -> str:
    """Say what a leaf of the optimizer is: decay, the past, or this step's gradient."""
    name = trace.name_of(leaf.cells)
    mixed = "" if len(leaf.weight) == 1 else f", {MIXED}"
    if name in trace.parameters:
        return f"weight decay{mixed}"
    if leaf.op is None:
        kind = name.rpartition(".")[2]
        return (f"momentum {PAST}" if kind in MOMENTA else f"{kind} {PAST}") + mixed
    if leaf.op.phase == "backward":
        return f"this step's gradient{mixed}"
    return f"{name}{mixed}"
