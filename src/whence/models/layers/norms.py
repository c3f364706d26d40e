"""Norms: keep the size of the residual stream's vectors in hand."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.autograd.function import once_differentiable

from whence.models.layers.names import NormKind


class RMSNorm(nn.Module):
    """Divide each vector by its root mean square.

    y = x / √(mean(x²) + eps) · weight, over the last axis. It is computed in fp32 (or
    wider, if x is), and comes back in x's dtype.

    Args:
        d: length of the vectors that are normalised.
        weight: learn a factor for each of the d places; False leaves it out.
        eps: keeps the division finite for x = 0.

    Shape:
        [..., d] → [..., d].

    Example:
        >>> RMSNorm(2, weight=False, eps=0.0)(torch.tensor([3.0, 4.0]))
        tensor([0.8485, 1.1314])

    Source:
        Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
    """

    def __init__(self, d: int, *, weight: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.d, self.eps = d, eps
        self.weight = nn.Parameter(torch.ones(d)) if weight else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of x."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        y = divide_by_rms(wide, self.eps).to(x.dtype)
        return y if self.weight is None else self.weight * y


def divide_by_rms(x: Tensor, eps: float) -> Tensor:
    """X / √(mean(x²) + eps) over the last axis."""
    if not torch.compiler.is_compiling() and unpack_dual(x).tangent is not None:
        # Forward-mode differentiation takes the formula apart; the function below knows one way.
        return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()
    y: Tensor = DivideByRMS.apply(x, eps)  # pyright: ignore[reportAssignmentType]
    return y


class DivideByRMS(torch.autograd.Function):
    """y = x / rms(x) with rms(x) = √(mean(x²) + eps), and its derivative as one formula.

    dx = (g − y · mean(g · y)) / rms(x) for a gradient g of y: what of g lies along y would only
    change x's length, which the division takes out again. Left to autograd, square, mean, root and
    product are each differentiated by itself, in twice the time.

    Example:
        >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> DivideByRMS.apply(x, 0.0)[0].backward()
        >>> x.grad
        tensor([ 0.1810, -0.1358])
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Divide."""
        one_over_rms = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()  # [..., 1]
        y = x * one_over_rms
        ctx.save_for_backward(y, one_over_rms)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The gradient of x."""
        y, one_over_rms = ctx.saved_tensors
        along = (g * y).mean(-1, keepdim=True)  # [..., 1]
        return torch.addcmul(g, y, along, value=-1).mul_(one_over_rms), None


def norm(kind: NormKind, d: int, *, weight: bool = True, bias: bool, eps: float) -> nn.Module:
    """The norm of that kind for vectors of length d.

    "rms" is `RMSNorm`; "layer" is torch's LayerNorm, (x − mean(x)) / √(var(x) + eps) · weight +
    bias; "none" hands x back, which is how an experiment takes the norms out.

    Args:
        kind: which norm.
        d: length of the vectors.
        weight: learn a factor for each place.
        bias: learn an offset for each place (LayerNorm with a weight alone).
        eps: keeps the division finite.

    Example:
        >>> norm("layer", 8, bias=False, eps=1e-5).weight.shape
        torch.Size([8])

    Source:
        Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """
    if kind == "rms":
        return RMSNorm(d, weight=weight, eps=eps)
    if kind == "layer":
        return nn.LayerNorm(d, eps=eps, elementwise_affine=weight, bias=bias)
    return nn.Identity()
