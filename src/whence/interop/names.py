"""What other formats call each weight."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.interop.layouts import Layout
from whence.models import GPTConfig

# blocks.3.attn.q.weight is `q` of layer 3 in these tables; what follows it stays.
_LLAMA = {
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "norm1": "model.layers.{}.input_layernorm",
    "norm2": "model.layers.{}.post_attention_layernorm",
    "attn.q": "model.layers.{}.self_attn.q_proj",
    "attn.k": "model.layers.{}.self_attn.k_proj",
    "attn.v": "model.layers.{}.self_attn.v_proj",
    "attn.o": "model.layers.{}.self_attn.o_proj",
    "attn.q_norm": "model.layers.{}.self_attn.q_norm",
    "attn.k_norm": "model.layers.{}.self_attn.k_norm",
    "mlp.gate": "model.layers.{}.mlp.gate_proj",
    "mlp.up": "model.layers.{}.mlp.up_proj",
    "mlp.down": "model.layers.{}.mlp.down_proj",
}
_GPT2 = {
    "embed": "transformer.wte",
    "positions": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
    "norm1": "transformer.h.{}.ln_1",
    "norm2": "transformer.h.{}.ln_2",
    "attn.q": "transformer.h.{}.attn.c_attn",
    "attn.k": "transformer.h.{}.attn.c_attn",
    "attn.v": "transformer.h.{}.attn.c_attn",
    "attn.o": "transformer.h.{}.attn.c_proj",
    "mlp.up": "transformer.h.{}.mlp.c_fc",
    "mlp.down": "transformer.h.{}.mlp.c_proj",
}
_GGUF = {
    "embed": "token_embd",
    "positions": "position_embd",
    "norm": "output_norm",
    "head": "output",
    "norm1": "blk.{}.attn_norm",
    "norm2": "blk.{}.ffn_norm",
    "attn.q": "blk.{}.attn_q",
    "attn.k": "blk.{}.attn_k",
    "attn.v": "blk.{}.attn_v",
    "attn.o": "blk.{}.attn_output",
    "attn.q_norm": "blk.{}.attn_q_norm",
    "attn.k_norm": "blk.{}.attn_k_norm",
    "mlp.gate": "blk.{}.ffn_gate",
    "mlp.up": "blk.{}.ffn_up",
    "mlp.down": "blk.{}.ffn_down",
}
_GGUF_GPT2 = {**_GGUF, **dict.fromkeys(("attn.q", "attn.k", "attn.v"), "blk.{}.attn_qkv")}
QKV = ("attn.q", "attn.k", "attn.v")


@dataclass(frozen=True)
class Place:
    """Where another format keeps one of our weights.

    Attributes:
        name: of their tensor.
        third: which third of it, where queries, keys and values are one; None for all of it.
        transposed: theirs is [inputs, outputs].
        heads: of how many heads the features are in another order; 0 for the same order.
    """

    name: str
    third: int | None = None
    transposed: bool = False
    heads: int = 0

    def take(self, theirs: Tensor) -> Tensor:
        """Return our weight out of their tensor."""
        x = theirs.t() if self.transposed and theirs.dim() == 2 else theirs
        if self.third is not None:
            x = x.chunk(3)[self.third] if x.shape[0] % 3 == 0 else x[:0]
        return neighbours_to_halves(x, self.heads) if self.heads else x

    def give(self, ours: Tensor) -> Tensor:
        """Return our weight as theirs has it; a third is put beside the others afterwards."""
        return halves_to_neighbours(ours, self.heads) if self.heads else ours


def place_in_hugging_face(name: str, layout: Layout) -> Place:
    """Return where a weight is in a model of the transformers library.

    Example:
        >>> place_in_hugging_face("blocks.3.attn.k.bias", "gpt2")
        Place(name='transformer.h.3.attn.c_attn.bias', third=1, transposed=True, heads=0)
    """
    part, layer, end = _split(name)
    if layout != "gpt2":
        return Place(_LLAMA[part].format(layer) + end)
    linear = part.startswith(("attn.", "mlp."))  # transformers' Conv1D, [inputs, outputs]
    third = QKV.index(part) if part in QKV else None
    return Place(_GPT2[part].format(layer) + end, third, transposed=linear)


def place_in_gguf(name: str, layout: Layout, config: GPTConfig) -> Place:
    """Return where a weight is in a GGUF file.

    llama.cpp turns neighbouring features of queries and keys in the Llama layout, where everyone
    else turns feature i with feature i + d/2.

    Example:
        >>> place_in_gguf("blocks.0.attn.q.weight", "llama", GPTConfig(n_heads=2)).heads
        2
    """
    part, layer, end = _split(name)
    if layout == "gpt2":
        third = QKV.index(part) if part in QKV else None
        return Place(_GGUF_GPT2[part].format(layer) + end, third)
    turned = layout in ("llama", "arcee")
    heads = {"attn.q": config.n_heads, "attn.k": config.kv_heads}.get(part, 0) if turned else 0
    return Place(_GGUF[part].format(layer) + end, heads=heads)


def _split(name: str) -> tuple[str, str, str]:
    """`blocks.3.attn.q.weight` → `attn.q`, `3`, `.weight`."""
    found = re.fullmatch(r"(?:blocks\.(\d+)\.)?(.+)(\.weight|\.bias)", name)
    assert found
    return found[2], found[1] or "", found[3]


def halves_to_neighbours(x: Tensor, heads: int) -> Tensor:
    """Put the features i and i + d/2 of each head side by side.

    Example:
        >>> halves_to_neighbours(torch.arange(4), 1)
        tensor([0, 2, 1, 3])
    """
    return x.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def neighbours_to_halves(x: Tensor, heads: int) -> Tensor:
    """Undo `halves_to_neighbours`.

    Example:
        >>> neighbours_to_halves(torch.tensor([0, 2, 1, 3]), 1)
        tensor([0, 1, 2, 3])
    """
    if x.shape[0] % (2 * heads):
        return x[:0]
    return x.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def take_weights(
    wanted: dict[str, Tensor],
    place: Callable[[str], Place],
    names: Iterable[str],
    load: Callable[[str], Tensor],
    where: str,
) -> dict[str, Tensor]:
    """Return every weight of a model, out of the tensors of a file.

    Args:
        wanted: our names and shapes, as `outline` gives them; tied ones are one object.
        place: where each is.
        names: of the tensors there are.
        load: gives one, in float32.
        where: the file, for errors.

    Returns:
        Our name → weight; tied ones are one object.

    Raises:
        WhenceError: where one is missing, of another shape, or belongs nowhere.

    Example:
        >>> from whence.models import build
        >>> wanted = build(llama(n_layers=1), 9).state_dict(keep_vars=True)  # doctest: +SKIP
    """
    there, used = set(names), set()
    taken: dict[str, Tensor] = {}
    first: dict[int, str] = {}
    for name, like in wanted.items():
        if id(like) in first:  # tied
            taken[name] = taken[first[id(like)]]
            used.add(place(name).name)
            continue
        first[id(like)] = name
        spot = place(name)
        if spot.name not in there:
            raise WhenceError(f"{where} lacks {spot.name}, which its config asks for.")
        x = spot.take(load(spot.name))
        if x.shape != like.shape:
            raise WhenceError(
                f"{where} has {spot.name} of shape {list(x.shape)}, and by its config {name} has "
                f"shape {list(like.shape)}."
            )
        used.add(spot.name)
        taken[name] = x.contiguous()
    spare = sorted(there - used)
    if spare:
        more = f" and {len(spare) - 1} more" if len(spare) > 1 else ""
        raise WhenceError(f"{where} has {spare[0]}{more}, which isn't in its config.")
    return taken


def give_weights(ours: dict[str, Tensor], place: Callable[[str], Place]) -> dict[str, Tensor]:
    """Return a model's weights under the names of others; tied ones once.

    Args:
        ours: name → weight; tied ones are one object.
        place: where each is.

    Example:
        >>> spot = lambda name: place_in_hugging_face(name, "llama")
        >>> list(give_weights({"embed.weight": torch.ones(2, 2)}, spot))
        ['model.embed_tokens.weight']
    """
    thirds: dict[str, Any] = {}
    given: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, weight in ours.items():
        if id(weight) in seen:
            continue
        seen.add(id(weight))
        spot, x = place(name), weight.detach()
        x = spot.give(x)
        if spot.third is not None:
            parts = thirds.setdefault(spot.name, [None, None, None])
            parts[spot.third] = x
            if any(part is None for part in parts):
                continue
            x = torch.cat(parts)
        given[spot.name] = (x.t() if spot.transposed and x.dim() == 2 else x).contiguous()
    return given
