"""Unrolling: a number written as a weighted sum of numbers made long before it.

Every operation opened on the way is a sum of products. Of each product one factor is followed, and
the others weigh it: a norm's denominator, an attention weight, Adam's √v̂ are shared by all terms.
The sum stays exact; what the operations' own roundings took or added is kept apart.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from whence.why.receipts.followed import Node, added_up, dense_product, followed
from whence.why.receipts.layout.axes import spread
from whence.why.recording.recomputed import Recomputed
from whence.why.recording.storage import Index, Ref
from whence.why.rules.open import open_call
from whence.why.rules.opening import Cells, Factor, Opened, Part, bound, difference

_TERMS_AT_ONCE = 1 << 21
_PIECES = 8


@dataclass(slots=True)
class Unrolled:
    """A number as a sum over leaves.

    Attributes:
        leaves: where the unrolling stopped; their terms add up to the number.
        constants: (words, value): terms that no tensor enters.
        rounding: Σ of what the operations on the way rounded, each with its weight.
        bound: how large that can be by rounding alone.
        shared: single numbers that weighed what was followed, by the order they were met.
        recomputed: some of it was computed again.
    """

    leaves: list[Node] = field(default_factory=list)
    constants: list[tuple[str, float]] = field(default_factory=list)
    rounding: float = 0.0
    bound: float = 0.0
    shared: list[tuple[Cells, int]] = field(default_factory=list)
    recomputed: bool = False


def unroll(
    start: list[tuple[Cells, Index, np.ndarray]],
    into: Callable[[Node], bool],
    ends: Callable[[Cells, Index], bool] = lambda cells, at: False,
) -> Unrolled:
    """Open a weighted sum of elements again and again.

    Args:
        start: tensors, places in them and weights.
        into: whether to open these elements further; what cannot be opened stays a leaf.
        ends: whether to stop at these elements of a tensor that is one number, spread out: in
            memory its elements are one and the same.
    """
    result = Unrolled()
    queue: list[tuple[float, int, object]] = []
    waiting: dict[object, list[Node]] = {}
    count = itertools.count()

    def push(node: Node) -> None:
        key = (
            (id(node.op), node.call.slot)
            if node.call and isinstance(node.cells, Ref)
            else (id(node.cells) if isinstance(node.cells, Recomputed) else id(_memory(node.cells)))
        )
        if key not in waiting:
            waiting[key] = []
            heapq.heappush(queue, (-node.cells.ordinal, next(count), key))
        waiting[key].append(node)
        if len(waiting[key]) > _PIECES:  # so that many pieces don't outgrow the tensor itself
            waiting[key] = [_joined(waiting[key]).merged()]

    for cells, at, weight in start:
        for node in normal(cells, at, weight):
            push(node)
    while queue:
        _, _, key = heapq.heappop(queue)
        nodes = waiting.pop(key)
        node = _joined(nodes).merged()
        if not len(node.at):
            continue
        one = _opened(Node(node.cells, node.at[:1], node.weight[:1], node.call))
        if one is None or not into(node):
            result.leaves.append(node)
            continue
        product = dense_product(node, one)
        if product is not None:
            result.rounding += product.rounding
            result.bound += product.bound
            for following in normal(product.cells, product.at, product.weight):
                push(following)
            continue
        step = max(1, _TERMS_AT_ONCE // max(one.total(1)[2], 1))
        for begin in range(0, len(node.at), step):
            some = slice(begin, begin + step)
            piece = Node(node.cells, node.at[some], node.weight[some], node.call)
            opened = _opened(piece)
            assert opened is not None
            for cells, at, weight in _open(piece, opened, result):
                if isinstance(cells, Ref) and spread(cells) and ends(cells, at):
                    call = normal(cells, at[:1], weight[:1])[0].call
                    result.leaves.append(Node(cells, at, weight, call))
                else:
                    for following in normal(cells, at, weight):
                        push(following)
    return result


def _memory(cells: Cells) -> object:
    return cells.version.memory if isinstance(cells, Ref) else cells


def _joined(nodes: list[Node]) -> Node:
    first = nodes[0]
    at, weight = [first.at], [first.weight]
    for node in nodes[1:]:
        same = node.cells is first.cells or not isinstance(node.cells, Ref)
        at.append(node.at if same else _moved(node, first.cells))
        weight.append(node.weight)
    return Node(first.cells, np.concatenate(at), np.concatenate(weight), first.call)


def _moved(node: Node, to: Cells) -> Index:
    """Places, within another view of the same memory, of a node's elements."""
    assert isinstance(node.cells, Ref)
    assert isinstance(to, Ref)
    return to.locate(node.cells.places(node.at))


