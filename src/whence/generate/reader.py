"""How a model continues reading: with a cache if it has one, else its last window each time."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


class LanguageModel(Protocol):
    """A model that can generate: tokens [B, T] → logits [B, T, V] of the next tokens."""

    @property
    def context_length(self) -> int:
        """How many tokens it reads at most."""
        ...

    def __call__(self, tokens: Tensor, /) -> Tensor:
        """Logits for every place."""
        ...


@runtime_checkable
class CachedLanguageModel(Protocol):
    """A language model that needn't read a token twice."""

    @property
    def context_length(self) -> int:
        """How many tokens it reads at most."""
        ...

    def new_cache(self, batch_size: int, room: int | None = None) -> Any:
        """An empty memory of `batch_size` texts; `room` for so many tokens, None for a window."""
        ...

    def __call__(self, tokens: Tensor, cache: Any, /) -> Tensor:
        """Logits for the tokens, which are appended to the memory."""
        ...


class Reader:
    """Feeds a model with tokens as they come, and gives the logits of the next one.

    With a cache each token is read once. When the window is full, the cache starts again with the
    last half of it, so that a token is predicted from between context_length / 2 and context_length
    tokens. Without a cache the model reads its last context_length tokens each time.

    Args:
        model: see `LanguageModel`.
        tokens: the prompt, [B, T]; its last context_length tokens are read.
        room: how many tokens there will be, prompt and all; None where nobody knows.

    Example:
        >>> from whence.models import GPT, GPTConfig
        >>> reader = Reader(GPT(GPTConfig(), vocab_size=65), torch.tensor([[1, 2, 3]]))
        >>> reader.logits().shape
        torch.Size([1, 65])
        >>> reader.append(torch.tensor([4]))
    """

    def __init__(
        self, model: LanguageModel | CachedLanguageModel, tokens: Tensor, room: int | None = None
    ) -> None:
        self._model: Any = model
        self._window = model.context_length
        self._room = self._window if room is None else min(room, self._window)
        self._cached = isinstance(model, CachedLanguageModel)
        self._cache: Any = None
        self._read = 0  # tokens in the cache
        self._context = tokens[:, -self._window :]
        self._unread = self._context

    def logits(self) -> Tensor:
        """Logits [B, V] of the token after all those so far."""
        with torch.inference_mode():
            if not self._cached:
                return self._model(self._context)[:, -1]
            if self._cache is None or self._read + self._unread.shape[1] > self._window:
                self._cache = self._model.new_cache(self._context.shape[0], self._room)
                if self._read:
                    self._unread = self._context[:, -max(1, self._window // 2) :]
                self._read = 0
            self._read += self._unread.shape[1]
            return self._model(self._unread, self._cache)[:, -1]

    def append(self, tokens: Tensor) -> None:
        """Take one more token for each row, [B]."""
        self._unread = tokens[:, None]
        self._context = torch.cat((self._context, self._unread), dim=1)[:, -self._window :]
