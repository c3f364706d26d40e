"""Two runs side by side: what differs in their recipes, and what came of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from whence.runs.run import Run
from whence.runs.settings import differences


@dataclass(frozen=True)
class Comparison:
    """What two runs share and where they part.

    Attributes:
        recipe: (field, one's value, other's value), for the fields that differ.
        first_difference: the first step whose recorded losses differ; None where none does as far
            as both go.
        shared: how many steps both have done.
        curves: (step, one's loss, other's), thinned to some points, each a mean of steps up to it.
        bits_per_byte: the lowest of each on its validation text; None where none was measured.
        last_bits_per_byte: the last of each.
        samples: the last that each wrote; None where it wrote nothing.
        origin: where one is a fork of the other, a sentence that says so.
        same_text: both have the same tokens, so that their losses compare.
    """

    recipe: list[tuple[str, Any, Any]]
    first_difference: int | None
    shared: int
    curves: list[tuple[int, float | None, float | None]]
    bits_per_byte: tuple[float | None, float | None]
    last_bits_per_byte: tuple[float | None, float | None]
    samples: tuple[str | None, str | None]
    origin: str | None
    same_text: bool


def compare(a: Run, b: Run, points: int = 12) -> Comparison:
    """Compare two runs.

    Args:
        a: one.
        b: the other.
        points: rows of the curves.

    Raises:
        WhenceError: where a record is damaged.

    Example:
        >>> compare(Run.open("runs/mine"), Run.open("runs/half")).first_difference  # doctest: +SKIP
        4301
    """
    one, other = a.steps.column("loss"), b.steps.column("loss")
    shared = min(len(one), len(other))
    apart = np.flatnonzero(one[:shared].view(np.int64) != other[:shared].view(np.int64))
    return Comparison(
        recipe=differences(a.recipe.to_dict(), b.recipe.to_dict()),
        first_difference=int(apart[0]) if len(apart) else None,
        shared=shared,
        curves=curves(one, other, points),
        bits_per_byte=(_bits(a, min), _bits(b, min)),
        last_bits_per_byte=(_bits(a, lambda values: values[-1]), _bits(b, lambda v: v[-1])),
        samples=(_sample(a), _sample(b)),
        origin=_origin(a, b) or _origin(b, a),
        same_text=a.dataset.tokens_sha256 == b.dataset.tokens_sha256,
    )


def curves(
    one: np.ndarray, other: np.ndarray, points: int
) -> list[tuple[int, float | None, float | None]]:
    """Thin the losses of two runs, [N] each, to the means of so many stretches of steps.

    Returns:
        (the stretch's end, one's mean loss, other's); none where a run has no such steps.

    Example:
        >>> curves(np.array([4.0, 2.0, 1.0]), np.array([4.0]), 2)
        [(2, 3.0, 4.0), (3, 1.0, None)]
    """
    length = max(len(one), len(other))
    ends = sorted({round(length * k / points) for k in range(1, points + 1)} - {0})

    def mean(losses: np.ndarray, start: int, stop: int) -> float | None:
        return float(losses[start:stop].mean()) if start < len(losses) else None

    starts = [0, *ends[:-1]]
    return [(e, mean(one, s, e), mean(other, s, e)) for s, e in zip(starts, ends, strict=True)]


def _bits(run: Run, pick) -> float | None:
    values = [e["bits_per_byte"] for e in run.evals if not e["whole"]]
    return pick(values) if values else None


def _sample(run: Run) -> str | None:
    samples = run.samples
    return samples[-1]["text"] if samples else None


def _origin(child: Run, parent: Run) -> str | None:
    origin = child.origin
    if origin is None or origin.run != str(parent.path):
        return None
    changes = "; ".join(origin.changes) or "nothing changed"
    made = "forked from" if origin.how == "fork" else "started from the weights of"
    return f"{child.name} was {made} {parent.name} at step {origin.step}: {changes}"
