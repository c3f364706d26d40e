"""The fused form of a GPT's forward pass for one more token, with a cache, in inference."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whence.models.gpt.block import Block
from whence.models.layers.attention import Attention
from whence.models.layers.cache import Cache, LayerCache
from whence.models.layers.feed_forward import MLP, GatedMLP
from whence.models.layers.norms import RMSNorm
from whence.models.layers.positions import Rotation

if TYPE_CHECKING:
    from whence.models.gpt.model import GPT

Step = Callable[[Tensor], Tensor]


class Decoder:
    """Logits of the token after one more token for each row; equal to the model up to rounding.

    A step does so little arithmetic that the cost is in the number of operations: here q, k and v
    are one product, heads that share a key are rows of one product, and nothing is copied but the
    new key and value. Weights are laid out for few rows, once, when the cache is made.

    Args:
        model: a GPT with all its parts, in evaluation mode.
        cache: its cache.

    Shape:
        tokens [B, 1] → logits [B, 1, V].
    """

    def __init__(self, model: "GPT", cache: Cache) -> None:
        self.model = model
        self.norm, self.head = norm_step(model.norm), product(model.head)
        self.blocks = [
            BlockDecoder(block, memory)
            for block, memory in zip(model.blocks, cache.layers, strict=True)
            if isinstance(block, Block)
        ]

    def __call__(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Read the tokens [B, 1] into the cache; logits [B, 1, V]."""
        model = self.model
        x = model.embed(tokens)  # [B, 1, D]
        if model.bigram is not None:
            x = x + model.bigram(tokens, cache.last_token)
        x = model.positions(x, cache.length)[:, 0]  # [B, D]
        place = slice(cache.length, cache.length + 1)
        rotation = None if cache.rotation is None else cache.rotation[place]
        for block in self.blocks:
            x = block(x, rotation)
        cache.length, cache.last_token = cache.length + 1, tokens
        return self.head(self.norm(x))[:, None]


class BlockDecoder:
    """One block for one more token: h = x + attn(norm1(x));  y = h + mlp(norm2(h))."""

    def __init__(self, block: Block, cache: LayerCache) -> None:
        assert isinstance(block.attn, Attention)
        attn = self.attn = block.attn
        self.norm1, self.norm2 = norm_step(block.norm1), norm_step(block.norm2)
        self.qkv, self.o = qkv_step(attn), product(attn.o)
        self.mlp = mlp_step(block.mlp)
        self.cache = cache
        self.keys, self.values = cache.keys.flatten(0, 1), cache.values.flatten(0, 1)  # [B·G, C, d]
        self.d = cache.keys.shape[-1]
        self.nothing = cache.keys.new_zeros(())

    def __call__(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """[B, D] → [B, D]."""
        h = x + self.o(self.attend(self.norm1(x), rotation))
        return h + self.mlp(self.norm2(h))

    def attend(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """What the new token reads, [B, D] → [B, H·d]."""
        H, G, d, B = self.attn.n_heads, self.attn.n_kv_heads, self.d, x.shape[0]
        qkv = self.qkv(x).view(B, H + 2 * G, d)
        qk = qkv[:, : H + G]
        if self.attn.has_qk_norm:
            qk = torch.cat((self.attn.q_norm(qk[:, :H]), self.attn.k_norm(qk[:, H:])), dim=1)
        if rotation is not None:
            qk = rotation(qk)
        at = self.cache.length
        self.cache.keys[:, :, at] = qk[:, H:]
        self.cache.values[:, :, at] = qkv[:, H + G :]
        self.cache.length = end = at + 1
        q = qk[:, :H].reshape(B * G, H // G, d)  # heads that share a key side by side
        scores = torch.baddbmm(
            self.nothing, q, self.keys[:, :end].mT, beta=0, alpha=1 / math.sqrt(d)
        )  # [B·G, H/G, end]
        return torch.bmm(scores.softmax(-1), self.values[:, :end]).view(B, H * d)


def product(layer: nn.Module) -> Step:
    """A linear layer for few rows."""
    if not isinstance(layer, nn.Linear):
        return layer  # its weights are laid out as they are read
    return product_of(layer.weight, layer.bias)


def qkv_step(attn: Attention) -> Step:
    """Queries, keys and values of few rows side by side, [B, D] → [B, (H+2G)·d]."""
    return product_of(*attn.qkv()) if isinstance(attn.q, nn.Linear) else attn.qkv_of


def product_of(weight: Tensor, bias: Tensor | None) -> Step:
    """A linear layer x → x·weightᵀ + bias, its weight laid out as few rows read it fastest."""
    if weight.dtype == torch.bfloat16:  # by rows: a seventh less time on a CPU, measured
        return lambda x: F.linear(x, weight, bias)
    columns = weight.t().contiguous()
    if bias is None:
        return lambda x: x @ columns
    return lambda x: torch.addmm(bias, x, columns)


def mlp_step(mlp: nn.Module) -> Step:
    """The feed-forward part for few rows."""
    if isinstance(mlp, GatedMLP):
        up, gate, down, f = product(mlp.up), product(mlp.gate), product(mlp.down), mlp.activation
        return lambda x: down(f(gate(x)) * up(x))
    assert isinstance(mlp, MLP)
    up, down, f = product(mlp.up), product(mlp.down), mlp.activation
    return lambda x: down(f(up(x)))


def norm_step(norm: nn.Module) -> Step:
    """The norm in few calls: √d·x / √(|x|² + d·eps) for RMSNorm."""
    if not isinstance(norm, RMSNorm):
        return norm.forward
    weight, root = norm.weight, math.sqrt(norm.d)
    floor = torch.tensor(root * math.sqrt(norm.eps))

    def step(x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).hypot(floor.to(x))
        y = x / length * root
        return y if weight is None else weight * y

    return step
