"""Norms: keep the size of the residual stream's vectors in hand."""

from typing import Literal

import torch
from torch import Tensor, nn

NormKind = Literal["rms", "layer", "none"]


class RMSNorm(nn.Module):
    """Divide each vector by its root mean square.

    y = x / √(mean(x²) + eps) · weight, over the last axis. It is computed in fp32 whatever the
    dtype of x, and comes back in x's dtype.

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
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d)) if weight else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of x."""
        wide = x.float()
        y = wide * (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        y = y.to(x.dtype)
        return y if self.weight is None else self.weight * y


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
