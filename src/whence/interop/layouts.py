"""The published layouts, as settings of one GPT: from config.json to `GPTConfig` and back."""

from typing import Any, Literal

from whence.errors import WhenceError
from whence.interop.reading import Fields
from whence.interop.rope import read_rope, written_rope
from whence.models import GPTConfig, gpt2_config, llama_config
from whence.models.layers.names import GATED, Activation

Layout = Literal["gpt2", "llama", "arcee", "qwen2", "qwen3"]

# What the transformers library calls each layout's class.
CLASSES: dict[Layout, str] = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "arcee": "ArceeForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
READABLE = ("gpt2", "llama", "mistral", "arcee", "qwen2", "qwen3")
# What others have that these layouts don't.
MISSING = {
    "bloom": "ALiBi positions",
    "cohere": "attention and feed-forward side by side",
    "deepseek_v3": "experts and latent attention",
    "falcon": "attention and feed-forward side by side",
    "gemma": "norms whose weights count from 1 and scaled embeddings",
    "gemma2": "norms on both sides of each part and capped logits",
    "gemma3_text": "norms on both sides of each part and two rotary bases",
    "gpt_neo": "unscaled attention scores and local windows",
    "gpt_neox": "attention and feed-forward side by side",
    "gpt_oss": "experts and attention sinks",
    "gptj": "attention and feed-forward side by side",
    "granite": "multipliers of embeddings, residuals and logits",
    "llama4_text": "experts and chunked attention",
    "mamba": "a state space instead of attention",
    "mixtral": "experts",
    "olmo2": "norms after each part",
    "opt": "positions that count from 2",
    "phi": "attention and feed-forward side by side",
    "phi3": "queries, keys, values and gate in fused matrices",
    "qwen2_moe": "experts",
    "qwen3_moe": "experts",
    "smollm3": "layers without positions",
    "stablelm": "rotary positions for a part of each head",
}
_PLAIN: dict[str, Activation] = {
    "relu": "relu",
    "relu2": "relu2",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
_GATES: dict[str, Activation] = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}
_THEIR_NAME: dict[Activation, str] = {
    "relu": "relu", "relu2": "relu2", "gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu",
    "swiglu": "silu", "geglu": "gelu",
}  # fmt: skip


def read_config(fields: Fields) -> GPTConfig:
    """Return the shape that a config.json describes.

    Args:
        fields: of the config.json.

    Raises:
        WhenceError: a layout, or a setting of one, that this GPT doesn't have, saying what is
        missing.

    Example:
        >>> tree = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 8, "n_positions": 16}
        >>> read_config(Fields(tree, "config.json")).positions
        'learned'
    """
    kind = fields.text("model_type")
    if kind not in READABLE:
        why = MISSING.get(kind)
        raise WhenceError(
            f"{fields.where} describes a {kind} model"
            + (f", which has {why}" if why else "")
            + f": only {', '.join(READABLE)} can be read."
        )
    if fields.given("quantization_config") is not None:
        raise WhenceError(
            f"{fields.where} has a quantization_config: take the model's plain weights, or a GGUF."
        )
    return _read_gpt2(fields) if kind == "gpt2" else _read_llama(fields, kind)


def _read_gpt2(fields: Fields) -> GPTConfig:
    for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if fields.flag(name, False):
            raise WhenceError(f"{fields.where} sets {name}, which this GPT doesn't have.")
    if not fields.flag("scale_attn_weights", True):
        raise WhenceError(
            f"{fields.where} turns off scale_attn_weights, but this GPT always scales them."
        )
    d = fields.count("n_embd", 768)
    return gpt2_config(
        n_layers=fields.count("n_layer", 12),
        n_heads=fields.count("n_head", 12),
        d_model=d,
        context_length=fields.count("n_positions", 1024),
        d_ff=fields.count("n_inner", 4 * d),
        norm_eps=fields.number("layer_norm_epsilon", 1e-5),
        activation=_activation(fields, "activation_function", "gelu_new", _PLAIN),
        tied_embeddings=fields.flag("tie_word_embeddings", True),
    )


