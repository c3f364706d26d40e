"""The first number of a step that isn't finite: where a NaN or an infinity that did harm came from.

From what failed (the loss, a gradient, an updated parameter) its operands that aren't finite are
followed back, each to the operation that made it, until one is reached that finite numbers went
into. An infinity that was meant is passed over: attention masks with −∞.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.receipt import Receipt
from whence.receipt.figures import finite
from whence.why.recording.memories import UNWRITTEN
from whence.why.recording.recorder import Recorder
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Call, Op, flatten
from whence.why.rules.open import open_element
from whence.why.rules.opening import Cells, Factor, Part

if TYPE_CHECKING:
    from whence.why.trace import Trace

__all__ = ["FirstBad", "first_bad"]

_FOLLOWED = 64  # operands of one number that are followed
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FirstBad:
    """The first number of a step that isn't finite.

    Attributes:
        receipt: its terms.
        place: the token at which it was met; "" where that isn't known.
        others: how many other numbers of the same tensor aren't finite.
        places: the tokens of some of these.
        reached: the names of the tensors on the way from it to what failed, in that order.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> x = torch.tensor([4.0, -1.0], requires_grad=True)
        >>> found: FirstBad = first_bad(trace(lambda: x.sqrt().sum().backward()))
        >>> found.others
        0
    """

    receipt: Receipt
    place: str
    others: int
    places: tuple[str, ...]
    reached: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""
        return finite({
            "schema": 1, "receipt": self.receipt.to_dict(), "place": self.place,
            "others": self.others, "places": list(self.places), "reached": list(self.reached),
        })  # fmt: skip

    def lines(self) -> list[str]:
        """Return what follows the receipt, line by line."""
        found = [f"met at {self.place}"] if self.place else []
        if self.others:
            are = "number of the same tensor isn't" if self.others == 1 else (
                "numbers of the same tensor aren't"
            )  # fmt: skip
            where = f": {'; '.join(self.places)}" if self.places else ""
            more = "; …" if self.others > len(self.places) > 0 else ""
            found.append(f"{self.others:,} more {are} finite{where}{more}")
        names = list(self.reached)
        if len(names) > 2 * _SHOWN:
            names = [*names[:_SHOWN], f"({len(names) - 2 * _SHOWN} more)", *names[-_SHOWN:]]
        return [*found, "it reached: " + " → ".join(names)] if names else found

    def __str__(self) -> str:
        return "\n".join([*self.receipt.lines(), *(f"  {line}" for line in self.lines())])


def first_bad(trace: Trace, top: int = 8) -> FirstBad | None:
    """Find the first number of a step that isn't finite, of those that led to its failure.

    Args:
        trace: the step.
        top: how many of its terms are listed.

    Returns:
        The number with its operands and tokens; `None` where loss, gradients, parameters and
        moments are all finite.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> x = torch.tensor([4.0, -1.0], requires_grad=True)
        >>> def step():
        ...     root = x.sqrt()
        ...     loss = (3 * root).sum()
        ...     loss.backward()
        >>> first_bad(trace(step)).receipt.address
        'root[1]'
    """
    for cells in _what_counts(trace):
        places = _bad(cells, 1)
        if len(places):
            return _told(trace, _back(trace, cells, int(places[0])), top)
    return None


def is_not_finite(recorder: Recorder) -> bool:
    """Tell whether a loss or a gradient isn't finite, or a NaN was made."""
    counts = [*recorder.gradients.losses, *(its for _, its in recorder.gradients.pairs)]
    return any(len(_bad(ref, 1)) for ref in counts) or any(_nans(recorder.ops))


def _what_counts(trace: Trace) -> Iterator[Cells]:
    """The loss, the gradients in the order they came back, and what the update left behind."""
    yield from trace.losses
    yield from trace.gradients
    yield from trace.afters
    if trace.refused:  # perhaps before anything of these was there
        yield from _nans(trace.ops)


