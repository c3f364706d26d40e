"""A GPT on counted n-grams: the counts say what is likely, the Transformer corrects them.

What it adds to the GPT: what can be had by counting needn't be learned. The n-gram model is counted
from the text itself in a moment, and the loop learns only what the counts get wrong.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.models.gpt.model import GPT
from whence.models.layers.cache import Cache
from whence.models.ngram.config import NGramGPTConfig
from whence.models.ngram.model import NGram

NOT_COUNTED = -100
LEAST = -30.0  # ln P below which a prior is cut off, so that no logit is infinite


class PriorCache:
    """The memory of a GPT on n-grams: that of the GPT, and the last tokens for the counts.

    Attributes:
        gpt: of the GPT.
        recent: the last order − 1 tokens, [B, ≤ order − 1].
    """

    def __init__(self, gpt: Cache, recent: Tensor) -> None:
        self.gpt, self.recent = gpt, recent

    @property
    def length(self) -> int:
        """How many tokens were read."""
        return self.gpt.length


class NGramGPT(nn.Module):
    """Logits of the next token: logits = ln P_counted(next | last n − 1) + gpt(tokens).

    The GPT's head starts at 0, so that the model starts as the counted one. The counts aren't
    weights: `fit` takes them from the text, and no checkpoint holds them.

    Args:
        config: the shape.
        vocab_size: number of tokens there are, V.

    Shape:
        tokens [B, T] → logits [B, T, V].

    Raises:
        WhenceError: called before `fit`.

    Example:
        >>> config = NGramGPTConfig(order=2, n_layers=1, d_model=16)
        >>> model = NGramGPT(config, vocab_size=3).fit(np.array([0, 1, 2] * 9))
        >>> model(torch.tensor([[0, 1]])).argmax(-1)
        tensor([[1, 2]])
    """

    def __init__(self, config: NGramGPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.gpt = GPT(config, vocab_size)
        self._counted: tuple[NGram, ...] = ()  # in a tuple: it isn't a part of the weights

    def fit(self, tokens: np.ndarray) -> Self:
        """Count the text that is going to be trained on.

        Args:
            tokens: ids, [N].

        Raises:
            WhenceError: as `NGram.fit`.
        """
        self._counted = (NGram(self.config.counts, self.vocab_size).fit(tokens),)
        return self

    @property
    def ngram(self) -> NGram:
        """The counted model.

        Raises:
            WhenceError: before `fit`.
        """
        if not self._counted:
            raise WhenceError("This model hasn't counted its text yet: call fit(tokens).")
        return self._counted[0]

    def forward(
        self, tokens: Tensor, cache: PriorCache | None = None, prior: Tensor | None = None
    ) -> Tensor:
        """Logits [B, T, V] of the token after each of the tokens [B, T].

        Args:
            tokens: ids below vocab_size.
            cache: what was read before; the tokens are appended to it.
            prior: log-probabilities [B, T, V] to correct; None: those of the counted model.
        """
        if prior is None:
            prior = self.prior(tokens, cache)
        return self.gpt(tokens, None if cache is None else cache.gpt) + prior

    def prior(self, tokens: Tensor, cache: PriorCache | None = None) -> Tensor:
        """What the counted model says after each token: ln P, float32 [B, T, V]."""
        if tokens.is_meta:  # only the sizes are asked for
            return torch.empty(*tokens.shape, self.vocab_size, device="meta")
        if cache is None:
            return self.ngram(tokens).clamp(min=LEAST)
        read = torch.cat((cache.recent, tokens), dim=1)
        cache.recent = read[:, -self.ngram.context_length :]
        return self.ngram(read)[:, -tokens.shape[1] :].clamp(min=LEAST)

    def prior_in_training(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The prior on the text that was counted, each target's own occurrence left out.

        Args:
            tokens: ids, [B, T].
            targets: the token after each, [B, T]; −100 where it isn't counted.
        """
        known = torch.where(targets == NOT_COUNTED, 0, targets).cpu().numpy()
        found = self.ngram.leave_one_out(tokens.cpu().numpy(), known)
        return torch.from_numpy(found).to(tokens.device).clamp(min=LEAST)

    def new_cache(self, batch_size: int, room: int | None = None) -> PriorCache:
        """An empty cache for `batch_size` texts; `room` is as of the GPT's."""
        none = torch.empty(batch_size, 0, dtype=torch.long, device=self.gpt.embed.weight.device)
        return PriorCache(self.gpt.new_cache(batch_size, room), none)

    @property
    def context_length(self) -> int:
        """How many tokens the model reads at most."""
        return self.config.context_length
