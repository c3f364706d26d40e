"""Cheap signs in a record: where the loss or the gradient's norm leaves what was usual before."""

from __future__ import annotations

import numpy as np

BEFORE = 20  # steps that say what is usual
FAR = 8.0  # robust standard deviations: ours
RISE, LEAST = 0.15, 0.4  # of the median, and nats, that it must rise above all of them: ours
Z = 2.5  # and the z-score of the gradient's norm that ZClip (arXiv 2504.02507) starts from


def spikes(loss: np.ndarray, grad_norm: np.ndarray) -> list[int]:
    """Return the steps whose loss stands out from those before it, the largest first.

    The measure is robust: the distance from the median of the 20 losses before, in units of their
    spread (1.4826 times the median absolute deviation, at least 1 % of the median).

    Example:
        >>> loss = np.full(40, 2.0); loss[30] = 6.0
        >>> spikes(loss, np.ones(40))
        [30]
    """
    found: dict[int, float] = {}
    for step in range(BEFORE, len(loss)):
        before = loss[step - BEFORE : step]
        if not np.isfinite(before).all() or not np.isfinite(loss[step]):
            continue
        middle = float(np.median(before))
        spread = max(1.4826 * float(np.median(np.abs(before - middle))), 0.01 * abs(middle), 1e-6)
        far = (float(loss[step]) - middle) / spread
        rise = float(loss[step]) - float(before.max())
        if far > FAR and rise > max(RISE * abs(middle), LEAST):
            found[step] = far
    return sorted(found, key=lambda s: -found[s])


def first_of_run(steps: list[int]) -> list[int]:
    """Of steps that follow on each other keep the first of each group, in order.

    Example:
        >>> first_of_run([9, 7, 8, 30])
        [7, 30]
    """
    ordered = sorted(steps)
    return [s for i, s in enumerate(ordered) if i == 0 or s - ordered[i - 1] > 3]


def z_scores(values: np.ndarray, keep: float = 0.97) -> np.ndarray:
    """Return each value's distance from the moving mean of those before, in standard deviations.

    Mean and variance move by `keep`, as ZClip's do; the first 25 values have no score (NaN).
    """
    scores = np.full(len(values), np.nan)
    if len(values) <= 25 or not np.isfinite(values[:25]).all():
        return scores
    mean, variance = float(values[:25].mean()), float(values[:25].var())
    for i in range(25, len(values)):
        if not np.isfinite(values[i]):
            continue
        scores[i] = (values[i] - mean) / max(variance**0.5, 1e-12)
        mean = keep * mean + (1 - keep) * values[i]
        variance = keep * variance + (1 - keep) * (values[i] - mean) ** 2
    return scores


def first_bad(values: np.ndarray) -> int | None:
    """Return the first step whose number isn't finite.

    Example:
        >>> first_bad(np.array([1.0, np.nan, 2.0]))
        1
    """
    bad = np.flatnonzero(~np.isfinite(values))
    return int(bad[0]) if len(bad) else None