def _nans(ops: list[Op]) -> Iterator[Ref]:
    """What the operations made that holds a NaN."""
    for op in ops:
        if not op.alias and op.name not in UNWRITTEN:
            for ref in op.outputs:
                if ref is not None and any(math.isnan(_value(ref, int(i))) for i in _bad(ref, 1)):
                    yield ref


def _bad(cells: Cells, most: int | None = None) -> np.ndarray:
    """List the places of a tensor that aren't finite, NaN ahead of infinities."""
    tensor = cells.tensor().detach()
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return np.zeros(0, dtype=np.int64)
    flat = tensor.reshape(-1)
    bad = (~flat.isfinite()).nonzero()[:, 0]
    order = (~flat[bad].isnan()).int().argsort(stable=True)
    return bad[order][:most].numpy(force=True)


@dataclass(slots=True)
class _Link:
    """A number that isn't finite.

    Attributes:
        cells: the tensor that contains it.
        at: its place there.
        harmless: it is an infinity that was meant, unless an operand turns out not to be.
        operands: those of its operands that aren't finite, the one to follow first (NaN, the
            earliest made) last.
    """

    cells: Cells
    at: int
    harmless: bool
    operands: list[tuple[Cells, int]]


def _back(trace: Trace, cells: Cells, at: int) -> list[_Link]:
    """Follow a number back, depth first: the chain from it to the first that isn't finite."""
    chain, seen = [_link(trace, cells, at)], set[tuple[int, int]]()
    whole = chain[:]
    while chain:
        link = chain[-1]
        if link.operands:
            operand = link.operands.pop()
            key = id(operand[0]), operand[1]
            if key not in seen:
                seen.add(key)
                chain.append(_link(trace, *operand))
        elif link.harmless:
            chain.pop()
        else:
            return chain
    return whole


def _link(trace: Trace, cells: Cells, at: int) -> _Link:
    opened, call = open_element(cells, at)
    infinite = math.isinf(_value(cells, at))
    if call is None:
        return _Link(cells, at, infinite and trace.name_of(cells) not in trace.parameters, [])
    if opened is None:
        refs = flatten(list(call.values.values()), Ref)
        found = [(ref, int(i)) for ref in refs for i in _bad(ref, _FOLLOWED)]
    else:
        found = [
            (factor.cells, i)
            for part in opened.parts
            for factor in (*part.factors, *part.shared)
            for i in _spoiled(part, factor)
        ]
    found.sort(key=lambda f: (math.isnan(_value(*f)), -f[0].ordinal, -f[1]))
    return _Link(cells, at, infinite and (bool(found) or _filled(call)), found)


def _spoiled(part: Part, factor: Factor) -> list[int]:
    """The places of a factor that aren't finite, of those that a term is made of."""
    bad = ~np.isfinite(factor.values)
    if part.valid is not None and factor not in part.shared:
        bad = bad & part.valid
    at = np.broadcast_to(factor.at, bad.shape)
    return [int(i) for i in np.unique(at[bad])[:_FOLLOWED]]


def _filled(call: Call) -> bool:
    """Whether an infinity was handed to the operation as a plain number."""
    numbers = flatten(list(call.values.values()), float)
    return any(math.isinf(number) for number in numbers)


def _value(cells: Cells, at: int) -> float:
    return float(cells.gather(np.array([at]))[0])


def _told(trace: Trace, chain: list[_Link], top: int) -> FirstBad:
    """Write down what was found."""
    first = chain[-1]
    number = trace.number_at(first.cells, first.at)
    others = [int(i) for i in _bad(first.cells) if i != first.at]
    words = (trace.labels.describe(first.cells, i) for i in others[:_FOLLOWED])
    places = tuple(dict.fromkeys(w for w in words if w))[:_SHOWN]
    own = trace.name_of(first.cells)
    names = [trace.name_of(link.cells) for link in reversed(chain)]
    reached = tuple(name for name in dict.fromkeys(names) if name != own)
    # A weight has no token: the first number made of it does.
    words = (trace.labels.describe(link.cells, link.at) for link in reversed(chain))
    place = next((w for w in words if w), "")
    return FirstBad(number.why(top=top), place, len(others), places, reached)
