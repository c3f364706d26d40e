"""Cheap signs in a record: where the loss or the gradient's norm leaves what was usual before."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from whence.watch.reports.spikes import Spikes

BEFORE = 20  # steps that say what is usual
SOME = 5  # and so many at the least
FAR = 8.0  # robust standard deviations: ours
RISE, LEAST = 0.15, 0.4  # of the median, and nats, that it must rise above all of them: ours
OUT = 4.0  # times the largest that was seen before: ours
Z = 2.5  # and the z-score of the gradient's norm that ZClip (arXiv 2504.02507) starts from


def spikes(loss: np.ndarray) -> list[int]:
    """Return the steps whose loss stands out from those before it, the largest first.

    The measure is robust: the distance from the median of the 20 losses before, in units of their
    spread (1.4826 times the median absolute deviation, at least 1 % of the median). It must also
    rise above all of them, see `far_off`.

    Example:
        >>> loss = np.full(40, 2.0); loss[30] = 6.0
        >>> spikes(loss)
        [30]
    """
    found: dict[int, float] = {}
    for step in range(BEFORE, len(loss)):
        before = loss[step - BEFORE : step]
        if not np.isfinite(before).all() or not np.isfinite(loss[step]):
            continue
        far, _ = far_off(before.tolist(), float(loss[step]))
        if far is not None:
            found[step] = far
    return sorted(found, key=lambda s: -found[s])


def far_off(before: Sequence[float], value: float) -> tuple[float | None, float]:
    """Return how far a loss stands out from those before it, and their median.

    Returns:
        The distance from the median in robust deviations, None where it doesn't stand out; and
        the median. `statistics` is fast on twenty numbers, for each step asks this.

    Example:
        >>> far_off([2.0, 2.0, 2.1], 2.2), far_off([2.0, 2.0, 2.1], 6.0)[0] > 100
        ((None, 2.0), True)
    """
    middle = median(before)
    spread = max(1.4826 * median([abs(x - middle) for x in before]), 0.01 * abs(middle), 1e-6)
    far = (value - middle) / spread
    stands_out = far > FAR and value - max(before) > max(RISE * abs(middle), LEAST)
    return far if stands_out else None, middle


def first_of_run(steps: list[int]) -> list[int]:
    """Of steps that follow on each other keep the first of each group, in order.

    Example:
        >>> first_of_run([9, 7, 8, 30])
        [7, 30]
    """
    ordered = sorted(steps)
    return [s for i, s in enumerate(ordered) if i == 0 or s - ordered[i - 1] > 3]


def z_scores(values: np.ndarray) -> np.ndarray:
    """Return each value's z-score by those before it, as `watch` follows it; 0 for the first 25."""
    follow = Spikes(None)
    return np.array([follow.z(float(value)) for value in values])


def onset(*series: np.ndarray) -> int | None:
    """Return the first step at which a number is several times as large as ever before.

    Args:
        series: of each step, such as the loss and the gradient's norm; the first that leaves its
            range counts. A step that isn't finite is out of it.

    Example:
        >>> loss = np.full(40, 2.0); loss[30:] = 9.0
        >>> onset(loss)
        30
    """
    found = []
    for values in series:
        if not np.isfinite(values[:SOME]).all() or len(values) <= SOME:
            continue
        size = np.where(np.isfinite(values), np.abs(values), np.inf)
        before = np.maximum.accumulate(size)[SOME - 1 : -1]
        out = np.flatnonzero(size[SOME:] > OUT * before)
        found += [int(out[0]) + SOME] if len(out) else []
    return min(found, default=None)


def first_bad(values: np.ndarray) -> int | None:
    """Return the first step whose number isn't finite.

    Example:
        >>> first_bad(np.array([1.0, np.nan, 2.0]))
        1
    """
    bad = np.flatnonzero(~np.isfinite(values))
    return int(bad[0]) if len(bad) else None
