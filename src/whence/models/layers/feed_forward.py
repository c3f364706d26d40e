"""The feed-forward part of a block, and its activations."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from whence.models.layers.names import Activation


def relu2(x: Tensor) -> Tensor:
    """The squared ReLU, max(x, 0)².

    Example:
        >>> relu2(torch.tensor([-1.0, 3.0]))
        tensor([0., 9.])

    Source:
        So et al., "Primer", 2021.
    """
    if x.requires_grad:
        return SquaredReLU.apply(x)  # pyright: ignore[reportReturnType]
    return F.relu(x).square()


class SquaredReLU(torch.autograd.Function):
    """y = max(x, 0)², and its derivative as one formula, dx = 2·g·max(x, 0) for a gradient g.

    Left to autograd, the square and the maximum are each differentiated by itself: three passes
    over the numbers instead of one.

    Example:
        >>> x = torch.tensor([-1.0, 3.0], requires_grad=True)
        >>> SquaredReLU.apply(x).sum().backward()
        >>> x.grad
        tensor([0., 6.])
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Square what is above 0."""
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        ctx.save_for_forward(positive)
        return positive.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The gradient of x."""
        (positive,) = ctx.saved_tensors
        return torch.addcmul(g.new_zeros(()), g, positive, value=2)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The change of y by a change of x, for differentiation forwards."""
        (positive,) = ctx.saved_tensors
        return 2 * dx * positive


def gelu_tanh(x: Tensor) -> Tensor:
    """GPT-2's GELU: x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³))).

    Example:
        >>> gelu_tanh(torch.tensor([1.0]))
        tensor([0.8412])

    Source:
        Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    return F.gelu(x, approximate="tanh")


FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu2": relu2,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "silu": F.silu,
    "swiglu": F.silu,
    "geglu": F.gelu,
}


class MLP(nn.Module):
    """The feed-forward part: down(f(up(x))), for each token by itself.

    Args:
        d_model: length of a token's vector.
        d_ff: number of hidden units.
        activation: f.
        bias: biases for both layers.

    Shape:
        [..., D] → [..., D].

    Example:
        >>> MLP(8, 32, "gelu")(torch.zeros(2, 8)).shape
        torch.Size([2, 8])

    Source:
        Vaswani et al., "Attention Is All You Need", 2017, equation 2.
    """

    def __init__(self, d_model: int, d_ff: int, activation: Activation, bias: bool = False) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)
        self.activation = FUNCTIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the two layers to x."""
        return self.down(self.activation(self.up(x)))


class GatedMLP(nn.Module):
    """The gated feed-forward part: down(f(gate(x)) · up(x)).

    Args:
        d_model: length of a token's vector.
        d_ff: number of hidden units.
        activation: "swiglu" (f = SiLU) or "geglu" (f = GELU).
        bias: biases for the three layers.

    Shape:
        [..., D] → [..., D].

    Example:
        >>> GatedMLP(8, 32, "swiglu")(torch.zeros(2, 8)).shape
        torch.Size([2, 8])

    Source:
        Shazeer, "GLU Variants Improve Transformer", 2020.
    """

    def __init__(self, d_model: int, d_ff: int, activation: Activation, bias: bool = False) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.gate = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)
        self.activation = FUNCTIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three layers to x."""
        return self.down(self.activation(self.gate(x)) * self.up(x))


class Absent(nn.Module):
    """A part that was taken out: it adds 0 to the residual stream.

    Example:
        >>> torch.ones(2) + Absent()(torch.ones(2))
        tensor([1., 1.])
    """

    def forward(self, x: Tensor, *args: object) -> Tensor:
        """Zeros of x's shape."""
        return torch.zeros_like(x)


class PairEmbedding(nn.Embedding):
    """A vector for each pair (previous token, token), added to the token's embedding.

    It gives the model the bigram table for free, so that its layers can learn what lies beyond.
    The first token of a window has a row of its own, "nothing before it". It starts at 0.

    Args:
        vocab_size: V; the table has (V + 1)·V rows.
        d_model: length of a vector.

    Shape:
        tokens [B, T] → [B, T, D].

    Example:
        >>> PairEmbedding(5, 8)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__((vocab_size + 1) * vocab_size, d_model)
        self.vocab_size = vocab_size
        nn.init.zeros_(self.weight)

    def forward(self, tokens: Tensor, before: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Look the pairs up; before is the token ahead of the first one, [B, 1], if there is."""
        if before is None:
            before = torch.full_like(tokens[:, :1], self.vocab_size)
        previous = torch.cat((before, tokens[:, :-1]), dim=1)  # [B, T]
        return super().forward(previous * self.vocab_size + tokens)


def init_linear(layer: nn.Module, std: float | None, scale: float = 1.0) -> None:
    """Draw a Linear's weight from N(0, (scale·std)²), with std = 1/√inputs if None; bias 0."""
    assert isinstance(layer, nn.Linear)
    std = 1 / math.sqrt(layer.in_features) if std is None else std
    nn.init.normal_(layer.weight, std=scale * std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
