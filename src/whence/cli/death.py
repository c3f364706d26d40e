"""How a hidden unit of `whence net` died: when, and which update did it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from whence.cli.engines import Parts
from whence.models.small.mlp import MLP
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
        """The last epoch's loss, infinite where it is no number any more."""
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
    """Find which update shut a unit, from what was just before and behind that update."""
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


def tell(death: Death, rate: float, say: Callable[[str], None]) -> None:
    """Say when a unit died, and open what did it."""
    name = death.receipt.address
    say(
        f"\nunit {death.unit} of hidden layer {death.layer} died at sample {death.sample} of epoch "
        f"{death.epoch}: behind that update its pre-activation {name} is below 0 for every sample, "
        "so relu lets nothing through, its gradients are 0, and "
        + (
            "its weights never move again."
            if death.layer == 1
            else "its weights stay until what it reads opens it again."
        )
    )
    for line in death.receipt.lines():
        say(f"  {line}")
    say(
        f"  most of it is one update, {death.moved}: rate {rate:g} · gradient "
        f"{death.gradient.value:.6g}, which is arriving gradient · local slope = "
        f"{' + '.join(term.detail for term in death.gradient.terms[:4])}; {death.overshot}"
    )


def is_better(again: Outcome, was: Outcome) -> bool:
    """Return whether a rerun is a cure: a finite loss below the other's, and no more deaths."""
    return again.last < was.last and len(again.deaths) <= len(was.deaths)


def told_of(again: Outcome, rate: float, epochs: int, better: bool) -> str:
    """Say what a rerun came to."""
    alive = "no unit dies" if not again.deaths else "a unit still dies"
    found = (
        f"{alive}, the last epoch's loss is {again.epochs[-1]:.3g}, predictions "
        f"{row_of(again.predictions)}"
    )
    if better:
        return f"rerun with rate {rate:g}, {epochs} epochs, nothing else changed: {found}"
    return (
        f"no smaller rate is a cure here; the best, {rate:g} over {epochs} epochs: {found}. "
        "Try other first weights (--seed), more units (--hidden) or --activation tanh."
    )


def row_of(rows: list[list[float]]) -> str:
    """The rows of a matrix in one line, the first twelve of them."""
    shown = [", ".join(f"{x:.4f}" for x in row) for row in rows[:12]]
    return "  ".join(shown) + (f"  … ({len(rows)})" if len(rows) > 12 else "")
