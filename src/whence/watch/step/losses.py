"""The loss of a watched step: logged, or returned by a model or a loss function."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from whence.watch.step.events import Backward, Step


def loss_of(step: Step) -> float:
    """Return a step's loss; NaN where it isn't known.

    It is what the loop logged; else, where the model returns a loss of one number and gradients
    arrive at it, the sum of what the calls returned, each times its gradient: the number whose
    gradient the step follows. Under a GradScaler, whose factor would be in it, the weighted mean.
    """
    if isinstance(step.loss, Tensor):
        step.loss = float(step.loss.detach())
    if step.loss is not None:
        return step.loss
    found = list(_returned(step))
    if not found:
        return float("nan")
    total, weight = sum(a * value for value, a in found), sum(a for _, a in found)
    return total / weight if weight > len(found) else total


def has_bad_loss(step: Step) -> bool:
    """Whether a loss that the loop logged, or that the model returned, isn't finite."""
    if step.loss is not None:
        return not math.isfinite(float(step.loss))
    return any(not math.isfinite(value) for value, _ in _returned(step))


def _returned(step: Step) -> Iterator[tuple[float, float]]:
    """Outputs of one number, with the gradients that arrived at them."""
    for event in step.events:
        for arrival in event.arrivals if isinstance(event, Backward) and event.adds else []:
            value = arrival.call.scalars.get(arrival.output)
            if value is not None:
                yield float(value), float(arrival.gradient)
