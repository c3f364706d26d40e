"""How a hidden unit of a small network died: when, and which update did it."""

import math
from dataclasses import dataclass, field
from typing import Any

from whence.models.small.mlp import MLP
from whence.play.engines import Parts
from whence.receipt import Receipt
from whence.scalar.dead import Snapshot, cause, culprit
from whence.scalar.matrix import values_of


@dataclass
class Death:
    """A hidden unit that shut for every sample: where, when, and what did it."""

    layer: int
    unit: int
    epoch: int
    sample: int
    receipt: Receipt
    gradient: Receipt
    moved: str
    overshot: str


@dataclass
class Outcome:
    """What a run of the network came to."""

    epochs: list[float] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    born_dead: set[tuple[int, int]] = field(default_factory=set)
    predictions: list[list[float]] = field(default_factory=list)
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def last(self) -> float:
        """The last epoch's loss, infinite where it isn't finite."""
        return self.epochs[-1] if math.isfinite(self.epochs[-1]) else math.inf


def death_of(
    before: Snapshot,
    after: Snapshot,
    layer: int,
    unit: int,
    step: int,
    parts: Parts,
    latest: list[Any],
    model: MLP,
) -> Death:
    """Find which update shut a unit, from what was just before and after that update."""
    pairs, (_, targets), loss = latest
    receipt = cause(before, after, layer, unit)
    blamed = culprit(receipt).address or ""
    weight = next(p for p in values_of(model.parameters()) if p.label == blamed)
    W, b = before.layers[layer]
    now = [*(row[unit] for row in model.layers[layer][0].rows), model.layers[layer][1][0, unit]]
    was = next(
        x for x, p in zip([*(r[unit] for r in W), b[0][unit]], now, strict=True) if p is weight
    )
    return Death(
        layer + 1,
        unit + 1,
        step // len(parts) + 1,
        step % len(parts) + 1,
        receipt,
        weight.why(of=loss, depth=4),
        f"{blamed} from {was:.6g} to {weight.data:.6g}",
        f"the prediction was {row_of(pairs[-1][1].numbers())} for a target of "
        f"{row_of(targets.numbers())}",
    )


def is_better(again: Outcome, was: Outcome) -> bool:
    """Return whether a rerun is a cure: a finite loss below the other's, and no more deaths."""
    return again.last < was.last and len(again.deaths) <= len(was.deaths)


def row_of(rows: list[list[float]]) -> str:
    """The rows of a matrix in one line, the first twelve of them."""
    shown = [", ".join(f"{x:.4f}" for x in row) for row in rows[:12]]
    return "  ".join(shown) + (f"  … ({len(rows)})" if len(rows) > 12 else "")
