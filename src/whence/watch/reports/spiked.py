"""Which layer and which example carried a spike of the gradient."""

from __future__ import annotations

import statistics

import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.watch.again.past import Past
from whence.watch.step.events import Step
from whence.why import Trace

_SHOWN = 5
_TINY = 1e-30


def spike_lines(past: Past, trace: Trace, before: list[Step]) -> tuple[str, list[str], str]:
    """Name the parameter whose gradient grew most, and what its largest number is made of.

    A parameter's part in a spike is Δ = ‖g‖² − median(‖g‖² over the steps before).

    Returns:
        A sentence, lines of the number's groups by example and by token, and its address.
    """
    names = past.world.names
    now, earlier = _squares(past.step), [_squares(step) for step in before]
    grown = {
        n: square - statistics.median([one.get(n, 0.0) for one in earlier] or [0.0])
        for n, square in now.items()
    }
    if not grown:
        return "No gradient of the step was kept.", [], ""
    worst = max(grown, key=grown.__getitem__)
    total = sum(one for one in grown.values() if one > 0) or _TINY
    usual = statistics.median([one.get(worst, 0.0) for one in earlier] or [0.0])
    times = (now[worst] / max(usual, _TINY)) ** 0.5
    sentence = (
        f"`{names[worst]}` carried {100 * grown[worst] / total:.0f} % of it: the norm of its "
        f"gradient is {now[worst] ** 0.5:.4g}, "
        + (f"{times:.3g} times that of the steps before." if earlier else "with none before it.")
    )
    gradient = _gradient(past.step, worst)
    assert gradient is not None
    index = torch.unravel_index(gradient.abs().argmax(), gradient.shape)
    address = f"{names[worst]}[{','.join(str(int(i)) for i in index)}].grad"
    lines: list[str] = []
    for by in ("example", "token"):
        try:
            lines += trace.number(address).attribution(by).lines(_SHOWN)
        except WhenceError as error:
            lines.append(f"{address} by {by}: {error}")
    return sentence, lines, address


def _gradient(step: Step, number: int) -> Tensor | None:
    for update in reversed(step.updates):
        gradient = update.gradients.get(number)
        if gradient is not None:
            return gradient.to_dense() if gradient.is_sparse else gradient
    return None


def _squares(step: Step) -> dict[int, float]:
    found = {}
    for update in step.updates:
        for number, gradient in update.gradients.items():
            if gradient is not None:
                dense = gradient.coalesce().values() if gradient.is_sparse else gradient
                found[number] = float(dense.detach().double().norm()) ** 2
    return found
