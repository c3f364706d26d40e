"""Elements with their weights in an unrolled number, and which factor of a product is followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, Op
from whence.why.rules.opening import Cells, Factor, Opened, Part, bound, difference

_SPARSE = 16  # a stretch of more than so many elements for each place is not gone through
_DENSE = 1 << 19  # terms from which a matrix product is taken at once


@dataclass(slots=True)
class Node:
    """Some elements that one operation made, each with its weight in the unrolled number.

    Attributes:
        cells: the tensor that contains them, as the operation wrote it.
        at: their places.
        weight: what each counts for.
        call: the operation, `None` for what was there before the step.
        given: what each element contributes, where that isn't weight · value: the terms of a
            function, such as the squares that a loss adds up.
    """

    cells: Cells
    at: Index
    weight: np.ndarray
    call: Call | None
    given: np.ndarray | None = None

    @property
    def op(self) -> Op | None:
        """The recorded operation."""
        return None if self.call is None else self.call.op

    @property
    def own(self) -> np.ndarray:
        """What is followed of each element: its value, or its term where that is given."""
        return self.cells.gather(self.at) if self.given is None else self.given

    @property
    def terms(self) -> np.ndarray:
        """What each element contributes: weight · value."""
        with np.errstate(all="ignore"):
            return self.weight * self.cells.gather(self.at) if self.given is None else self.given

    def merged(self) -> Node:
        """Add up the weights of elements that were reached more than once."""
        return Node(self.cells, *added_up(self.at, self.weight), self.call)


def added_up(at: Index, weight: np.ndarray) -> tuple[Index, np.ndarray]:
    """Add up the weights of places that come more than once, and leave out what weighs nothing."""
    if np.iscomplexobj(weight):
        places, which = np.unique(at, return_inverse=True)
        real, imaginary = (
            np.bincount(which, part, len(places)) for part in (np.real(weight), np.imag(weight))
        )
        return places, real + 1j * imaginary
    low, high = (int(at.min()), int(at.max())) if len(at) else (0, 0)
    if high - low < _SPARSE * len(at):  # an array as long as that is made sooner than a sort
        sums = np.bincount(at - low, weight)
        places = np.flatnonzero(sums)
        return places + low, sums[places]
    places, which = np.unique(at, return_inverse=True)
    sums = np.bincount(which, weight, len(places))
    keep = sums != 0
    return places[keep], sums[keep]


def followed(part: Part, op: Op | None) -> int:
    """Choose the factor that a product is a share of; the others weigh it.

    In the backward pass, the gradient. Elsewhere what was made first in this
    step: an activation rather than a weight, or a cast of one, which was there before; a value
    rather than its attention weight, a momentum rather than its denominator; single numbers last.
    """
    factors = part.factors
    if len(factors) == 1:
        return 0
    if op is not None and op.phase == "backward":
        return max(range(len(factors)), key=lambda i: (factors[i].cells.carries, _age(factors[i])))
    forward = op is not None and op.phase == "forward"
    return min(range(len(factors)), key=lambda i: _rank(factors[i], forward))


def _age(factor: Factor) -> float:
    return factor.cells.ordinal


def _rank(factor: Factor, forward: bool) -> tuple[bool, bool, bool, float]:
    cells, age = factor.cells, factor.cells.ordinal
    fixed = isinstance(cells, Ref) and cells.fixed  # also a weight's cast, made in this step
    return cells.numel == 1, forward and (fixed or age < 0), forward and fixed, age


class Product(NamedTuple):
    """A matrix product taken at once.

    Attributes:
        cells: the factor that is followed.
        at: places in it.
        weight: what each counts for.
        rounding: Σ of what the product rounded, each with its weight.
        bound: how large that can be by rounding alone.
    """

    cells: Ref
    at: Index
    weight: np.ndarray
    rounding: float
    bound: float


def dense_product(node: Node, one: Opened) -> Product | None:
    """Pass weights on through a large matrix product; `None` where it isn't one.

    With y = a·b and the number Σ w·y, the followed factor a has the weights w·bᵀ, b has aᵀ·w.

    Args:
        node: elements of the product.
        one: the first of them, opened.
    """
    call = node.call
    if call is None or call.name != "mm" or node.given is not None:
        return None
    a, b = call["self"], call["mat2"]
    inner, columns = b.size
    if len(node.at) * inner < _DENSE or np.iscomplexobj(node.weight):
        return None
    rows, which = np.unique(node.at // columns, return_inverse=True)
    there = which, node.at % columns
    left = a.tensor().double().numpy(force=True)[rows]
    right = b.tensor().double().numpy(force=True)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return None  # 0·NaN is NaN: term by term
    total, size = (left @ right)[there], (np.abs(left) @ np.abs(right))[there]
    apart = difference(node.cells.gather(node.at), total, size, node.cells.dtype)
    limit = bound(one, node.cells.dtype, total, size, inner)
    weight = np.zeros((len(rows), columns))
    weight[there] = node.weight
    if followed(one.parts[0], call.op) == 0:
        cells, passed = a, weight @ right.T
        at = (rows[:, None] * inner + np.arange(inner)).reshape(-1)
    else:
        cells, passed = b, left.T @ weight
        at = np.arange(b.numel)
    flat = passed.reshape(-1)
    keep = flat != 0
    rounding = float((node.weight * apart).sum())
    return Product(
        cells, at[keep], flat[keep], rounding, float((np.abs(node.weight) * limit).sum())
    )
