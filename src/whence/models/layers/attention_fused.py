"""Attention, fused: the same numbers up to rounding, from fewer and larger operations."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from whence.models.layers.attention import Attention, future, heads_see
from whence.models.layers.cache import LayerCache
from whence.models.layers.positions import Rotation

SHORT = 512  # keys; up to here two plain products beat torch's kernel in training on a CPU


class FusedAttention(Attention):
    """The fused form of `Attention`: same arguments, same parameters, same result up to rounding.

    One product makes q, k and v, one copy lays their heads side by side, one rotation turns q and
    k; `attend_fused` does the rest.

    Example:
        >>> attention = FusedAttention(d_model=16, n_heads=2)
        >>> attention(torch.randn(1, 5, 16)).shape
        torch.Size([1, 5, 16])
    """

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        cache: LayerCache | None = None,
        source: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Let each token of x read the tokens of source; arguments as in `Attention.forward`."""
        if source is not None:
            return super().forward(x, rotation, cache, source, visible)
        H, G = self.n_heads, self.n_kv_heads
        heads = self.qkv_of(x).unflatten(2, (H + 2 * G, -1))  # [B, T, H+2G, d]
        heads = heads.permute(2, 0, 1, 3).contiguous()  # [H+2G, B, T, d]
        if self.has_qk_norm:
            q, k, v = heads.split((H, G, G))
            qk = torch.cat((self.q_norm(q), self.k_norm(k)))
        else:
            qk, v = heads.split((H + G, G))
        q, k = (qk if rotation is None else rotation(qk)).split((H, G))
        q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)  # [B, H or G, T, d]
        if cache is not None:
            k, v = cache.extend(k, v)
        dropout = self.dropout if self.training else 0.0
        y = attend_fused(q, k, v, self.causal, visible, dropout)  # [B, H, T, d]
        return self.o(y.transpose(1, 2).flatten(2))  # [B, T, H·d] → [B, T, D]


def attend_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool,
    visible: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The fused form of `attend`: plain products or torch's kernel, whichever is faster here.

    Arguments and result are those of `attend`. torch's kernel spares the memory of the weights,
    but on a CPU its backward pass is slow, in bf16 several times slower than the formula's.

    Example:
        >>> q = k = v = torch.eye(2)[None, None]
        >>> attend_fused(q, k, v, causal=True)[0, 0]
        tensor([[1.0000, 0.0000],
                [0.3302, 0.6698]])
    """
    T, S, grouped = q.shape[2], k.shape[2], q.shape[1] > k.shape[1]
    on_cpu = q.device.type == "cpu"
    if on_cpu and visible is None and not grouped and (T == 1 or (q.requires_grad and S <= SHORT)):
        return _attend_by_products(q, k, v, causal, dropout)
    mask = None if visible is None else heads_see(visible)
    if causal and T > 1 and (T < S or mask is not None):
        past = ~future(T, S, device=q.device)
        mask = past if mask is None else mask & past
    return F.scaled_dot_product_attention(
        q, k, v, mask, dropout, is_causal=causal and mask is None and T > 1, enable_gqa=grouped
    )


def _attend_by_products(q: Tensor, k: Tensor, v: Tensor, causal: bool, dropout: float) -> Tensor:
    """The formula with scale and mask inside the first product; heads lie ahead of examples."""
    (B, H, T, d), S = q.shape, k.shape[2]
    q, k, v = (x.transpose(0, 1).flatten(0, 1) for x in (q, k, v))  # [H·B, T or S, d]
    mask = q.new_zeros(T, S)
    if causal and T > 1:
        mask = mask.masked_fill(future(T, S, q.device), -math.inf)
    scores = torch.baddbmm(mask, q, k.mT, alpha=1 / math.sqrt(d))  # [H·B, T, S]
    weights = scores.softmax(-1)
    weights = F.dropout(weights, dropout) if dropout else weights
    return torch.bmm(weights, v).unflatten(0, (H, B)).transpose(0, 1)  # [B, H, T, d]
