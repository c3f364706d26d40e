"""The life of one weight over the steps that a watched run has stored."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.receipt.figures import finite
from whence.watch.again.past import Past
from whence.watch.again.reopen import open_step, stored_steps
from whence.why import Address, Attribution
from whence.why.address import unknown


@dataclass(frozen=True, slots=True)
class Change:
    """What one stored step did to the weight.

    Attributes:
        number: the step.
        before: the weight before it.
        after: after it.
    """

    number: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A step that changed the weight much, opened.

    Attributes:
        step: which.
        change: what it added.
        attributions: the update by token and by where in the data set; by example where there
            are none.
    """

    step: int
    change: float
    attributions: tuple[Attribution, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """A weight over the stored steps: last = first + Σ changes + residual, where none is missing.

    Attributes:
        address: the weight's.
        steps: the stored steps, in order.
        gaps: some steps between them aren't stored.
        residual: last − (first + Σ changes), added without rounding; 0 where there are gaps.
        turns: the steps with the largest changes, opened, the largest first.
    """

    address: str
    steps: tuple[Change, ...]
    gaps: bool
    residual: float
    turns: tuple[Turn, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""
        return finite({
            "schema": 1, "address": self.address, "gaps": self.gaps, "residual": self.residual,
            "steps": [{"step": s.number, "before": s.before, "after": s.after} for s in self.steps],
            "turns": [
                {
                    "step": t.step,
                    "change": t.change,
                    "attributions": [a.to_dict() for a in t.attributions],
                }
                for t in self.turns
            ],
        })  # fmt: skip


def story(run: Path, address: str, built: Any, largest: int = 3) -> Story:
    """Tell it.

    Args:
        run: the run's folder.
        address: an element of a parameter, such as `embed.weight[3,7]`.
        built: what builds it, as `open_step` takes it.
        largest: how many of the largest changes are opened.

    Raises:
        WhenceError: the address isn't an element of a parameter, or no step is stored.
    """
    numbers = stored_steps(run)
    if not numbers:
        open_step(run, None, built)  # says that there are none
    steps = tuple(_change(open_step(run, n, built)[0], address) for n in numbers)
    gaps = any(b.number != a.number + 1 for a, b in itertools.pairwise(steps))
    changes = [s.after - s.before for s in steps]
    residual = 0.0
    if not gaps:
        residual = math.fsum([steps[-1].after, -steps[0].before, *(-c for c in changes)])
    order = sorted(steps, key=lambda s: -abs(s.after - s.before))[:largest]
    turns = tuple(_turn(open_step(run, s.number, built)[0], s, address) for s in order)
    return Story(address, steps, gaps, residual, turns)


def _change(past: Past, address: str) -> Change:
    number, index = _weight(past, address)
    before = float(past.state_before().parameters[number][index])
    after = float(past.redo().copies.parameters[number].detach()[index])
    return Change(past.step.number, before, after)


def _weight(past: Past, address: str) -> tuple[int, tuple[int, ...]]:
    parsed = Address.parse(address)
    if parsed.name not in past.world.names:
        raise unknown(parsed.name, past.world.names, "The model has no weight")
    number = past.world.names.index(parsed.name)
    shape = past.world.shapes[number]
    index = tuple(i for i in parsed.index or () if isinstance(i, int))
    inside = all(-s <= i < s for i, s in zip(index, shape, strict=False))
    if parsed.quantity or len(index) != len(shape) or not inside:
        raise WhenceError(
            f"{address!r} isn't an element of {parsed.name}, whose shape is {[*shape]}: give "
            f"{len(shape)} indices alone."
        )
    return number, index


def _turn(past: Past, change: Change, address: str) -> Turn:
    update = past.trace().number(address).update
    ways = ("token", "where") if past.rows else ("token", "example")
    attributions = []
    for by in ways:
        try:
            attributions.append(update.attribution(by))
        except WhenceError:  # such as a model without tokens
            continue
    return Turn(change.number, change.after - change.before, tuple(attributions))
