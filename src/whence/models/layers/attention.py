"""Attention, as the textbook writes it: each token reads the others."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whence.models.layers.cache import LayerCache
from whence.models.layers.names import NormKind
from whence.models.layers.norms import norm
from whence.models.layers.positions import Rotation


class Attention(nn.Module):
    """Multi-head attention, over the tokens themselves or over a second sequence.

    head h: softmax(q·kᵀ / √d) · v with q = x·Wq, k = s·Wk, v = s·Wv; the heads side by side go
    through Wo. s is x, or `source` for cross-attention. With n_kv_heads < n_heads, several heads
    share one key and value.

    Args:
        d_model: length of a token's vector.
        n_heads: number of heads.
        n_kv_heads: number of keys and values; None for n_heads.
        d_head: length of a head's vectors; None for d_model / n_heads.
        causal: a token sees itself and those before it only.
        qkv_bias: biases for q, k and v.
        bias: a bias for the output.
        qk_norm: norm of q and k in each head ("none" leaves them).
        norm_weight: whether that norm has a weight.
        norm_eps: its eps.
        dropout: share of the attention weights that is set to 0 in training.

    Shape:
        x [B, T, D] (and source [B, S, D]) → [B, T, D].

    Example:
        >>> attention = Attention(d_model=16, n_heads=2)
        >>> attention(torch.randn(1, 5, 16)).shape
        torch.Size([1, 5, 16])

    Source:
        Vaswani et al., "Attention Is All You Need", 2017; shared keys and values: Ainslie et al.,
        "GQA", 2023.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        causal: bool = True,
        qkv_bias: bool = False,
        bias: bool = False,
        qk_norm: NormKind = "none",
        norm_weight: bool = True,
        norm_eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads or n_heads
        d = d_head or d_model // n_heads
        self.q = nn.Linear(d_model, self.n_heads * d, bias=qkv_bias)
        self.k = nn.Linear(d_model, self.n_kv_heads * d, bias=qkv_bias)
        self.v = nn.Linear(d_model, self.n_kv_heads * d, bias=qkv_bias)
        self.o = nn.Linear(self.n_heads * d, d_model, bias=bias)
        self.q_norm = norm(qk_norm, d, weight=norm_weight, bias=False, eps=norm_eps)
        self.k_norm = norm(qk_norm, d, weight=norm_weight, bias=False, eps=norm_eps)
        self.has_qk_norm = qk_norm != "none"
        self.causal = causal
        self.dropout = dropout

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        cache: LayerCache | None = None,
        source: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Let each token of x read the tokens of source (x itself by default).

        Args:
            x: [B, T, D].
            rotation: rotary positions of q and k.
            cache: keys and values of earlier tokens; those of x are appended.
            source: [B, S, D], what is read.
            visible: [B, S] or [B, T, S], False where a token must not be read (padding).
        """
        source = x if source is None else source
        q = self.q_norm(split_heads(self.q(x), self.n_heads))  # [B, H, T, d]
        k = self.k_norm(split_heads(self.k(source), self.n_kv_heads))  # [B, G, S, d]
        v = split_heads(self.v(source), self.n_kv_heads)  # [B, G, S, d]
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        if cache is not None:
            k, v = cache.extend(k, v)
        dropout = self.dropout if self.training else 0.0
        y = attend(q, k, v, self.causal, visible, dropout)  # [B, H, T, d]
        return self.o(y.transpose(1, 2).flatten(2))  # [B, T, H·d] → [B, T, D]

    def qkv(self) -> tuple[Tensor, Tensor | None]:
        """The weights and biases of q, k and v as those of one layer, [(H+2G)·d, D]."""
        weight = torch.cat((self.q.weight, self.k.weight, self.v.weight))
        if self.q.bias is None:
            return weight, None
        return weight, torch.cat((self.q.bias, self.k.bias, self.v.bias))

    def qkv_of(self, x: Tensor) -> Tensor:
        """Queries, keys and values of all heads side by side, [..., D] → [..., (H+2G)·d]."""
        if isinstance(self.q, nn.Linear):
            return F.linear(x, *self.qkv())
        return torch.cat((self.q(x), self.k(x), self.v(x)), dim=-1)  # weights of fewer bits


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """[B, T, H·d] → [B, H, T, d].

    Args:
        x: [B, T, D], with D = H·d.
        n_heads: H.

    Example:
        >>> split_heads(torch.zeros(2, 5, 12), 3).shape
        torch.Size([2, 3, 5, 4])
    """
    return x.unflatten(2, (n_heads, -1)).transpose(1, 2)


def attend(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, visible: Tensor | None = None, dropout: float = 0
) -> Tensor:
    """The textbook's formula: softmax(q·kᵀ / √d + mask) · v.

    Args:
        q: [B, H, T, d].
        k: [B, G, S, d]; each of the G keys serves H/G heads.
        v: [B, G, S, d].
        causal: query t sees the keys up to S − T + t.
        visible: [B, S] or [B, T, S], False where a key must not be read.
        dropout: share of the weights that is set to 0.

    Returns:
        [B, H, T, d].

    Example:
        >>> q = k = v = torch.eye(2)[None, None]
        >>> attend(q, k, v, causal=True)[0, 0]
        tensor([[1.0000, 0.0000],
                [0.3302, 0.6698]])

    Source:
        Vaswani et al., "Attention Is All You Need", 2017, equation 1.
    """
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)  # [B, H, S, d]
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # [B, H, T, S]
    if causal:
        scores = scores.masked_fill(future(*scores.shape[2:], device=q.device), -math.inf)
    if visible is None:
        weights = scores.softmax(-1)  # [B, H, T, S], each row sums to 1
    else:
        weights = softmax_of_visible(scores.masked_fill(~heads_see(visible), -math.inf))
    weights = F.dropout(weights, dropout) if dropout else weights
    return weights @ v


def softmax_of_visible(scores: Tensor) -> Tensor:
    """Softmax along the last dimension, and 0 for a query that may read nothing (all scores −∞).

    Example:
        >>> softmax_of_visible(torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf]]))
        tensor([[1., 0.],
                [0., 0.]])

    P(s) = e^(score_s) / Σ e^(score), over the keys that may be read.
    """
    blind = scores.isneginf().all(-1, keepdim=True)
    return scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)


def future(T: int, S: int, device: torch.device | None = None) -> Tensor:
    """[T, S], True where key s lies after query t; the last query is at the last key.

    Args:
        T: how many queries.
        S: how many keys; future[t, s] = (s > t + S − T).
        device: where it is needed.

    Example:
        >>> future(2, 3)
        tensor([[False, False,  True],
                [False, False, False]])
    """
    return torch.ones(T, S, dtype=torch.bool, device=device).triu(S - T + 1)


def heads_see(visible: Tensor) -> Tensor:
    """[B, S] or [B, T, S] → [B, 1, 1 or T, S], the same for every head.

    Args:
        visible: True where a key may be read.

    Example:
        >>> heads_see(torch.tensor([[True, False]])).shape
        torch.Size([1, 1, 1, 2])
    """
    return visible[:, None, None] if visible.dim() == 2 else visible[:, None]
