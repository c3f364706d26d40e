"""A GPT: blocks of attention and feed-forward that predict the next token from those before it."""

import math

from torch import Tensor, nn

from whence.errors import WhenceError
from whence.models.gpt.block import Block, BlockWithoutResidual, norm_of
from whence.models.gpt.config import GPTConfig
from whence.models.gpt.decode import Decoder
from whence.models.gpt.row_decode import RowDecoder, is_for
from whence.models.layers.cache import Cache, LayerCache
from whence.models.layers.feed_forward import PairEmbedding, init_linear
from whence.models.layers.positions import (
    LearnedPositions,
    NoPositions,
    Rotation,
    SinusoidalPositions,
    position_angles,
)

__all__ = ["GPT", "Block"]

LARGEST_PAIR_TABLE = 2048  # tokens; the table of pairs has the square of it as rows


class GPT(nn.Module):
    """Logits of the next token after each token of a text.

    x = embed(tokens) + positions;  x = block(x) for each block;  logits = head(norm(x)).

    Args:
        config: the shape.
        vocab_size: number of tokens there are, V.

    Shape:
        tokens [B, T] → logits [B, T, V], T at most config.context_length.

    Raises:
        WhenceError: the tokens don't fit into the window.

    Example:
        >>> import torch
        >>> model = GPT(GPTConfig(n_layers=2, d_model=32), vocab_size=65)
        >>> model(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 65])

    Source:
        Radford et al., "Improving Language Understanding by Generative Pre-Training", 2018.
    """

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.embed = nn.Embedding(vocab_size, config.d_model)
        self.bigram = _pair_embedding(config, vocab_size)
        self.positions = _positions(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        block = BlockWithoutResidual if "residual" in config.without else Block
        self.blocks = nn.ModuleList([block(config) for _ in range(config.n_layers)])
        self.norm = norm_of(config)
        self.head = nn.Linear(config.d_model, vocab_size, bias=False)
        self._initialise()

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [B, T, V] of the token after each of the tokens [B, T].

        Args:
            tokens: ids below vocab_size.
            cache: what was read before; the tokens are appended to it.

        Raises:
            WhenceError: where the text is longer than the model can read.
        """
        T, start = tokens.shape[1], 0 if cache is None else cache.length
        if start + T > self.config.context_length:
            raise WhenceError(
                f"The text is {start + T} tokens long, but the model reads at most "
                f"{self.config.context_length}: shorten it, or train with a larger context_length."
            )
        if cache is not None and cache.step is not None and T == 1:
            return cache.step(tokens, cache)
        return self.head(self.vectors(tokens, cache))  # [B, T, V]

    def vectors(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """The vectors [B, T, D] that the head reads: each token in its context.

        Args:
            tokens: as of `forward`.
            cache: as of `forward`.
        """
        T, start = tokens.shape[1], 0 if cache is None else cache.length
        x = self.embed(tokens)  # [B, T, D]
        if self.bigram is not None:
            x = x + self.bigram(tokens, None if cache is None else cache.last_token)
        x = self.dropout(self.positions(x, start))
        rotation = self._rotation(tokens, cache)
        for block, memory in zip(self.blocks, self._memories(cache), strict=True):
            x = block(x, rotation, memory)
        if cache is not None:
            cache.length, cache.last_token = start + T, tokens[:, -1:]
        return self.norm(x)

    def new_cache(self, batch_size: int, room: int | None = None) -> Cache:
        """An empty cache for texts that are continued.

        Args:
            batch_size: how many, at once.
            room: for how many tokens; None for as many as the model reads, which may be far more
                than there is memory for.

        Raises:
            WhenceError: where there is no memory for them.
        """
        c, weight = self.config, self.embed.weight
        length = c.context_length if room is None else min(room, c.context_length)
        shape = (c.n_layers, batch_size, c.kv_heads, length, c.head_size)
        try:
            rotation = self.rotation_of(length, weight)
            cache = Cache(shape, rotation, weight.dtype, weight.device)
        except RuntimeError as error:  # as torch says that memory is full
            raise WhenceError(
                f"there is no memory for the keys and values of {batch_size:,} × "
                f"{length:,} tokens: write fewer tokens, or fewer texts at once."
            ) from error
        if c.attention == "fast" and not c.without and not self.training:
            native = batch_size == 1 and is_for(self)
            cache.step = RowDecoder(self, cache) if native else Decoder(self, cache)
        return cache

    @property
    def context_length(self) -> int:
        """How many tokens the model reads at most."""
        return self.config.context_length

    def _memories(self, cache: Cache | None) -> list[LayerCache | None]:
        return [None] * len(self.blocks) if cache is None else [*cache.layers]

    def _rotation(self, tokens: Tensor, cache: Cache | None) -> Rotation | None:
        if cache is None:
            return self.rotation_of(tokens.shape[1], tokens)
        if cache.rotation is None:
            return None
        return cache.rotation[cache.length : cache.length + tokens.shape[1]]

    def rotation_of(self, length: int, like: Tensor) -> Rotation | None:
        """The rotary positions of the first places, where the model has them; like: its device.

        Args:
            length: how many places, from 0 on.
            like: a tensor on the device that they are wanted on.
        """
        c = self.config
        if c.positions != "rotary":
            return None
        d, base, scaling = c.head_size, c.rope_base, c.rope_scaling
        angles = position_angles(0, length, d, base, like.device, scaling)
        return Rotation(angles, scaling.attention_factor)

    def _initialise(self) -> None:
        """Draw every weight; what writes to the residual stream is scaled by 1/√(2·n_layers)."""
        c = self.config
        nn.init.normal_(self.embed.weight, std=c.embedding_std)
        residual = 0.0 if c.zero_residual else 1 / math.sqrt(2 * c.n_layers)
        for name, part in self.blocks.named_modules():
            if isinstance(part, nn.Linear):
                writes = name.endswith((".o", ".down"))
                init_linear(part, c.init_std, residual if writes else 1.0)
        init_linear(self.head, c.init_std, 0.0 if c.zero_head else 1.0)
        if c.tied_embeddings:
            self.head.weight = self.embed.weight


def _positions(c: GPTConfig) -> nn.Module:
    if c.positions == "learned":
        return LearnedPositions(c.context_length, c.d_model)
    return SinusoidalPositions() if c.positions == "sinusoidal" else NoPositions()


def _pair_embedding(c: GPTConfig, vocab_size: int) -> nn.Module | None:
    if not c.bigram_embedding:
        return None
    if vocab_size > LARGEST_PAIR_TABLE:
        raise WhenceError(
            f"bigram_embedding needs a row for each of the {vocab_size:,}² pairs of tokens: it is "
            f"for vocabularies of at most {LARGEST_PAIR_TABLE:,} tokens. Set it to false."
        )
    return PairEmbedding(vocab_size, c.d_model)
