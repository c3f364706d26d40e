"""The encoder of the 2017 Transformer: every token reads all the others, before and after it.

What it adds to the GPT: no mask. It can't write, but it can read: its vectors go to a decoder
(seq2seq.py) or, averaged, to a classifier.
"""

import math

from torch import Tensor, nn

from whence.models.layers.attention import Attention
from whence.models.layers.attention_fused import FusedAttention
from whence.models.layers.feed_forward import MLP, init_linear
from whence.models.layers.norms import norm
from whence.models.layers.positions import NoPositions, SinusoidalPositions
from whence.models.seq2seq.config import ClassifierConfig, EncoderConfig


class Residual(nn.Module):
    """A part with residual and norm: norm(x + dropout(part(x))), or x + dropout(part(norm(x))).

    Args:
        config: says where the norm is.
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
        # [B, S], rows sum to 1; one that is nothing but padding has no mean, and gives zeros.
        weights = visible.to(x.dtype) / visible.sum(1, keepdim=True).clamp(min=1)
        return self.head((weights.unsqueeze(1) @ x).squeeze(1))


def attention(c: EncoderConfig, causal: bool) -> Attention:
    """The attention of a block, its mask set or not."""
    form = Attention if c.attention == "formula" else FusedAttention
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
