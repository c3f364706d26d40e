"""Whether an output went on by one way alone: through another call of the step, such as a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from whence.watch.step.events import Arrival, Backward, Link, Step
from whence.watch.step.numbers import same_bits


def sole_ways(step: Step) -> set[int]:
    """Return the ids of the links by which all of an output's gradient came.

    Where an output was used elsewhere too, what came by a link is but a part of its gradient: then
    the gradient is taken as it arrived, and the call is done again on a copy.
    """
    known: dict[int, bool] = {}
    for event in step.events:
        if not isinstance(event, Backward):
            continue
        for arrival in event.arrivals:
            ways = [
                (link, gradient)
                for link, gradient in event.passed
                if link.call is arrival.call and link.output == arrival.output
            ]
            alone = len(ways) == 1 and _is_all(*ways[0], arrival)
            for link, _ in ways:
                known[id(link)] = known.get(id(link), True) and alone
    return {link for link, alone in known.items() if alone}


def _is_all(link: Link, passed: Tensor, arrival: Arrival) -> bool:
    whole = arrival.gradient.detach()
    if whole.is_sparse or passed.is_sparse:
        return False
    spread = torch.zeros_like(whole, memory_format=torch.contiguous_format)
    try:
        link.of(spread).copy_(passed.detach())
    except RuntimeError:  # the output lay in memory otherwise than its gradient
        return False
    return same_bits(spread, whole)
