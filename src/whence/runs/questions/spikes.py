"""Steps that stand out: their loss or gradient norm lies far above what was usual before them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from whence.runs.run import Run

KINDS = {"loss": "loss", "grad_norm": "gradient norm"}
_WINDOW = 50  # steps before one, by which it is judged
FEWEST = 8  # steps that it takes to know what is usual
_NORMAL = 1.4826  # of the median distance from the median: σ, where a sample is normal


@dataclass(frozen=True, slots=True)
class Spike:
    """A step that stands out.

    Attributes:
        step: which.
        kind: "loss" or "grad_norm".
        value: what was recorded.
        usual: what the steps before it let expect.
        z: how many of their standard deviations it lies above that; NaN and ∞ are recorded as ∞.
    """

    step: int
    kind: str
    value: float
    usual: float
    z: float


@dataclass(frozen=True, slots=True)
class Spikes:
    """The steps of a run that stand out.

    Attributes:
        found: the spikes, the most unusual first; a step comes once for each kind.
        looked_at: how many steps were.
        threshold: from which z a step stands out.
        largest: the largest z of each kind, and its step.
    """

    found: tuple[Spike, ...]
    looked_at: int
    threshold: float
    largest: dict[str, tuple[float, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""

        def plain(x: float) -> float | str:
            return x if math.isfinite(x) else str(x)

        return {
            "schema": 1,
            "looked_at": self.looked_at,
            "threshold": self.threshold,
            "largest": {k: {"z": plain(z), "step": s} for k, (z, s) in self.largest.items()},
            "spikes": [
                {"step": s.step, "kind": s.kind, "value": plain(s.value), "usual": s.usual,
                 "z": plain(s.z)} for s in self.found
            ],
        }  # fmt: skip


def spikes(run: Run, threshold: float = 5.0) -> Spikes:
    """Find the steps of a run whose loss or gradient norm stands out.

    z = (x − line) / (1.4826 · median |x − line|), with the line through the 50 steps before: a
    robust z-score, which neither an earlier spike nor a falling loss blunts (Hampel 1974).

    Args:
        run: the run.
        threshold: from which z a step stands out.

    Raises:
        WhenceError: the run was counted, and has no steps.

    Example:
        >>> spikes(Run.open("runs/mine")).found  # doctest: +SKIP
        (Spike(step=212, kind='grad_norm', value=9.1, usual=0.8, z=31.0),)
    """
    run.refuse_counted()
    steps = run.steps
    first = run.origin.step if run.origin else 0
    found: list[Spike] = []
    largest: dict[str, tuple[float, int]] = {}
    for kind in KINDS:
        values = np.array([float(steps[i][kind]) for i in range(first, len(steps))])
        scores, usual = _scores(values)
        if len(scores) > FEWEST:
            most = int(scores.argmax())
            largest[kind] = float(scores[most]), first + most
        found += [
            Spike(first + int(i), kind, float(values[i]), float(usual[i]), float(scores[i]))
            for i in np.flatnonzero(scores >= threshold)
        ]
    found.sort(key=lambda spike: (-spike.z, spike.step))
    return Spikes(tuple(found), len(steps) - first, threshold, largest)


def _scores(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The z of each value by those before it, and what was to be expected; 0 where few are before.

    A loss falls: what is usual is the straight line through the steps before, carried one on.
    """
    scores, usual = np.zeros(len(values)), np.zeros(len(values))
    for i in range(FEWEST, len(values)):
        before = values[max(0, i - _WINDOW) : i]
        before = before[np.isfinite(before)]
        if len(before) < FEWEST:
            continue
        usual[i], spread = _expected(before)
        scores[i] = (values[i] - usual[i]) / spread if math.isfinite(values[i]) else math.inf
    return scores, usual


def _expected(before: np.ndarray) -> tuple[float, float]:
    """The line through some values carried one on, and σ around it; what stands out is left out."""
    places = np.arange(len(before))
    keep = np.ones(len(before), dtype=bool)
    line, spread = np.zeros(2), 0.0
    for _ in range(3):
        line = np.polyfit(places[keep], before[keep], 1)
        apart = np.abs(before - np.polyval(line, places))
        spread = float(np.median(apart)) * _NORMAL
        kept = apart <= 4 * spread
        if kept.sum() < FEWEST // 2 or (kept == keep).all():
            break
        keep = kept
    smallest = 1e-3 * float(np.abs(before).mean())  # a loss that stands still has no spread
    return float(np.polyval(line, len(before))), max(spread, smallest, 1e-12)
