"""From a token that accounts for part of a number to each of its places in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import WhenceError
from whence.why.attribution.boundary import Boundary
from whence.why.attribution.paths import paths
from whence.why.receipts.unroll import normal, unroll
from whence.why.receipts.update import Update
from whence.why.receipts.whole import Whole
from whence.why.rules.opening import Cells

if TYPE_CHECKING:
    from whence.why.number import Number

Start = list[tuple[Cells, np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One place of a token in the batch, and what it accounts for.

    Attributes:
        example: which example.
        position: where in its window.
        value: Σ of its terms, in the unit of the number.
        where: the line of the training text, the token marked in it; "" where that isn't known.
        start: its terms as gradients and weights, which `by_path` follows back to the loss.
    """

    example: int
    position: int
    value: float
    where: str
    start: Start

    def by_path(self) -> list[tuple[str, float]]:
        """Split its value over the modules by which the gradient came back, the largest first."""
        groups, _ = paths(self.start)
        sums = [(label, sum(float(t.sum()) for t in terms)) for label, terms in groups.items()]
        return sorted((s for s in sums if s[1]), key=lambda s: -abs(s[1]))


def occurrences(number: Number, token: str) -> list[Occurrence]:
    """Find a token's places in the batch, each with its part of a number.

    Args:
        number: a gradient or an update.
        token: as `Attribution` by token labels it, such as `"'e'"`.

    Returns:
        The places, the largest part first; they add up to the token's share.

    Raises:
        WhenceError: the number isn't made of tokens of the batch.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> table, tokens = torch.nn.Embedding(5, 2), torch.tensor([[1, 3, 1]])
        >>> def step():
        ...     table(tokens).sum().backward()
        >>> found = occurrences(trace(step).number("weight[1,0].grad"), "token 1")
        >>> [(o.position, o.value) for o in found]
        [(0, 1.0), (2, 1.0)]
    """
    trace, labels, at = number.trace, number.trace.labels, np.array([number.at])
    start: Start = [(number.ref, at, np.ones(1))]
    if isinstance(number.ref, Update | Whole):
        start = list(number.ref.start(at))
    first = {id(n.op) for cells, i, w in start for n in normal(cells, i, w)}
    stop = Boundary(trace, "token", first, start[0][0])
    places: dict[tuple[int, int], Start] = {}
    for leaf in unroll(start, lambda node: not stop(node), stop.at_place).leaves:
        place = labels.place(leaf.cells, leaf.at)
        if leaf.op is None or place.token is None or place.example is None:
            continue
        assert place.position is not None
        same = np.array([labels.text(int(i)) == token for i in place.token])
        for e, p in {
            *zip(place.example[same].tolist(), place.position[same].tolist(), strict=True)
        }:
            here = same & (place.example == e) & (place.position == p)
            weight = np.broadcast_to(leaf.weight, leaf.at.shape)[here]
            places.setdefault((e, p), []).append((leaf.cells, leaf.at[here], weight))
    if not places:
        raise WhenceError(f"{token} accounts for nothing of {number.address}.")
    found = [
        Occurrence(e, p, _total(terms), labels.stands(e, p), terms)
        for (e, p), terms in places.items()
    ]
    return sorted(found, key=lambda o: (-abs(o.value), o.example, o.position))


def _total(start: Start) -> float:
    return sum(float((weight * cells.gather(at)).sum()) for cells, at, weight in start)
