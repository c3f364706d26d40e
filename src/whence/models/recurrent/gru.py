"""The GRU: the LSTM's gates without its second state.

What it changes: one gate z both writes and forgets, h ← (1 − z)∘n + z∘h.
"""

import torch
from torch import Tensor

from whence.models.recurrent.config import GRUConfig
from whence.models.recurrent.model import Layer, Recurrent, State


class GRULayer(Layer):
    """h ← (1 − z)∘n + z∘h, with r, z = σ(W·x + U·h + b) and n = tanh(W·x + b + r∘(U·h + c)).

    Source:
        Cho et al., "Learning Phrase Representations using RNN Encoder–Decoder", 2014; r stands
        outside of U·h as in torch, so that one product serves all three.
    """

    n_gates, n_states = 3, 1

    def step(self, token: Tensor, state: State) -> State:
        """The state after a token."""
        (h,) = state
        r_x, z_x, n_x = token.chunk(3, dim=-1)  # each [B, D]
        r_h, z_h, n_h = self.recall(h).chunk(3, dim=-1)
        r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
        n = (n_x + r * n_h).tanh()
        return ((1 - z) * n + z * h,)

    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps by torch.gru."""
        (h,) = state
        y, h = torch.gru(x, h[None], self.weights(), True, 1, 0.0, False, False, True)
        return y, (h[0],)


class GRU(Recurrent):
    """A GRU language model.

    Args:
        config: the shape.
        vocab_size: number of tokens there are, V.

    Shape:
        tokens [B, T] → logits [B, T, V].

    Example:
        >>> GRU(GRUConfig(d_model=8), vocab_size=5)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 5])
    """

    def __init__(self, config: GRUConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size, GRULayer)
