"""The rules of AUTOTRAINER and of UMLAUT, with their thresholds, on the evidence of the doctor.

AUTOTRAINER (Zhang et al., ICSE 2021): utils/monitor.py of its authors, default parameters
beta 1e-3, 1e-4 and 70, gamma 0.7, zeta 0.03, eta 0.2, delta 0.01, Theta 0.7. An issue is told
where training doesn't converge, and then by the gradient; a NaN always.
UMLAUT (Schoop et al., CHI 2021): umlaut/heuristics.py of its authors: a rate above 0.01 or below
1e-7, a NaN in the loss, inputs outside −1…1, validation loss that rises while training's falls,
validation accuracy above 0.95 or above training's.
Both read a model once in an epoch; an epoch is a tenth of the steps here. Their loops have no
validation data of their own: training's accuracy stands for it.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from whence.doctor import Evidence

EPOCHS = 10


def autotrainer(e: Evidence, accuracy: list[float]) -> list[str]:
    """Name AUTOTRAINER's issues: explode, vanish, relu, unstable, not_converge."""
    epochs = _epochs(accuracy)
    loss = e.loss
    if len(loss) and (not np.isfinite(loss).all() or loss[-1] >= 1e5):
        return ["explode"]
    if any(not math.isfinite(m.seen) for m in e.measured):
        return ["explode"]
    if len(epochs) < 3:
        return []
    slow = max([b - a for a, b in pairwise(epochs)], default=0.0) < 0.01
    if max(epochs) < 0.7 or slow:
        kinds = set()
        for m in e.measured:
            kernels = [w for w in m.weights.values() if len(w.shape) >= 2]
            norms = [w.grad_norm for w in kernels if math.isfinite(w.grad_norm)]
            if len(norms) < 2 or norms[-1] == 0:
                continue
            ratio = norms[0] / norms[-1]
            if ratio < 1e-3 and norms[0] < 1e-4:
                kinds.add("vanish")
            if ratio > 70:
                kinds.add("explode")
            dead = [u.dead for u in m.units if u.function == "relu"]
            if dead and float(np.mean(dead)) >= 0.7:
                kinds.add("relu")
        for kind in ("relu", "explode", "vanish"):
            if kind in kinds:
                return [kind]
        return ["not_converge"] if slow else []
    return ["unstable"] if _oscillates(epochs) else []


def umlaut(e: Evidence, accuracy: list[float], largest_input: float) -> list[str]:
    """Name UMLAUT's errors: rate_high, rate_low, nan, inputs, overfit, accuracy."""
    found = []
    rate = float(np.nanmax(e.rate)) if len(e.rate) else math.nan
    if rate > 0.01:
        found.append("rate_high")
    if rate < 1e-7:
        found.append("rate_low")
    if len(e.loss) and np.isnan(e.loss).any():
        found.append("nan")
    if largest_input > 1:
        found.append("inputs")
    if any(b > a for (_, a), (_, b) in pairwise(e.evals)):
        found.append("overfit")
    if _epochs(accuracy)[3:] and max(_epochs(accuracy)[3:]) > 0.95:
        found.append("accuracy")
    return found


# which of their names would name which of our causes
MEANS = {
    "explode": {"exploding-gradients", "not-finite", "update-too-large", "diverging", "spike"},
    "vanish": {"vanishing-gradients", "poor-start"},
    "relu": {"dead-units"},
    "unstable": {"bouncing", "update-too-large", "diverging"},
    "not_converge": {"not-learning", "update-too-small", "no-better-than-counts", "rate-is-zero"},
    "rate_high": {"update-too-large", "diverging", "bouncing"},
    "rate_low": {"update-too-small", "rate-is-zero"},
    "nan": {"not-finite"},
    "inputs": {"saturated-units", "poor-start"},
    "overfit": {"overfitting"},
    "accuracy": {"too-good-too-early", "validation-leaks", "targets-shifted", "sees-the-future"},
}


def _epochs(accuracy: list[float]) -> list[float]:
    parts = np.array_split(np.array(accuracy), EPOCHS)
    return [float(p.mean()) for p in parts if len(p)]


def _oscillates(epochs: list[float]) -> bool:
    highs, lows = [], []
    for a, b, c in zip(epochs, epochs[1:], epochs[2:], strict=False):
        if b >= a and b >= c:
            highs.append(b)
        if b <= a and b <= c:
            lows.append(b)
    far = [h - low for h, low in zip(highs, lows, strict=False)]
    return sum(x >= 0.03 for x in far) >= 0.2 * len(epochs)
