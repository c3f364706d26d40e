"""Forms of rules that say which input an element is, or count and look up without rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call, flatten, replace
from whence.why.rules.forms.again import run, whole
from whence.why.rules.forms.positions import column
from whence.why.rules.opening import Factor, Opened, Part, Rule


def moves(words: str, *names: str, fill: str = "") -> Rule:
    """Make the rule of an operation that only moves elements, by running it on their positions.

    Args:
        words: the operation.
        names: the inputs whose elements it moves.
        fill: the argument that it fills the rest with, 0 otherwise.
    """

    def opened(call: Call, at: Index) -> Opened:
        sources = [ref for name in names for ref in flatten(call[name], Ref)]
        ends = np.cumsum([0, *(ref.numel for ref in sources)])
        numbers = call.op.remember(f"moves {call.slot}", lambda: _positions(call, names, fill))
        from_ = numbers[at]
        parts = []
        for ref, start, end in zip(sources, ends[:-1], ends[1:], strict=True):
            inside = (from_ > start) & (from_ <= end)
            if inside.any():
                where = np.where(inside, from_ - start - 1, 0)
                parts.append(Part("x", (Factor(ref, column(where), "x"),), valid=column(inside)))
        if fill or not parts:
            value = call.get(fill)
            value = float(value.gather(np.zeros(1, int))[0]) if isinstance(value, Ref) else value
            filled = np.where(from_ == 0, float(value or 0), 0.0)
            parts.append(Part("the value put here", value=column(filled)))
        return Opened(words, parts, roundings=0, exact=not fill)

    return opened


def _positions(call: Call, names: Sequence[str], fill: str) -> Index:
    """Run the operation on the positions of its sources, from 1; 0 where nothing is moved to."""
    given, count = {}, 1

    def numbered(ref: Ref) -> Tensor:
        nonlocal count
        count += ref.numel
        line = torch.arange(count - ref.numel, count, dtype=torch.float64)
        return line.reshape(ref.size)

    for name, value in call.values.items():
        given[name] = replace(value, Ref, numbered if name in names else Ref.tensor)
        if name == fill:
            given[name] = torch.zeros((), dtype=torch.float64) if isinstance(value, Ref) else 0
    with torch.no_grad():
        moved = run(call, given)[call.slot]
    assert moved is not None
    return moved.reshape(-1).to(torch.int64).numpy()


def recounted(words: str, *names: str) -> Rule:
    """Make the rule of an operation that counts, compares or looks up: exact, and run once more.

    Args:
        words: the operation.
        names: the inputs that count, all of each.
    """

    def opened(call: Call, at: Index) -> Opened:
        given = {n: replace(v, Ref, lambda r: r.tensor().clone()) for n, v in call.values.items()}
        with torch.no_grad():
            result = run(call, given)[call.slot]
        assert result is not None
        values = result.reshape(-1)[torch.from_numpy(np.asarray(at))].double().numpy(force=True)
        part = Part(words, value=column(values), shared=whole(call, names, at))
        return Opened(words, [part], exact=True, recomputed=True)

    return opened


def picked(words: str, source: str = "self", *, place: Callable[[Call, Index], Index]) -> Rule:
    """Make the rule of an operation that returns elements, and where it found them.

    Args:
        words: the operation.
        source: the input that elements are taken of.
        place: (call, positions in the output) → positions in the source.
    """
    where = recounted(f"where: {words}", source)

    def opened(call: Call, at: Index) -> Opened:
        if call.slot:
            return where(call, at)
        factor = Factor(call[source], column(place(call, at)), "x")
        return Opened(words, [Part("x", (factor,))], roundings=0, exact=True)

    return opened


def by_slot(*rules: Rule) -> Rule:
    """Make the rule of an operation whose outputs each have their own; the last serves the rest."""

    def opened(call: Call, at: Index) -> Opened:
        return rules[min(call.slot, len(rules) - 1)](call, at)

    return opened
