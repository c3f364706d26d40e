"""Steps that stand out: their loss or gradient norm lies far above what was usual before them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from whence.errors import WhenceError
from whence.runs.run import Run

KINDS = {"loss": "loss", "grad_norm": "gradient norm"}
_WINDOW = 50  # steps before one, by which it is judged
_FEWEST = 8  # steps that it takes to know what is usual
_NORMAL = 1.4826  # of the median distance from the median: σ, where a sample is normal


@dataclass(frozen=True, slots=True)
class Spike:
    """A step that stands out.

    Attributes:
        step: which.
        kind: "loss" or "grad_norm".
        value: what was recorded.
        usual: the median of the steps before it.
        z: how many standard deviations of these it lies above that; NaN and ∞ are recorded as ∞.
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
        plain = lambda x: x if math.isfinite(x) else str(x)  # noqa: E731
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

    z = (x − median) / (1.4826 · median |x − median|), over the 50 steps before: a robust z-score,
    which an earlier spike does not blunt (Hampel 1974).

    Args:
        run: the run.
        threshold: from which z a step stands out.

    Raises:
        WhenceError: the run has too few steps to know what is usual.

    Example:
        >>> spikes(Run.open("runs/mine")).found  # doctest: +SKIP
        (Spike(step=212, kind='grad_norm', value=9.1, usual=0.8, z=31.0),)
    """
    run.refuse_counted()
    steps = run.steps
    if len(steps) <= _FEWEST:
        raise WhenceError(
            f"{run.path} has {len(steps)} steps: it takes more than {_FEWEST} to know what is "
            "usual."
        )
    first = run.origin.step if run.origin else 0
    found: list[Spike] = []
    largest: dict[str, tuple[float, int]] = {}
    for kind in KINDS:
        values = np.array([float(steps[i][kind]) for i in range(first, len(steps))])
        scores, usual = _scores(values)
        most = int(np.nanargmax(scores)) if len(scores) else 0
        largest[kind] = float(scores[most]), first + most
        found += [
            Spike(first + int(i), kind, float(values[i]), float(usual[i]), float(scores[i]))
            for i in np.flatnonzero(scores >= threshold)
        ]
    found.sort(key=lambda spike: (-spike.z, spike.step))
    return Spikes(tuple(found), len(steps) - first, threshold, largest)


def _scores(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The z of each value by those before it, and their medians; 0 where too few are before it."""
    scores, usual = np.zeros(len(values)), np.zeros(len(values))
    for i in range(_FEWEST, len(values)):
        before = values[max(0, i - _WINDOW) : i]
        before = before[np.isfinite(before)]
        if len(before) < _FEWEST:
            continue
        usual[i] = np.median(before)
        # What falls steadily scatters less around its own trend than around its median.
        trend = np.polyval(np.polyfit(np.arange(len(before)), before, 1), len(before))
        middle = max(usual[i], trend)
        spread = np.median(np.abs(before - usual[i])) * _NORMAL
        spread = max(float(spread), 1e-6 * abs(float(usual[i])), 1e-12)
        scores[i] = (values[i] - middle) / spread if math.isfinite(values[i]) else math.inf
    return scores, usual
