"""Spikes of the gradient norm or the loss, by their z-score over the steps before."""

from __future__ import annotations

import math

_MEMORY = 0.97  # of the moving averages, as ZClip has it
_FIRST = 25  # values that are only learned from
_FLOOR = 0.02  # of the mean: deviations below it are no spread (ours)


class Spikes:
    """Follows a number from step to step: z = (x − mean) / σ.

    mean ← 0.97·mean + 0.03·x and σ² ← 0.97·σ² + 0.03·(x − mean)², begun with the first 25 values. A
    spike isn't learned from. (ZClip: Adaptive Spike Mitigation, arXiv 2504.02507, which clips above
    2.5; a report costs more than a clipped step, so `watch` asks for more.)

    Args:
        most: the z-score above which a value is a spike; none: nothing is.

    Example:
        >>> spikes = Spikes(6.0)
        >>> [spikes.z(1.0 + 0.1 * (i % 2)) for i in range(40)][-1] < 2
        True
        >>> spikes.z(3.0) > 6
        True
    """

    def __init__(self, most: float | None):
        self.most = most
        self._first: list[float] = []
        self._mean = self._variance = 0.0

    def z(self, value: float) -> float:
        """Return the z-score of the next value; 0 where it isn't known yet or isn't finite."""
        if not math.isfinite(value):
            return 0.0
        if len(self._first) < _FIRST:
            self._first.append(value)
            n = len(self._first)
            self._mean = sum(self._first) / n
            self._variance = sum((x - self._mean) ** 2 for x in self._first) / n
            return 0.0
        spread = max(math.sqrt(self._variance), _FLOOR * abs(self._mean), 1e-30)
        z = (value - self._mean) / spread
        if self.most is None or z <= self.most:
            self._mean = _MEMORY * self._mean + (1 - _MEMORY) * value
            self._variance = _MEMORY * self._variance + (1 - _MEMORY) * (value - self._mean) ** 2
        return z

    def is_spike(self, z: float) -> bool:
        """Tell whether a z-score is one of a spike."""
        return self.most is not None and z > self.most
