"""The MLP language model: embeddings of the last few tokens, side by side, through hidden layers.

What it adds to the bigram: tokens are vectors, so that what is learned of one helps with its like,
and the model reads several of them.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whence.models.layers.feed_forward import init_linear
from whence.models.small.config import MLPConfig

FUNCTIONS = {"tanh": torch.tanh, "relu": F.relu, "gelu": F.gelu}


class CharMLP(nn.Module):
    """Logits of the next token from the last n tokens.

    x = [embed(w₁); …; embed(wₙ)];  h = f(W·x + b) for each hidden layer;  logits = head(h).
    Before the first token of a window comes a vector of its own, "nothing".

    Args:
        config: the shape.
        vocab_size: number of tokens there are, V.

    Shape:
        tokens [B, T] → logits [B, T, V].

    Example:
        >>> model = CharMLP(MLPConfig(n_previous=3), vocab_size=27)
        >>> model(torch.tensor([[1, 2, 3, 4]])).shape
        torch.Size([1, 4, 27])

    Source:
        Bengio et al., "A Neural Probabilistic Language Model", 2003.
    """

    def __init__(self, config: MLPConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.embed = nn.Embedding(vocab_size + 1, config.d_model)  # the last row is "nothing"
        sizes = [config.n_previous * config.d_model] + [config.d_ff] * config.n_layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(config.d_ff, vocab_size)
        self.activation = FUNCTIONS[config.activation]
        for layer in self.hidden:
            init_linear(layer, None)
        init_linear(self.head, 0.0)  # the first guess is uniform

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of the token after each of the tokens [B, T]."""
        n = self.config.n_previous
        read = F.pad(tokens, (n - 1, 0), value=self.vocab_size)  # [B, n − 1 + T]
        x = self.embed(read.unfold(1, n, 1)).flatten(2)  # [B, T, n, D] → [B, T, n·D]
        for layer in self.hidden:
            x = self.activation(layer(x))  # [B, T, d_ff]
        return self.head(x)

    @property
    def context_length(self) -> int:
        """How many tokens it reads at most."""
        return self.config.n_previous
