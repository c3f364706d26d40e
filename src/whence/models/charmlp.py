"""The MLP language model: embeddings of the last few tokens, side by side, through hidden layers.

What it adds to the bigram: tokens are vectors, so that what is learned of one helps with its like,
and the model reads several of them.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whence.fields import check_fields
from whence.models.bigram import check_sizes
from whence.models.layers import init_linear

FUNCTIONS = {"tanh": torch.tanh, "relu": F.relu, "gelu": F.gelu}


@dataclass(frozen=True)
class MLPConfig:
    """The shape of an MLP language model.

    Attributes:
        n_previous: how many tokens each prediction is made from.
        n_layers: hidden layers.
        d_model: length of a token's vector.
        d_ff: units in a hidden layer.
        activation: f.
        context_length: tokens in a training window; each is predicted from the n_previous before.

    Raises:
        WhenceError: where a size is below 1.

    Example:
        >>> MLPConfig(n_previous=3).d_ff
        256
    """

    n_previous: int = 8
    n_layers: int = 1
    d_model: int = 32
    d_ff: int = 256
    activation: Literal["tanh", "relu", "gelu"] = "tanh"
    context_length: int = 64

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        check_sizes(self, "n_previous", "n_layers", "d_model", "d_ff", "context_length")


class CharMLP(nn.Module):
    """Logits of the next token from the last n tokens.

    x = [embed(w₁); …; embed(wₙ)];  h = f(W·x + b) for each hidden layer;  logits = head(h).
    Before the first token of a window stands a vector of its own, "nothing".

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
