"""The plain RNN: h ← tanh(W·x + U·h + b).

Gradients are multiplied by Uᵀ at each step back, so what was read long ago is soon forgotten.
"""

import torch
from torch import Tensor

from whence.models.recurrent.config import RNNConfig
from whence.models.recurrent.model import Layer, Recurrent, State


class RNNLayer(Layer):
    """h ← tanh(W·x + b + U·h + c).

    Source:
        Elman, "Finding Structure in Time", 1990.
    """

    n_gates, n_states = 1, 1

    def step(self, token: Tensor, state: State) -> State:
        """The state after a token."""
        (h,) = state
        return (torch.tanh(token + self.recall(h)),)

    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps by torch.rnn_tanh."""
        (h,) = state
        y, h = torch.rnn_tanh(x, h[None], self.weights(), True, 1, 0.0, False, False, True)
        return y, (h[0],)


class RNN(Recurrent):
    """An RNN language model.

    Args:
        config: the shape.
        vocab_size: number of tokens there are, V.

    Shape:
        tokens [B, T] → logits [B, T, V].

    Example:
        >>> RNN(RNNConfig(d_model=8), vocab_size=5)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 5])

    Source:
        Mikolov et al., "Recurrent neural network based language model", 2010.
    """

    def __init__(self, config: RNNConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size, RNNLayer)
