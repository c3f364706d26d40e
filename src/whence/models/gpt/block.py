"""A block of a GPT: attention and feed-forward on the residual stream."""

from torch import Tensor, nn

from whence.models.gpt.config import GPTConfig
from whence.models.layers.attention import Attention
from whence.models.layers.attention_fused import FusedAttention
from whence.models.layers.cache import LayerCache
from whence.models.layers.feed_forward import MLP, Absent, GatedMLP
from whence.models.layers.names import GATED
from whence.models.layers.norms import norm
from whence.models.layers.positions import Rotation


class Block(nn.Module):
    """One layer of a Transformer: h = x + attn(norm1(x));  y = h + mlp(norm2(h)).

    Args:
        config: the shape.

    Shape:
        [B, T, D] → [B, T, D].

    Example:
        >>> import torch
        >>> Block(GPTConfig())(torch.zeros(1, 5, 128)).shape
        torch.Size([1, 5, 128])

    Source:
        Vaswani et al., 2017; norms ahead of the parts: Xiong et al., 2020.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm1 = norm_of(config)
        self.attn = Absent() if "attention" in config.without else _attention(config)
        self.norm2 = norm_of(config)
        self.mlp = Absent() if "feed_forward" in config.without else _feed_forward(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(
        self, x: Tensor, rotation: Rotation | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """Let the tokens read each other, then work on each."""
        h = x + self.dropout(self.attn(self.norm1(x), rotation, cache))  # [B, T, D]
        return h + self.dropout(self.mlp(self.norm2(h)))


class BlockWithoutResidual(Block):
    """A block whose input doesn't flow past its parts: h = attn(norm1(x));  y = mlp(norm2(h))."""

    def forward(
        self, x: Tensor, rotation: Rotation | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """Let the tokens read each other, then work on each."""
        h = self.dropout(self.attn(self.norm1(x), rotation, cache))  # [B, T, D]
        return self.dropout(self.mlp(self.norm2(h)))


def norm_of(c: GPTConfig) -> nn.Module:
    """The norm that the config asks for."""
    return norm(c.norm, c.d_model, weight=c.norm_weight, bias=c.bias, eps=c.norm_eps)


def _attention(c: GPTConfig) -> nn.Module:
    form = Attention if c.attention == "formula" else FusedAttention
    return form(
        c.d_model,
        c.n_heads,
        n_kv_heads=c.n_kv_heads,
        d_head=c.d_head,
        causal=c.causal,
        qkv_bias=c.qkv_bias,
        bias=c.has_out_bias,
        qk_norm="rms" if c.qk_norm else "none",
        norm_weight=c.norm_weight,
        norm_eps=c.norm_eps,
        dropout=c.dropout,
    )


def _feed_forward(c: GPTConfig) -> nn.Module:
    form = GatedMLP if c.activation in GATED else MLP
    return form(c.d_model, c.hidden_size, c.activation, c.bias)
