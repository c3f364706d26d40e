"""The smallest language model: a number to read each word by and a number to write it by.

With the twelve words of "we love deep learning" it has 36 parameters, and every one of its numbers
can be worked out by hand.
"""

import torch
from torch import Tensor, nn


class Scalars(nn.Module):
    """Logits of the next word from the last one: z[w] = read[last]·write[w] + bias[w].

    It is a bigram of rank one: the rows of its table of logits lie on one line.

    Args:
        vocab_size: number of words, V; there are 3·V parameters.

    Shape:
        tokens [B, T] → logits [B, T, V].

    Example:
        >>> model = Scalars(12)
        >>> sum(p.numel() for p in model.parameters())
        36
        >>> model(torch.tensor([[0, 1]])).shape
        torch.Size([1, 2, 12])
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.read = nn.Parameter(0.5 * torch.randn(vocab_size))
        self.write = nn.Parameter(0.5 * torch.randn(vocab_size))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of the word after each of the tokens [B, T]."""
        return self.read[tokens].unsqueeze(-1) * self.write + self.bias

    @property
    def context_length(self) -> int:
        """How many tokens it reads at most."""
        return 1
