"""Weights carried over from transformers' models, so that they can be oracles."""

from torch import nn

from whence.models.gpt.model import GPT


def copy_gpt2(theirs: nn.Module, ours: GPT) -> None:
    state = dict(theirs.transformer.state_dict())  # pyright: ignore
    d = ours.config.d_model
    new = {"embed.weight": state["wte.weight"], "positions.weight": state["wpe.weight"]}
    new["head.weight"] = theirs.state_dict()["lm_head.weight"]
    for x in ("weight", "bias"):
        new[f"norm.{x}"] = state[f"ln_f.{x}"]
        for i in range(ours.config.n_layers):
            mine, its = f"blocks.{i}", f"h.{i}"
            new[f"{mine}.norm1.{x}"] = state[f"{its}.ln_1.{x}"]
            new[f"{mine}.norm2.{x}"] = state[f"{its}.ln_2.{x}"]
            # Conv1D keeps its weight transposed: [in, out]
            for name, part in zip("qkv", state[f"{its}.attn.c_attn.{x}"].split(d, -1), strict=True):
                new[f"{mine}.attn.{name}.{x}"] = part.t()
            new[f"{mine}.attn.o.{x}"] = state[f"{its}.attn.c_proj.{x}"].t()
            new[f"{mine}.mlp.up.{x}"] = state[f"{its}.mlp.c_fc.{x}"].t()
            new[f"{mine}.mlp.down.{x}"] = state[f"{its}.mlp.c_proj.{x}"].t()
    ours.load_state_dict(new)


LLAMA_NAMES = {
    "model.embed_tokens": "embed",
    "model.layers": "blocks",
    "model.norm": "norm",
    "lm_head": "head",
    "input_layernorm": "norm1",
    "post_attention_layernorm": "norm2",
    "self_attn": "attn",
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "o",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
}


def llama_name(name: str) -> str:
    for its, mine in LLAMA_NAMES.items():
        name = name.replace(its, mine)
    return name


def copy_llama(theirs: nn.Module, ours: GPT) -> None:
    ours.load_state_dict({llama_name(name): x for name, x in theirs.state_dict().items()})
