"""The LSTM: an RNN with a second state, the cell, that changes by addition.

What it adds to the RNN: gates between 0 and 1 say what is written, kept and shown. The gradient
flows back along the cell multiplied by the forget gate alone.
"""

import torch
from torch import Tensor, nn

from whence.models.recurrent.config import LSTMConfig
from whence.models.recurrent.model import Layer, Recurrent, State


class LSTMLayer(Layer):
    """c ← f∘c + i∘g;  h ← o∘tanh(c), with the gates i, f, o = σ(W·x + U·h + b) and g = tanh(…).

    The forget gate's bias starts at 1, so that at first much is kept.

    Source:
        Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; the forget gate: Gers et al.,
        "Learning to Forget", 2000; its bias: Jozefowicz et al., 2015.
    """

    n_gates, n_states = 4, 2

    def __init__(self, d_model: int, form) -> None:
        super().__init__(d_model, form)
        for bias, start in ((self.read.bias, 1.0), (self.recall.bias, 0.0)):
            nn.init.constant_(bias[d_model : 2 * d_model], start)

    def step(self, token: Tensor, state: State) -> State:
        """The states after a token."""
        h, c = state
        i, f, g, o = (token + self.recall(h)).chunk(4, dim=-1)  # each [B, D]
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h, c

    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps by torch.lstm."""
        h, c = state
        y, h, c = torch.lstm(
            x, (h[None], c[None]), self.weights(), True, 1, 0.0, False, False, True
        )
        return y, (h[0], c[0])


class LSTM(Recurrent):
    """An LSTM language model.

    Args:
        config: the shape.
        vocab_size: number of tokens there are, V.

    Shape:
        tokens [B, T] → logits [B, T, V].

    Example:
        >>> LSTM(LSTMConfig(d_model=8), vocab_size=5)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 5])

    Source:
        Sundermeyer et al., "LSTM Neural Networks for Language Modeling", 2012.
    """

    def __init__(self, config: LSTMConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size, LSTMLayer)
