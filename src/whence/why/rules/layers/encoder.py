"""torch's fused attention and encoder layer, which `nn.Transformer` takes outside of training.

q, k, v = x·W + b,   weights = softmax(q·kᵀ/√d),   y = (weights·v)·P + p
norm_first:   h = x + attention(norm₁(x)),   out = h + feed_forward(norm₂(h))
else:         h = norm₁(x + attention(x)),   out = norm₂(h + feed_forward(h))
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from whence.why.rules.forms.formula import Name, inside, recorded
from whence.why.rules.opening import Rule

KEYS, EACH_HEAD = 1, 2  # what a mask leaves out: keys of an example, or pairs for every head


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous()  # [B, H, T, D]


def _attention(
    given: dict[str, Any], q: Tensor, k: Tensor, v: Tensor, heads: int, name: Name
) -> tuple[Tensor, Tensor]:
    """Return what attention makes [B, T, D] and its weights [B, H, T, T]."""
    weights, biases = given["qkv_weight"].chunk(3), given["qkv_bias"].chunk(3)
    q, k, v = (
        name(word, _heads(name(f"{word}.rows", F.linear(x, w, b)), heads))
        for word, x, w, b in zip("qkv", (q, k, v), weights, biases, strict=True)
    )
    scores = name("scores", (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1))
    mask = given["mask"]
    if mask is not None:
        kind = given["mask_type"]
        mask = mask[:, None, None, :] if kind == KEYS else mask
        scores = scores.masked_fill(mask.bool(), -math.inf)
    shares = name("weights", scores.softmax(-1))
    mixed = name("mixed", name("heads", shares @ v).transpose(1, 2).flatten(2))
    return F.linear(mixed, given["proj_weight"], given["proj_bias"]), shares


def _heads_alone(given: dict[str, Any], name: Name) -> list[Tensor]:
    q, k, v = given["query"], given["key"], given["value"]
    out, shares = _attention(given, q, k, v, given["num_head"], name)
    if not given["need_weights"]:
        return [out]
    return [out, shares.mean(1) if given["average_attn_weights"] else shares]


def _layer(given: dict[str, Any], name: Name) -> list[Tensor]:
    x = given["src"]

    def norm(x: Tensor, number: int) -> Tensor:
        w, b = given[f"norm_weight_{number}"], given[f"norm_bias_{number}"]
        return name(f"norm{number}", F.layer_norm(x, x.shape[-1:], w, b, given["eps"]))

    def attend(x: Tensor) -> Tensor:
        return name("attention", _attention(given, x, x, x, given["num_heads"], name)[0])

    def feed_forward(x: Tensor) -> Tensor:
        inner = name("inner", F.linear(x, given["ffn_weight_1"], given["ffn_bias_1"]))
        inner = name("active", F.gelu(inner) if given["use_gelu"] else F.relu(inner))
        return name("feed_forward", F.linear(inner, given["ffn_weight_2"], given["ffn_bias_2"]))

    if given["norm_first"]:
        h = name("h", x + attend(norm(x, 1)))
        return [h + feed_forward(norm(h, 2))]
    h = norm(x + attend(x), 1)
    return [norm(h + feed_forward(h), 2)]


RULES: dict[str, Rule] = {
    "_native_multi_head_attention": recorded("softmax(q·kᵀ/√d)·v·P + p", _heads_alone),
    "_transformer_encoder_layer_fwd": recorded("h + feed_forward(h), h = x + attention(x)", _layer),
}
INSIDES = {
    "_native_multi_head_attention": inside(_heads_alone),
    "_transformer_encoder_layer_fwd": inside(_layer),
}
SCHEMAS = {
    "_native_multi_head_attention": (
        "(Tensor query, Tensor key, Tensor value, int embed_dim, int num_head, Tensor qkv_weight, "
        "Tensor qkv_bias, Tensor proj_weight, Tensor proj_bias, Tensor? mask=None, "
        "bool need_weights=True, bool average_attn_weights=True, int? mask_type=None) -> "
        "(Tensor, Tensor)"
    ),
    "_transformer_encoder_layer_fwd": (
        "(Tensor src, int embed_dim, int num_heads, Tensor qkv_weight, Tensor qkv_bias, "
        "Tensor proj_weight, Tensor proj_bias, bool use_gelu, bool norm_first, float eps, "
        "Tensor norm_weight_1, Tensor norm_bias_1, Tensor norm_weight_2, Tensor norm_bias_2, "
        "Tensor ffn_weight_1, Tensor ffn_bias_1, Tensor ffn_weight_2, Tensor ffn_bias_2, "
        "Tensor? mask=None, int? mask_type=None) -> Tensor"
    ),
}
