"""A tensor as it is passed to or from a watched module, with its gradient observed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# The steps of autograd back from a view to what it is a view of.
_VIEWS = (
    "Alias", "AsStrided", "Permute", "ReshapeAlias", "Select", "Slice", "Split", "Squeeze", "T",
    "Transpose", "Unsqueeze", "View",
)  # fmt: skip


class Outlet(torch.autograd.Function):
    """The identity y = x, which reports the gradient that arrives at y.

    Uses of a tensor inside the model go by x, those outside by y, so that they can be
    distinguished. y
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
        """Keep whom to report to."""
        ctx.arrive = inputs[1]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        """Report the gradient and pass it on."""
        (gradient,) = gradients
        if gradient is not None:
            ctx.arrive(gradient)
        return gradient, None


def source_of(tensor: Tensor) -> Callable[[Tensor], None] | None:
    """Return whom the outlet reports to that a tensor came through, if only through views of it.

    Example:
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> tell = lambda gradient: None
        >>> y = Outlet.apply(x, tell)
        >>> source_of(y.view(6)[1:]) is tell, source_of(2 * y)
        (True, None)
    """
    node: Any = tensor.grad_fn
    while node is not None:
        if hasattr(node, "arrive"):
            return node.arrive
        name = node.name().removesuffix("0").removesuffix("1").removesuffix("Backward")
        if name not in _VIEWS or len(node.next_functions) != 1:
            return None
        node = node.next_functions[0][0]
    return None