def _read_llama(fields: Fields, kind: str) -> GPTConfig:
    d, n_heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    n_kv = fields.count("num_key_value_heads", n_heads)
    # Qwen3 has heads of 128 unless it says otherwise; the others share d_model out.
    usual = 128 if kind == "qwen3" else max(1, d // n_heads)
    d_head = fields.count("head_dim", usual)
    gated = kind != "arcee"
    base, scaling = read_rope(fields)
    attention_bias = kind == "qwen2" or fields.flag("attention_bias", False)
    bias = kind in ("llama", "arcee") and fields.flag("mlp_bias", False)
    out_bias = attention_bias and kind != "qwen2"
    return llama_config(
        n_layers=fields.count("num_hidden_layers"),
        n_heads=n_heads,
        d_model=d,
        context_length=min(fields.count("max_position_embeddings", 2048), _window(fields, kind)),
        n_kv_heads=None if n_kv == n_heads else n_kv,
        d_head=None if d_head * n_heads == d else d_head,
        d_ff=fields.count("intermediate_size"),
        rope_base=base,
        rope_scaling=scaling,
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        activation=_activation(
            fields, "hidden_act", "silu" if gated else "relu2", _GATES if gated else _PLAIN
        ),
        bias=bias,
        qkv_bias=attention_bias,
        out_bias=None if out_bias == bias else out_bias,
        qk_norm=kind == "qwen3",
        tied_embeddings=fields.flag("tie_word_embeddings", False),
    )


def _window(fields: Fields, kind: str) -> int:
    """How far a token sees: a model that is read no further needs no sliding window."""
    slides = kind == "mistral" or fields.flag("use_sliding_window", False)
    window = fields.given("sliding_window")
    return fields.count("sliding_window") if slides and window is not None else 2**31 - 1


def _activation(
    fields: Fields, name: str, default: str, table: dict[str, Activation]
) -> Activation:
    found = fields.text(name, default)
    if found not in table:
        raise WhenceError(
            f"{fields.where} sets {name} to {found!r}: only {', '.join(table)} can be read."
        )
    return table[found]


def layout_of(config: Any) -> Layout:
    """Return the published layout that a model's shape is a setting of.

    Raises:
        WhenceError: where it isn't one, with each setting that prevents it.

    Example:
        >>> layout_of(GPTConfig()), layout_of(gpt2_config())
        ('arcee', 'gpt2')
    """
    if type(config) is not GPTConfig:
        raise WhenceError("only GPTs have a layout that other programs read: train --model modern.")
    refused = _obstacles(config)
    if refused:
        raise WhenceError(
            f"no published layout has {' and '.join(refused)}: train with --exportable to use only "
            "what other programs can read."
        )
    if config.positions == "learned":
        return "gpt2"
    if config.qk_norm:
        return "qwen3"
    if config.activation not in GATED:
        return "arcee"
    only_qkv = config.qkv_bias and not config.has_out_bias and not config.bias
    return "qwen2" if only_qkv and config.activation == "swiglu" else "llama"


def _obstacles(c: GPTConfig) -> list[str]:
    """The settings that keep a shape from being one of the layouts, in words."""
    found = {
        "bigram_embedding": c.bigram_embedding,
        f"without = {list(c.without)}": bool(c.without),
        "causal = false": not c.causal,
        f"positions = {c.positions}": c.positions not in ("rotary", "learned"),
    }
    if c.positions == "learned":
        found |= {
            f"norm = {c.norm} with learned positions": c.norm != "layer",
            f"activation = {c.activation} with learned positions": c.activation in GATED,
            "qk_norm with learned positions": c.qk_norm,
            "n_kv_heads with learned positions": c.kv_heads != c.n_heads,
            "d_head with learned positions": c.head_size * c.n_heads != c.d_model,
        }
    if c.positions == "rotary":
        found |= {
            f"norm = {c.norm} with rotary positions": c.norm != "rms",
            f"qk_norm with activation = {c.activation}": c.qk_norm and c.activation not in GATED,
            "qk_norm with bias": c.qk_norm and c.bias,
        }
    return [name for name, there in found.items() if there]


def exportable(c: GPTConfig) -> GPTConfig:
    """Return the nearest shape that is a setting of a published layout.

    Example:
        >>> exportable(GPTConfig(bigram_embedding=True)) == GPTConfig()
        True
    """
    from dataclasses import replace

    learned = c.positions == "learned"
    c = replace(
        c,
        bigram_embedding=False,
        without=(),
        causal=True,
        positions="learned" if learned else "rotary",
        norm="layer" if learned else "rms",
    )
    if learned:
        activation = "gelu_tanh" if c.activation in GATED else c.activation
        return replace(c, activation=activation, qk_norm=False, n_kv_heads=None, d_head=None)
    if c.qk_norm and (c.activation not in GATED or c.bias):
        return replace(c, qk_norm=False)
    return c


def write_config(config: GPTConfig, vocab_size: int) -> dict[str, Any]:
    """Return the config.json of a model, as transformers reads it.

    Raises:
        WhenceError: as `layout_of`.

    Example:
        >>> write_config(llama_config(), 100)["model_type"]
        'llama'
    """
    c, layout = config, layout_of(config)
    tree: dict[str, Any] = {
        "architectures": [CLASSES[layout]],
        "model_type": layout,
        "vocab_size": vocab_size,
        "tie_word_embeddings": c.tied_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if layout == "gpt2":
        dropout = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), c.dropout)
        return {
            **tree,
            **dropout,
            "n_layer": c.n_layers,
            "n_head": c.n_heads,
            "n_embd": c.d_model,
            "n_positions": c.context_length,
            "n_inner": c.hidden_size,
            "layer_norm_epsilon": c.norm_eps,
            "activation_function": _THEIR_NAME[c.activation],
        }
    tree |= {
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_size,
        "hidden_size": c.d_model,
        "intermediate_size": c.hidden_size,
        "max_position_embeddings": c.context_length,
        "rms_norm_eps": c.norm_eps,
        "hidden_act": _THEIR_NAME[c.activation],
        "rope_theta": c.rope_base,
        **written_rope(c),
    }
    if layout in ("llama", "arcee"):
        tree["mlp_bias"] = c.bias
    if layout != "qwen2":
        tree["attention_bias"] = c.qkv_bias or c.has_out_bias
    return tree
