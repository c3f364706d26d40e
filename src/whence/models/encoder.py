"""The encoder of the 2017 Transformer: every token reads all the others, before and after it.

What it adds to the GPT: no mask. It can't write, but it can read: its vectors go to a decoder
(seq2seq.py) or, averaged, to a classifier.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from whence.errors import WhenceError
from whence.fields import check_fields
from whence.models.attention import Attention
from whence.models.attention_fast import FastAttention
from whence.models.bigram import check_sizes
from whence.models.layers import MLP, init_linear
from whence.models.norms import norm
from whence.models.positions import NoPositions, SinusoidalPositions


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder, or of an encoder and a decoder of the same size.

    Attributes:
        n_layers: blocks (6 in the paper), in the encoder and again in the decoder.
        n_heads: attention heads in each block (8 in the paper).
        d_model: length of a token's vector (512 in the paper).
        d_ff: hidden units of the feed-forward part; None for 4·d_model.
        context_length: how many tokens a text has at most.
        dropout: share of activations set to 0 in training.
        norm_first: norms ahead of each part, as in a GPT, instead of behind as in the paper.
        positions: sinusoidal or none.
        causal: a token reads only itself and those before it, as in a GPT.
        attention: formula for the textbook's, fast for its twin.

    Raises:
        WhenceError: a size that can't be.

    Example:
        >>> EncoderConfig(d_model=64).hidden_size
        256
    """

    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 64
    d_ff: int | None = None
    context_length: int = 96
    dropout: float = 0.1
    norm_first: bool = False
    positions: Literal["sinusoidal", "none"] = "sinusoidal"
    causal: bool = False
    attention: Literal["formula", "fast"] = "fast"

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        check_sizes(self, "n_layers", "n_heads", "d_model", "hidden_size", "context_length")
        if self.d_model % self.n_heads or self.d_model % 2:
            even = 2 * self.n_heads
            raise WhenceError(
                f"d_model = {self.d_model} must be even and shared out evenly among n_heads = "
                f"{self.n_heads}: use d_model = {even * max(1, self.d_model // even)}."
            )
        if not 0 <= self.dropout < 1:
            raise WhenceError(f"dropout is {self.dropout}: it must be at least 0 and below 1.")

    @property
    def hidden_size(self) -> int:
        """Hidden units of the feed-forward part."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff


@dataclass(frozen=True)
class ClassifierConfig(EncoderConfig):
    """The shape of an encoder that names classes.

    Attributes:
        classes: their names; a run takes them from its text.

    Raises:
        WhenceError: a size that can't be.

    Example:
        >>> ClassifierConfig(classes=("ham", "spam")).d_model
        64
    """

    classes: tuple[str, ...] = ()


class Residual(nn.Module):
    """A part with what stands around it: norm(x + dropout(part(x))), or x + dropout(part(norm(x))).

    Args:
        config: says where the norm stands.
        part: attention or feed-forward.

    Source:
        Vaswani et al., 2017, section 3.1; norm ahead: Xiong et al., 2020.
    """

    def __init__(self, config: EncoderConfig, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.norm = norm("layer", config.d_model, bias=True, eps=1e-5)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.norm_first = config.norm_first

    def forward(self, x: Tensor, **options: Tensor | None) -> Tensor:
        """Add what the part makes of x, [B, T, D] → [B, T, D]."""
        if self.norm_first:
            return x + self.dropout(self.part(self.norm(x), **options))
        return self.norm(x + self.dropout(self.part(x, **options)))


class EncoderBlock(nn.Module):
    """One layer: each token reads all visible ones, then works on what it read.

    Shape:
        x [B, S, D] → [B, S, D].
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attn = Residual(config, attention(config, causal=config.causal))
        self.mlp = Residual(config, MLP(config.d_model, config.hidden_size, "relu", bias=True))

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Read and work."""
        return self.mlp(self.attn(x, visible=visible))


class Encoder(nn.Module):
    """Vectors in context: x = √D·embed(tokens) + waves;  x = block(x) for each block.

    Args:
        config: the shape.
        vocab_size: number of tokens there are.

    Shape:
        tokens [B, S] → [B, S, D].

    Example:
        >>> import torch
        >>> Encoder(EncoderConfig(d_model=32), 65)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 32])

    Source:
        Vaswani et al., "Attention Is All You Need", 2017.
    """

    def __init__(self, config: EncoderConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(vocab_size, config.d_model)
        self.positions = positions(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.n_layers))
        self.norm = norm(
            "layer" if config.norm_first else "none", config.d_model, bias=True, eps=1e-5
        )
        initialise(self, config)

    def forward(self, tokens: Tensor, visible: Tensor | None = None) -> Tensor:
        """Read a text.

        Args:
            tokens: [B, S].
            visible: [B, S], False for padding.
        """
        x = math.sqrt(self.config.d_model) * self.embed(tokens)  # [B, S, D]
        x = self.dropout(self.positions(x))
        for block in self.blocks:
            x = block(x, visible)
        return self.norm(x)


class Classifier(nn.Module):
    """An encoder that names a text's class: logits = head(mean of the tokens' vectors).

    Args:
        config: the encoder's shape and the classes.
        vocab_size: number of tokens there are.

    Shape:
        tokens [B, S] → logits [B, C].

    Example:
        >>> import torch
        >>> config = ClassifierConfig(d_model=32, classes=("cat", "dog", "bird"))
        >>> Classifier(config, 65)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3])

    Source:
        Devlin et al., "BERT", 2018, whose first token's vector stands where the mean stands here.
    """

    def __init__(self, config: ClassifierConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.encoder = Encoder(config, vocab_size)
        self.head = nn.Linear(config.d_model, max(1, len(config.classes)))
        init_linear(self.head, 0.0)

    def forward(self, tokens: Tensor, visible: Tensor | None = None) -> Tensor:
        """Logits of the classes; visible [B, S] is False for padding."""
        x = self.encoder(tokens, visible)  # [B, S, D]
        if visible is None:
            return self.head(x.mean(1))
        weights = visible.to(x.dtype) / visible.sum(1, keepdim=True)  # [B, S], rows sum to 1
        return self.head((weights.unsqueeze(1) @ x).squeeze(1))


def attention(c: EncoderConfig, causal: bool) -> Attention:
    """The attention of a block, its mask set or not."""
    form = Attention if c.attention == "formula" else FastAttention
    return form(c.d_model, c.n_heads, causal=causal, qkv_bias=True, bias=True, dropout=c.dropout)


def positions(c: EncoderConfig) -> nn.Module:
    """Waves, or nothing."""
    return SinusoidalPositions() if c.positions == "sinusoidal" else NoPositions()


def initialise(model: nn.Module, c: EncoderConfig) -> None:
    """Embeddings from N(0, 1/D), so that √D·embed has size 1; matrices by Glorot and Bengio."""
    for part in model.modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=c.d_model**-0.5)
        elif isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
