"""How the learning rate rises and falls over a run."""

import math
from dataclasses import dataclass
from typing import Literal

from whence.errors import WhenceError
from whence.fields import check_fields


@dataclass(frozen=True)
class Schedule:
    """The learning rate's share of its peak at each step.

    A linear warm-up comes first, then one of:

    - `constant`: 1.
    - `linear`: a straight line from 1 to `final`.
    - `cosine`: `final + (1 − final)·(1 + cos πx)/2`, x from 0 to 1 (Loshchilov, Hutter 2016).
    - `wsd`, warm-up–stable–decay: 1, then a straight line to `final` over the last `cooldown`
      share of the steps (Hägele et al. 2024, arXiv 2405.18392).
    - `inverse-sqrt`: √(warmup / step), steps counted from 1 (Vaswani et al. 2017, where the peak
      is 1/√(d_model · warmup)).

    Attributes:
        kind: the shape after the warm-up.
        warmup: steps over which the rate rises from 1/warmup to 1.
        cooldown: for `wsd`, the share of all steps in which the rate falls.
        final: the share of the peak that the rate falls to.

    Raises:
        WhenceError: where a share is outside [0, 1] or the warm-up is negative.

    Example:
        >>> schedule = Schedule("wsd", warmup=2, cooldown=0.5, final=0.0)
        >>> [schedule.factor(step, 8) for step in range(8)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    kind: Literal["constant", "linear", "cosine", "wsd", "inverse-sqrt"] = "wsd"
    warmup: int = 5
    cooldown: float = 0.5
    final: float = 0.0

    def __post_init__(self):
        check_fields(self, "schedule.")
        if self.warmup < 0:
            raise WhenceError(f"schedule.warmup is {self.warmup}: give 0 or more steps.")
        for name in ("cooldown", "final"):
            if not 0 <= getattr(self, name) <= 1:
                raise WhenceError(
                    f"schedule.{name} is {getattr(self, name)}: give a share between 0 and 1."
                )

    def factor(self, step: int, steps: int) -> float:
        """Return the rate's factor, its share of the peak, at a step of a run of so many steps."""
        if self.kind == "inverse-sqrt":
            warmup = max(1, self.warmup)
            return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        start = self._decay_start(steps)
        x = 0.0 if step <= start else min((step - start) / (steps - start), 1.0)
        if self.kind == "cosine":
            falling = self.final + (1 - self.final) * (1 + math.cos(math.pi * x)) / 2
        else:
            falling = 1 - (1 - self.final) * x
        return min(rising, falling)

    def _decay_start(self, steps: int) -> float:
        if self.kind == "constant":
            return math.inf
        return steps - self.cooldown * steps if self.kind == "wsd" else self.warmup
