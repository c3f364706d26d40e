"""Paths: by which modules a gradient came back from the loss.

Where a tensor was used several times, autograd adds up what each use sent back. Each such sum is a
fork: a path is the list of the modules that were taken at the forks. Their contributions add up to
the gradient; as there can be very many of them, the largest are followed and the others are left
where they forked, with "…" at their end.

In a large model that takes minutes. Given a time, examples of the batch are followed while it
lasts, those that account for most first; what the others account for is one row, so that the rows
still add up to the number.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from whence.why.attribution.boundary import Boundary
from whence.why.receipts.followed import Node
from whence.why.receipts.unroll import Unrolled, normal, unroll
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import flatten
from whence.why.rules.opening import Cells

if TYPE_CHECKING:
    from whence.why.trace import Trace

_FOLLOWED = 64  # how many paths are taken on from a fork

Start = list[tuple[Cells, Index, np.ndarray]]
Groups = dict[str, list[np.ndarray]]


def paths(start: Start) -> tuple[Groups, Unrolled]:
    """Split a gradient or an update over its paths.

    Args:
        start: tensors, places in them and weights.

    Returns:
        The terms of each path, and what the operations on the way rounded.
    """
    groups, whole = defaultdict(list), Unrolled()
    _follow(start, groups, whole, math.inf)
    return groups, whole


def paths_within(start: Start, trace: Trace, seconds: float) -> tuple[Groups, Unrolled, list[str]]:
    """Split a gradient or an update over its paths, of as many examples as there is time for.

    Args:
        start: tensors, places in them and weights.
        trace: the step.
        seconds: how long to follow; one example is followed in any case, up to its first fork.

    Returns:
        The terms of each path, what the operations rounded, and what a reader must know.
    """
    begun = time.monotonic()
    groups: Groups = defaultdict(list)
    first = {id(n.op) for cells, at, w in start for n in normal(cells, at, w)}
    stop = Boundary(trace, "example", first, start[0][0])
    whole = unroll(start, lambda node: not stop(node), stop.at_place)
    examples, rest = _by_example(trace, whole.leaves)
    _follow(rest, groups, whole, math.inf)
    for _, value in whole.constants:
        groups["straight from the loss"].append(np.array([value]))
    whole.constants = []
    order = sorted(examples, key=lambda e: -abs(_value(examples[e])))
    done, cut, taken = 0, False, 0.0
    while done < len(order) and not cut:
        left = seconds - (time.monotonic() - begun)
        if done and left <= 0:
            break
        # As many at once as there is time for, by what those before took.
        many = max(1, int(done * left / taken)) if taken > 0 else 1
        batch = [node for e in order[done : done + many] for node in examples[e]]
        started = time.monotonic()
        cut = _follow(batch, groups, whole, begun + seconds)
        taken += time.monotonic() - started
        done = min(done + many, len(order))
    missing = order[done:]
    notes = []
    if missing:
        label = f"({len(missing):,} other examples, not followed)"
        groups[label] = [weight * c.gather(at) for e in missing for c, at, weight in examples[e]]
    if missing or cut:
        s = "" if done == 1 else "s"
        notes.append(
            f"sampled: the paths of {done:,} example{s} of {len(order):,}, those that account for "
            f"most, were followed for {seconds:g} s; --seconds gives it more"
        )
    return groups, whole, notes


def _by_example(trace: Trace, leaves: list[Node]) -> tuple[dict[int, Start], Start]:
    """Tell apart by example where the gradient goes on; and what belongs to none."""
    examples: dict[int, Start] = defaultdict(list)
    rest: Start = []
    for leaf in leaves:
        place = trace.labels.place(leaf.cells, leaf.at)
        weight = np.broadcast_to(leaf.weight, leaf.at.shape)
        if leaf.op is None or place.example is None:
            rest.append((leaf.cells, leaf.at, weight))
            continue
        for example in np.unique(place.example):
            here = place.example == example
            examples[int(example)].append((leaf.cells, leaf.at[here], weight[here]))
    return examples, rest


def _value(start: Start) -> float:
    return sum(float((weight * cells.gather(at)).sum()) for cells, at, weight in start)


def _follow(start: Start, groups: Groups, whole: Unrolled, until: float) -> bool:
    """Follow a weighted sum along its paths; whether time cut that short."""
    count = itertools.count()
    todo: list[tuple[float, int, tuple[str, ...], Start]] = [(0.0, next(count), (), start)]
    followed, cut = 0, False
    while todo:
        _, _, path, here = heapq.heappop(todo)
        late = followed > 0 and time.monotonic() > until
        if followed >= _FOLLOWED or late:
            cut = cut or late
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
    return cut


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