def normal(cells: Cells, at: Index, weight: np.ndarray) -> list[Node]:
    """Find the operations that made some elements, through views and partial writes."""
    if not isinstance(cells, Ref):
        call = cells.call if isinstance(cells, Recomputed) else None
        return [Node(cells, at, weight, call)]
    nodes = []
    for op, slot, where, which in cells.writers(at):
        if op is not None:
            output = op.outputs[slot]
            assert output is not None
            nodes.append(Node(output, where, weight[which], op.call(slot)))
            continue
        original = cells.version.stands_for
        if original is not None:
            nodes += normal(original, where, weight[which])
        else:
            whole = _whole(cells)
            nodes.append(Node(whole, whole.locate(cells.places(at[which])), weight[which], None))
    return nodes


def _whole(cells: Ref) -> Ref:
    """The best named tensor over the memory as it was before the step."""
    version = cells.version.memory.versions[0]
    named = [n for n in version.names if n[2].numel >= cells.numel]
    return min(named, key=lambda n: n[0])[2] if named else cells


def _opened(node: Node) -> Opened | None:
    if isinstance(node.cells, Recomputed):
        return node.cells.open(node.at)
    return None if node.call is None else open_call(node.call, node.at)


def _open(node: Node, opened: Opened, result: Unrolled) -> list[tuple[Cells, Index, np.ndarray]]:
    count = len(node.at)
    total, size, number = opened.total(count)
    stored = node.cells.gather(node.at)
    apart = difference(stored, total, size, node.cells.dtype)
    limit = bound(opened, node.cells.dtype, total, size, number)
    with np.errstate(all="ignore"):
        result.rounding += float((node.weight * apart).sum())
        result.bound += float((np.abs(node.weight) * limit).sum())
    result.recomputed = result.recomputed or opened.recomputed
    found: list[tuple[Cells, Index, np.ndarray]] = []
    for part in opened.parts:
        _note_shared(part, node, result)
        if not part.factors or (part.value is not None and not _is_product(part)):
            terms = np.broadcast_to(part.terms(), (count, part.terms().shape[1]))
            with np.errstate(all="ignore"):
                terms = node.weight.reshape(-1, 1) * terms
            paired = _paired(part, terms.shape[1])
            if paired is not None:
                at = np.broadcast_to(paired.at, terms.shape).reshape(-1)
                given = terms.reshape(-1)
                result.leaves.append(Node(paired.cells, at, given, node.call, given))
            elif value := float(terms.sum()):
                result.constants.append((part.symbol, value))
            continue
        chosen = followed(part, node.op)
        factor = part.factors[chosen]
        with np.errstate(all="ignore"):
            weight = node.weight.reshape(-1, 1) * np.asarray(part.coefficient, dtype=np.float64)
            for i, other in enumerate(part.factors):
                if i != chosen:
                    weight = weight * other.values
        at, weight = np.broadcast_arrays(factor.at, weight)
        if not np.isfinite(stored).all():  # 0·NaN is NaN: it is followed, where 0·x isn't
            values = np.broadcast_to(factor.values, weight.shape)
            weight = np.where((weight == 0) & ~np.isfinite(values), np.nan, weight)
        if part.valid is not None:
            at, weight, valid = np.broadcast_arrays(at, weight, part.valid)
            at, weight = at[valid], weight[valid]
        found.append((factor.cells, *added_up(at.reshape(-1), weight.reshape(-1))))
    return found


def _paired(part: Part, terms: int) -> Factor | None:
    """The tensor whose elements the terms of a function belong to, one each; `None` if none is."""
    whole = part.factors or part.shared
    return next((f for f in whole if np.asarray(f.at).shape[-1] == terms), None)


def _is_product(part: Part) -> bool:
    """Whether a part given by its values is also the product of its factors (as in `where`)."""
    product = Part(part.symbol, part.factors, part.coefficient, valid=part.valid)
    with np.errstate(invalid="ignore"):
        return bool(np.array_equal(product.terms(), part.terms(), equal_nan=True))


def _note_shared(part: Part, node: Node, result: Unrolled) -> None:
    """Remember the single numbers that weigh a term."""
    others = (
        [f for i, f in enumerate(part.factors) if i != followed(part, node.op)]
        if (part.factors)
        else []
    )
    for factor in [*others, *part.shared]:
        at = np.asarray(factor.at)
        if at.size == 1 and len(result.shared) < 12:
            element = (factor.cells, int(at.reshape(-1)[0]))
            if all(e[0] is not element[0] or e[1] != element[1] for e in result.shared):
                result.shared.append(element)
