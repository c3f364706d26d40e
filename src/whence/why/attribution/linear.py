"""The part of whole tensors that some places of the batch account for, through what is linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from whence.why.receipts.followed import followed
from whence.why.receipts.layout.labels import Place
from whence.why.receipts.unroll import normal
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Op
from whence.why.rules.open import open_call
from whence.why.rules.opening import Cells, Part

if TYPE_CHECKING:
    from whence.why.trace import Trace

_AT_ONCE = 1 << 21  # terms
_PRODUCTS = {"mm": ("self", "mat2"), "bmm": ("self", "mat2"), "addmm": ("mat1", "mat2"),
             "baddbmm": ("batch1", "batch2")}  # fmt: skip


class Chosen:
    """Some places of a batch.

    Args:
        trace: the step.
        chooses: (example, position) → whether it is one of them.
    """

    def __init__(self, trace: Trace, chooses: Callable[[int, int], bool]):
        self.trace, self.chooses = trace, chooses
        self._known: dict[tuple[int, int], bool] = {}

    def among(self, place: Place) -> np.ndarray | None:
        """Tell which of some numbers belong to these places; `None` if none has a place."""
        if place.example is None:
            return None
        position = place.position
        if position is None:
            if not self._wide():
                return None
            position = np.zeros_like(place.example)
        pairs = zip(place.example.tolist(), position.tolist(), strict=True)
        return np.array([self._is(e, p) for e, p in pairs], dtype=bool)

    def _is(self, example: int, position: int) -> bool:
        key = example, position
        if key not in self._known:
            self._known[key] = bool(self.chooses(example, position))
        return self._known[key]

    def _wide(self) -> bool:
        """Whether an example is one place: no window of tokens."""
        labels = self.trace.labels
        return labels.by_example or not any(part.layouts.streams for part in labels.parts)

    def all(self) -> list[tuple[int, int]]:
        """List the places of the batch."""
        found, before = [], 0
        for part in self.trace.labels.parts:
            lengths = [s.ids.shape[1] for s in part.layouts.streams] or [1]
            length = 1 if self._wide() else max(lengths)
            count = part.layouts.examples
            found += [(before + e, p) for e in range(count) for p in range(length)]
            before += count
        return found

    def places(self) -> list[tuple[int, int]]:
        """List those that are chosen."""
        return [place for place in self.all() if self._is(*place)]

    def count(self) -> int:
        """Count them."""
        return len(self.places())


class Linear:
    """Computes, for whole tensors, Σ of the terms that belong to some places of the batch.

    Of a product one factor is followed, as in `unroll`; the others are held.
    """

    def __init__(self, trace: Trace, chosen: Chosen):
        self.trace, self.chosen = trace, chosen
        self._done: dict[tuple[int, int], np.ndarray] = {}

    def of(self, cells: Cells) -> np.ndarray:
        """Return the part of each element, [numel], in float64."""
        found = np.zeros(cells.numel)
        if not isinstance(cells, Ref):
            return found
        for op, slot, where, which in cells.writers(np.arange(cells.numel)):
            if op is not None:
                found[which] = self._made(op, slot)[where]
            elif cells.version.stands_for is not None:
                found[which] = self.of(cells.version.stands_for)[where]
        return found

    def _made(self, op: Op, slot: int) -> np.ndarray:
        key = id(op), slot
        if key not in self._done:
            output = op.outputs[slot]
            assert output is not None
            if op.phase == "forward":
                self._done[key] = np.zeros(output.numel)
            elif op.name in _PRODUCTS:
                self._done[key] = self._product(op, slot)
            else:
                self._done[key] = self._opened(op, slot, output.numel)
        return self._done[key]

    def _product(self, op: Op, slot: int) -> np.ndarray:
        """A matrix product at once: β·x + α·a·b with the followed factor's part in its place."""
        call = op.call(slot)
        a, b = (call[name] for name in _PRODUCTS[op.name])
        alpha, beta = (1.0 if (x := call.get(n)) is None else float(x) for n in ("alpha", "beta"))
        one = open_call(call, np.zeros(1, dtype=np.int64))
        assert one is not None
        part = next(p for p in one.parts if len(p.factors) == 2)
        first = followed(part, op) == 0
        taken, other = (a, b) if first else (b, a)
        inside = self._contracted(taken, first)
        values = taken.tensor().double().numpy(force=True)
        if inside is not None:  # summed over places: those that aren't chosen are left out
            values = values * (inside if first else inside[:, None])
        else:
            values = self.of(taken).reshape(taken.size)
        rest = other.tensor().double().numpy(force=True)
        result = alpha * (values @ rest if first else rest @ values)
        if "self" in call.values and "self" not in _PRODUCTS[op.name] and beta:
            result = result + beta * self.of(call["self"]).reshape(call["self"].size)
        return result.reshape(-1)

    def _contracted(self, taken: Ref, first: bool) -> np.ndarray | None:
        """Which of what a product sums over belong to the chosen places, if they have places."""
        if len(taken.size) != 2:
            return None
        rows, columns = taken.size
        at = np.arange(columns) if first else np.arange(rows) * columns
        return self._inside(taken, at)

    def _inside(self, cells: Cells, at: Index) -> np.ndarray | None:
        labels = self.trace.labels
        found = self.chosen.among(labels.place(cells, at))
        if found is not None:
            return found
        nodes = normal(cells, at, np.ones(len(at)))
        if len(nodes) != 1 or nodes[0].op is None:
            return None
        return self.chosen.among(labels.place(nodes[0].cells, nodes[0].at))

    def _opened(self, op: Op, slot: int, numel: int) -> np.ndarray:
        """Any other operation, by its rule."""
        call, result = op.call(slot), np.zeros(numel)
        one = open_call(call, np.zeros(1, dtype=np.int64)) if numel else None
        if one is None:
            return result
        step = max(1, _AT_ONCE // max(one.total(1)[2], 1))
        for begin in range(0, numel, step):
            at = np.arange(begin, min(begin + step, numel))
            opened = open_call(call, at)
            assert opened is not None
            for part in opened.parts:
                result[at] += self._part(part, op, len(at))
        return result

    def _part(self, part: Part, op: Op, count: int) -> np.ndarray:
        if not part.factors:
            return np.zeros(count)
        factor = part.factors[followed(part, op)]
        if not isinstance(factor.cells, Ref):
            return np.zeros(count)
        weight = np.asarray(part.coefficient, dtype=np.float64)
        for other in part.factors:
            if other is not factor:
                weight = weight * other.values
        if part.valid is not None:
            weight = np.where(part.valid, weight, 0.0)
        at = np.asarray(factor.at)
        inside = self._inside(factor.cells, at.reshape(-1)) if at.size else None
        if inside is not None:
            own = np.where(inside.reshape(at.shape), factor.values, 0.0)
        else:
            own = self.of(factor.cells)[at]
        terms = np.broadcast_to(weight * own, (count, max(1, np.broadcast(weight, own).shape[-1])))
        return terms.sum(1)
