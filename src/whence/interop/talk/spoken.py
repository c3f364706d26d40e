"""What made a token likely: a logit as the sum of what each head, word and layer wrote for it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whence.errors import WhenceError
from whence.models import GPT
from whence.models.gpt.block import Block
from whence.models.layers.attention import Attention, future, split_heads


@dataclass(frozen=True)
class Spoken:
    """A logit, broken down along the residual stream.

    The stream of the last token is its embedding plus what each part of each block added to it. The
    last norm divides it by one number, and the head multiplies it by a row: so each addition has
    its own share of the logit, and the shares add up to it. An attention's addition is a sum over
    heads and over the tokens that were read.

    Attributes:
        logit: as the model gives it.
        embedding: the share of the last token's own embedding (and position).
        heads: of each head and each token it read, [layers, heads, T].
        feed_forward: of each feed-forward part, [layers].
        rest: of biases and the last norm's offset.

    Example:
        >>> Spoken(1.0, 1.0, torch.zeros(1, 1, 1), torch.zeros(1), 0.0).total
        1.0
    """

    logit: float
    embedding: float
    heads: Tensor
    feed_forward: Tensor
    rest: float

    @property
    def total(self) -> float:
        """The sum of all shares; the logit, but for rounding."""
        return self.embedding + self.rest + float(self.heads.sum() + self.feed_forward.sum())


@torch.inference_mode()
def spoken_for(model: GPT, ids: list[int], token: int) -> Spoken:
    """Break down the logit of a token after some tokens.

    Args:
        model: with all its parts, in evaluation mode.
        ids: the tokens that it reads.
        token: the one that could come next.

    Raises:
        WhenceError: where parts of the model were taken out, or the tokens don't fit.

    Example:
        >>> from whence.models import GPT, GPTConfig
        >>> model = GPT(GPTConfig(n_layers=2, zero_head=False), 9).eval()
        >>> found = spoken_for(model, [1, 2, 3], 4)
        >>> abs(found.total - found.logit) < 1e-5
        True
    """
    c = model.config
    if c.without or not 1 <= len(ids) <= c.context_length:
        raise WhenceError(
            "a token's logit can be broken down only in a model with all its parts, after 1 to "
            f"{c.context_length:,} tokens; this is after {len(ids):,}."
        )
    tokens = torch.tensor([ids], device=model.embed.weight.device)
    x = model.embed(tokens)
    if model.bigram is not None:
        x = x + model.bigram(tokens, None)
    x = model.positions(x, 0)  # [1, T, D]
    rotation = model.rotation_of(len(ids), model.embed.weight)
    written = [x[0, -1]]  # what was added to the last token's vector, one a row
    places: list[Tensor] = []  # [heads, T, D] of each layer
    for block in model.blocks:
        assert isinstance(block, Block)
        assert isinstance(block.attn, Attention)
        by_head = _attention(block.attn, block.norm1(x), rotation)
        places.append(by_head)
        x = x + block.attn(block.norm1(x), rotation)
        fed = block.mlp(block.norm2(x))
        written.append(fed[0, -1])
        x = x + fed
    last = x[0, -1]
    row, offset = _row(model, last, token)
    heads = torch.stack([place @ row for place in places])  # [layers, heads, T]
    shares = torch.stack(written) @ row
    logit = float(model.head(model.norm(x[:, -1]))[0, token])
    known = float(heads.sum() + shares.sum())
    biases = float(last @ row) - known
    return Spoken(logit, float(shares[0]), heads, shares[1:], biases + offset)


def speakers(found: Spoken, tokens: list[str]) -> list[tuple[float, str]]:
    """Return the shares of a logit with their origins, the largest first.

    Args:
        found: the logit, taken apart.
        tokens: what was read, a text each.

    Example:
        >>> speakers(Spoken(3.0, 1.0, torch.zeros(0, 1, 1), torch.tensor([2.0]), 0.0), ["a"])
        [(2.0, 'layer 0, feed-forward'), (1.0, "the embedding of 'a'")]
    """
    rows = [(found.embedding, f"the embedding of {tokens[-1]!r}")]
    if found.rest:
        rows.append((found.rest, "biases"))
    for layer, share in enumerate(found.feed_forward.tolist()):
        rows.append((share, f"layer {layer}, feed-forward"))
    for layer, heads in enumerate(found.heads.sum(-1).tolist()):
        for head, share in enumerate(heads):
            read = found.heads[layer, head]
            first = read.abs().topk(min(2, len(tokens))).indices.tolist()
            words = ", ".join(f"{tokens[i]!r} {read[i].item():+.3f}" for i in first)
            rows.append((share, f"layer {layer}, head {head}: reading {words}"))
    return sorted(rows, key=lambda row: -abs(row[0]))


def _attention(attn: Attention, x: Tensor, rotation) -> Tensor:
    """What the last token gets from each head and token, [H, T, D], without the output's bias."""
    H, G = attn.n_heads, attn.n_kv_heads
    q = attn.q_norm(split_heads(attn.q(x), H))
    k = attn.k_norm(split_heads(attn.k(x), G))
    v = split_heads(attn.v(x), G)[0]  # [G, T, d]
    if rotation is not None:
        q, k = rotation(q), rotation(k)
    k, v = k[0].repeat_interleave(H // G, 0), v.repeat_interleave(H // G, 0)  # [H, T, d]
    scores = (q[0] @ k.mT)[:, -1] / math.sqrt(q.shape[-1])  # [H, T]
    if attn.causal:
        scores = scores.masked_fill(future(1, x.shape[1], x.device)[0], -math.inf)
    weights = scores.softmax(-1)
    out = attn.o.weight.unflatten(1, (H, -1)).permute(1, 2, 0)  # [H, d, D]
    return (weights[..., None] * v) @ out


def _row(model: GPT, last: Tensor, token: int) -> tuple[Tensor, float]:
    """The vector u and the offset for which logit = last·u + offset."""
    row = model.head.weight[token]
    norm = model.norm
    if isinstance(norm, nn.Identity):
        return row, 0.0
    weight = getattr(norm, "weight", None)
    u = row if weight is None else row * weight
    if isinstance(norm, nn.LayerNorm):
        deviation = (last.var(unbiased=False) + norm.eps).sqrt()
        offset = 0.0 if norm.bias is None else float(norm.bias @ row)
        return (u - u.mean()) / deviation, offset
    return u / (last.square().mean() + model.config.norm_eps).sqrt(), 0.0
