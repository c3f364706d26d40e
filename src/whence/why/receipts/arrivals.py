"""The reverse of a receipt: who used a number, and the gradient that each use sent back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from whence.why.rules.open import open_element
from whence.why.rules.opening import Cells

if TYPE_CHECKING:
    from whence.why.number import Number

_MOST = 64  # uses that are told apart


@dataclass(frozen=True, slots=True)
class Arrival:
    """The gradient that one use of a number sent back.

    Attributes:
        module: path of the module that used it, "" outside of any.
        operation: what it was used in, such as `mm`.
        number: what came back.
    """

    module: str
    operation: str
    number: Number


def arrivals(number: Number) -> list[Arrival]:
    """Split a number's gradient over the uses of that number.

    ∂loss/∂x = Σ over the uses u of x: what the backward pass of u sent to x

    A sum passes its gradient on as it is, so where x was added to something, the uses of that sum
    stand in its place.

    Args:
        number: an activation or a parameter.

    Returns:
        The uses, in the order in which autograd added them up; their numbers add up to the gradient
        but for the rounding of those additions.

    Raises:
        WhenceError: no gradient reached the number.

    Example:
        >>> import torch
        >>> from whence.why import trace
        >>> x = torch.tensor([2.0], requires_grad=True)
        >>> def step():
        ...     (x * 3 + x.exp()).sum().backward()
        >>> t = trace(step)
        >>> sorted((a.operation, round(a.number.value, 3)) for a in arrivals(t.number("x[0]")))
        [('exp', 7.389), ('mul', 3.0)]
    """
    trace = number.trace
    todo: list[tuple[Cells, int]] = [trace.gradient_at(number.ref, number.at)]
    found: list[Arrival] = []
    while todo:
        cells, at = todo.pop(0)
        opened, call = open_element(cells, at)
        op = None if call is None else call.op
        sums = op is not None and op.phase == "backward" and op.name == "add"
        if sums and opened is not None and len(found) + len(todo) < _MOST:
            todo += [
                (factor.cells, int(np.asarray(factor.at).reshape(-1)[0]))
                for part in opened.parts
                for factor in part.factors
            ]
            continue
        used = None if op is None else op.forward or op
        found.append(
            Arrival(
                "" if used is None else used.module,
                "the loss" if used is None else used.name,
                trace.number_at(cells, at),
            )
        )
    return found
