"""An output of a watched model as it is handed on: the gradient that comes back is heard of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Outlet(torch.autograd.Function):
    """The identity y = x, which tells the gradient that arrives at y.

    Uses of a tensor inside the model go by x, those outside by y, so that they are told apart. y
    shares x's memory and count of changes and may be written to in place; a view could be as well,
    but autograd would then bypass it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, arrive: Callable[[Tensor], None]) -> Tensor:
        """Return the tensor."""
        return x.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep whom to tell."""
        ctx.arrive = inputs[1]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        """Tell the gradient and pass it on."""
        (gradient,) = gradients
        if gradient is not None:
            ctx.arrive(gradient)
        return gradient, None
