"""The neural bigram: a table of logits, one row for each token, learned by the loop.

The first rung. It knows the last token and nothing else, as the counted bigram does; trained to the
end it has the counted model's loss, because softmax of a free row can be any distribution.
"""

from torch import Tensor, nn

from whence.errors import WhenceError
from whence.models.small.config import BigramConfig

LARGEST_TABLE = 8192  # tokens; the table has the square of it as logits


class Bigram(nn.Module):
    """Logits of the next token, looked up by the last one: logits = table[token].

    It starts at 0, so that the first guess is uniform.

    Args:
        config: the shape.
        vocab_size: V; the table has V·V logits.

    Shape:
        tokens [B, T] → logits [B, T, V].

    Raises:
        WhenceError: the table would be too large.

    Example:
        >>> import torch
        >>> Bigram(BigramConfig(), vocab_size=5)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 5])

    Source:
        Counted: Shannon, "A Mathematical Theory of Communication", 1948, section 3.
    """

    def __init__(self, config: BigramConfig, vocab_size: int) -> None:
        super().__init__()
        if vocab_size > LARGEST_TABLE:
            raise WhenceError(
                f"a bigram has a logit for each of the {vocab_size:,}² pairs of tokens: it is for "
                f"vocabularies of at most {LARGEST_TABLE:,}. Use --data.tokenizer chars, or a "
                "smaller --data.vocab-size."
            )
        self.config = config
        self.vocab_size = vocab_size
        self.table = nn.Embedding(vocab_size, vocab_size)
        nn.init.zeros_(self.table.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of the token after each of the tokens [B, T]."""
        return self.table(tokens)

    @property
    def context_length(self) -> int:
        """How many tokens it reads at most."""
        return 1
