"""Where opening a grouped number ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whence.why.receipts.followed import Node, followed
from whence.why.receipts.unroll import normal
from whence.why.recording.storage import Index
from whence.why.rules.open import open_call
from whence.why.rules.opening import Cells

if TYPE_CHECKING:
    from whence.why.trace import Trace

PLACES = {"token": "token", "position": "position", "example": "example", "where": "example"}

# What a residual stream passes on, as a weighted sum of what was written to it.
_PASSED = {
    "add", "sub", "rsub", "neg", "mul", "div", "_to_copy", "clone", "copy", "native_layer_norm",
    "_fused_rms_norm", "native_dropout", "cat", "stack", "where", "masked_fill", "mean", "sum",
    "slice_backward", "select_backward", "index", "index_select",
}  # fmt: skip
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear"}


class Boundary:
    """Where unrolling a number ends, for what it is grouped by.

    Args:
        trace: the step.
        by: what the number is grouped by.
        first: the operations that made the number, which are opened in any case.
        target: the tensor that contains it.
    """

    def __init__(self, trace: Trace, by: str, first: set[int], target: Cells):
        self.trace, self.by, self.first = trace, by, first
        name = trace.name_of(target)
        self.block = _block(name)

    def __call__(self, node: Node) -> bool:
        """Whether these elements are opened no further."""
        op = node.op
        if op is None:
            return True
        if id(op) in self.first or op.phase == "update":
            return False
        if self.by in PLACES:
            return self.at_place(node.cells, node.at)
        if op.phase == "backward":
            return self._leaves_block(node)
        if self.by == "head":
            if self.trace.labels.place(node.cells, node.at[:1]).head is not None:
                return op.name not in _PASSED
            if op.name in _PRODUCTS:
                return not self._reads_heads(node)
        return op.name not in _PASSED

    def at_place(self, cells: Cells, at: Index) -> bool:
        """Whether these elements belong to one of the groups."""
        wanted = PLACES.get(self.by)
        if self.by == "where" and not self.trace.labels.by_example:
            wanted = "position"  # a line of a window is known by the position in it
        return wanted is not None and (
            getattr(self.trace.labels.place(cells, at[:1]), wanted) is not None
        )

    def _leaves_block(self, node: Node) -> bool:
        """Whether a gradient comes from beyond the block whose parameter is asked about."""
        op = node.op
        assert op is not None
        if self.by == "head" and (
            self.trace.labels.place(node.cells, node.at[:1]).head is not None
        ):
            return True
        if op.forward is None or op.name == "add":  # the sum of what several uses sent back
            return False
        module = op.forward.module
        return bool(module) and not module.startswith(self.block)

    def _reads_heads(self, node: Node) -> bool:
        """Whether a matrix product mixes heads: its input is laid out by head."""
        assert node.call is not None
        opened = open_call(node.call, node.at[:1])
        if opened is None:
            return False
        for part in opened.parts:
            if part.factors:
                factor = part.factors[followed(part, node.op)]
                at = np.broadcast_to(factor.at, (1, np.asarray(factor.at).shape[-1]))[0]
                for one in normal(factor.cells, at, np.ones(len(at))):
                    if self.trace.labels.place(one.cells, one.at[:1]).head is not None:
                        return True
        return False


def _block(name: str) -> str:
    """`blocks.3.mlp.up.weight` → `blocks.3.`; `head.weight` → `head`."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: i + 1]) + "."
    return parts[0]
