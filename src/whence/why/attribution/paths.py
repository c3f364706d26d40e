"""Paths: by which modules a gradient came back from the loss.

Where a tensor was used several times, autograd adds up what each use sent back. Each such sum is a
fork: a path is the list of the modules that were taken at the forks. Their contributions add up to
the gradient; as there can be very many of them, the largest are followed and the others are left
where they forked, with "…" at their end.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict

import numpy as np

from whence.why.receipts.unroll import Node, Unrolled, unroll
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import flatten
from whence.why.rules.opening import Cells

_FOLLOWED = 64  # how many paths are taken on from a fork

Start = list[tuple[Cells, Index, np.ndarray]]


def paths(start: Start) -> tuple[dict[str, list[np.ndarray]], Unrolled]:
    """Split a gradient or an update over its paths.

    Args:
        start: tensors, places in them and weights.

    Returns:
        The terms of each path, and what the operations on the way rounded.
    """
    whole = Unrolled()
    groups: dict[str, list[np.ndarray]] = defaultdict(list)
    count = itertools.count()
    todo: list[tuple[float, int, tuple[str, ...], Start]] = [(0.0, next(count), (), start)]
    followed = 0
    while todo:
        _, _, path, here = heapq.heappop(todo)
        if followed >= _FOLLOWED:
            terms = [weight * cells.gather(at) for cells, at, weight in here]
            groups[" → ".join([*path, "…"])] += terms
            continue
        followed += 1
        segment = _Segment()
        ends = unroll(here, segment)
        whole.rounding += ends.rounding
        whole.bound += ends.bound
        whole.shared += ends.shared[: 12 - len(whole.shared)]
        forks: dict[str, list[Node]] = defaultdict(list)
        for leaf in ends.leaves:
            if leaf.op is not None and id(leaf.op) in segment.forked:
                forks[_module(leaf)].append(leaf)
            else:
                groups[_outside(path, leaf)].append(leaf.terms)
        for _, value in ends.constants:
            groups[" → ".join(path) or "straight from the loss"].append(np.array([value]))
        for module, nodes in forks.items():
            value = sum(float(node.terms.sum()) for node in nodes)
            onwards = [(node.cells, node.at, node.weight) for node in nodes]
            size = abs(value) if math.isfinite(value) else math.inf
            heapq.heappush(todo, (-size, next(count), (*path, module), onwards))
    return groups, whole


class _Segment:
    """Unrolls from one fork to the next.

    Attributes:
        forked: the operations whose results were added up at the forks that were met.
    """

    def __init__(self) -> None:
        self.forked: set[int] = set()

    def __call__(self, node: Node) -> bool:
        op = node.op
        if op is None or id(op) in self.forked:
            return False
        if op.phase == "backward" and op.name == "add":
            for ref in flatten(list(op.args), Ref):
                writer = ref.version.writer
                if writer is not None and writer.name != "add" and writer.phase == "backward":
                    self.forked.add(id(writer))
        return op.phase != "forward"


def _module(leaf: Node) -> str:
    op = leaf.op
    assert op is not None
    return (op.forward.module if op.forward is not None else op.module) or op.name


def _outside(path: tuple[str, ...], leaf: Node) -> str:
    if leaf.op is None:
        return "(before this step)"
    return " → ".join(path) or "straight from the loss"
