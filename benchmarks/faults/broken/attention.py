"""Attention with one mistake."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from whence.models.layers.attention import Attention, future, split_heads


def _without_transpose(x: Tensor, n_heads: int) -> Tensor:
    """[B, T, H·d] read as [B, H, T, d]: a head gets the features of other tokens."""
    return x.reshape(len(x), n_heads, x.shape[1], -1)


class Broken(Attention):
    """Attention by the formula, with one mistake."""

    mistake = ""

    def forward(self, x, rotation=None, cache=None, source=None, visible=None):  # type: ignore[override]
        """As `Attention.forward`."""
        split = _without_transpose if self.mistake == "no transpose" else split_heads
        q, k, v = (split(m(x), self.n_heads) for m in (self.q, self.k, self.v))
        if self.mistake == "query detached":
            q = q.detach()
        if self.mistake == "key is the query":
            k = q
        if self.mistake == "value is the key":
            v = k
        if rotation is not None:
            q, k = rotation(q), rotation(k)
        if cache is not None:
            k, v = cache.extend(k, v)
        T, S, d = q.shape[2], k.shape[2], q.shape[-1]
        scores = q @ k.mT
        if self.mistake != "no scale":
            scores = scores / math.sqrt(d)
        later = future(T, S, q.device)
        if self.causal:
            scores = self._mask(scores, later)
        if visible is not None and self.mistake != "padding read":
            low = -1.0 if self.mistake == "padding masked by a little" else -1e9
            scores = scores.masked_fill(~visible[:, None, None], low)
        weights = scores.softmax({"wrong axis": -2, "over the batch": 0}.get(self.mistake, -1))
        if self.mistake == "masked after the softmax":
            weights = weights.masked_fill(later, 0.0)
        return self.o((weights @ v).transpose(1, 2).flatten(2))

    def _mask(self, scores: Tensor, later: Tensor) -> Tensor:
        if self.mistake == "masked after the softmax":
            return scores
        if self.mistake == "masked with 0":
            return scores.masked_fill(later, 0.0)
        if self.mistake == "mask upside down":
            earlier = torch.ones_like(later).tril(later.shape[1] - later.shape[0] - 1)
            return scores.masked_fill(earlier, -math.inf)
        if self.mistake == "sees itself alone":
            later = ~torch.eye(*later.shape, dtype=torch.bool)
        if self.mistake == "sees one ahead":
            later = later.triu(2)
        return scores.masked_fill(later, -1e9 if self.mistake == "wrong axis" else -math.inf)


def attention_with(mistake: str) -> Callable[[nn.Module], None]:
    """What gives every attention of a model the mistake."""

    def break_(model: nn.Module) -> None:
        if hasattr(model, "transformer"):  # transformers' own attention is told by its config
            return
        kind = type("Broken", (Broken,), {"mistake": mistake})
        for module in model.modules():
            if isinstance(module, Attention):
                module.__class__ = kind

    return break_


MISTAKES = (
    "key is the query", "value is the key", "sees itself alone", "sees one ahead", "wrong axis",
    "over the batch", "padding read", "no scale", "no transpose", "query detached",
    "masked after the softmax", "masked with 0", "mask upside down", "padding masked by a little",
)  # fmt: skip
