"""Models in GGUF, llama.cpp's format: one file with shape, weights, tokenizer and template."""

from functools import partial
from pathlib import Path

from torch import Tensor

from whence.errors import WhenceError
from whence.interop.found import Found
from whence.interop.gguf.file import GGUFFile
from whence.interop.gguf.rope import FREQUENCIES, read_scaling, shortest
from whence.interop.gguf.tokens import read_tokenizer
from whence.interop.huggingface import check_layers, check_rows
from whence.interop.layouts import layout_of
from whence.interop.names import place_in_gguf, take_weights
from whence.interop.reading import Fields, told_of
from whence.models import GPTConfig, gpt2_config, llama_config
from whence.runs.training.session import outline

READABLE = ("gpt2", "llama", "arcee", "qwen2", "qwen3")


def open_gguf(path: Path) -> Found:
    """Find a model in a GGUF file.

    Args:
        path: the file; weights in F32, F16, BF16 or quantised.

    Raises:
        WhenceError: where it is damaged, or its layout can't be read.

    Example:
        >>> open_gguf(Path("SmolLM2-135M-Instruct.Q4_1.gguf")).config.d_model  # doctest: +SKIP
        576
    """
    file = GGUFFile(path)
    with told_of(path):
        return _open(file, Fields(file.values, str(path)))


def _open(file: GGUFFile, fields: Fields) -> Found:
    path = file.path
    arch = fields.text("general.architecture")
    if arch not in READABLE:
        raise WhenceError(
            f"{path} holds a {arch} model: {', '.join(READABLE)} can be read from GGUF."
        )
    if len(file.shapes.get("token_embd.weight", ())) != 2:
        raise WhenceError(f"{path} has no token_embd.weight: it is damaged, or a part of a model.")
    vocab_size = file.shapes["token_embd.weight"][0]
    check_rows(fields, f"{arch}.vocab_size", vocab_size)
    config = _gpt2(fields, file) if arch == "gpt2" else _llama(fields, file, arch)
    check_layers(config, len(file.shapes), str(path))
    tokenizer = read_tokenizer(fields, vocab_size)
    rounded = [kind for kind in file.kinds() if kind not in ("F32", "F16", "BF16")]
    notes = (f"its weights were rounded to {', '.join(rounded)}",) if rounded else ()
    return Found(path, config, tokenizer, partial(_weights, file, config, vocab_size), notes)


def _weights(file: GGUFFile, config: GPTConfig, vocab_size: int) -> dict[str, Tensor]:
    place = partial(place_in_gguf, layout=layout_of(config), config=config)
    names = [name for name in file.shapes if name != FREQUENCIES]
    with told_of(file.path):
        return take_weights(outline(config, vocab_size), place, names, file.load, str(file.path))


def _gpt2(fields: Fields, file: GGUFFile) -> GPTConfig:
    return gpt2_config(
        n_layers=fields.count("gpt2.block_count"),
        n_heads=fields.count("gpt2.attention.head_count"),
        d_model=fields.count("gpt2.embedding_length"),
        context_length=fields.count("gpt2.context_length"),
        d_ff=fields.count("gpt2.feed_forward_length"),
        norm_eps=shortest(fields.number("gpt2.attention.layer_norm_epsilon")),
        tied_embeddings="output.weight" not in file.shapes,
    )


def _llama(fields: Fields, file: GGUFFile, arch: str) -> GPTConfig:
    if fields.given(f"{arch}.expert_count"):
        raise WhenceError(f"{fields.where} has experts, which this GPT doesn't have.")
    d = fields.count(f"{arch}.embedding_length")
    n_heads = fields.count(f"{arch}.attention.head_count")
    n_kv = fields.count(f"{arch}.attention.head_count_kv", n_heads)
    d_head = fields.count(f"{arch}.attention.key_length", max(1, d // n_heads))
    turned = fields.count(f"{arch}.rope.dimension_count", d_head)
    if turned != d_head or fields.count(f"{arch}.attention.value_length", d_head) != d_head:
        raise WhenceError(
            f"{fields.where} rotates {turned} of the {d_head} features of a key: this GPT rotates "
            "all of them, and its values have the length of its keys."
        )
    bias = "blk.0.ffn_up.bias" in file.shapes
    out_bias = "blk.0.attn_output.bias" in file.shapes
    base = shortest(fields.number(f"{arch}.rope.freq_base", 10000.0))
    context = fields.count(f"{arch}.context_length")
    return llama_config(
        n_layers=fields.count(f"{arch}.block_count"),
        n_heads=n_heads,
        d_model=d,
        context_length=min(context, fields.count(f"{arch}.attention.sliding_window", context)),
        n_kv_heads=None if n_kv == n_heads else n_kv,
        d_head=None if d_head * n_heads == d else d_head,
        d_ff=fields.count(f"{arch}.feed_forward_length"),
        rope_base=base,
        rope_scaling=read_scaling(fields, file, arch, d_head, base),
        norm_eps=shortest(fields.number(f"{arch}.attention.layer_norm_rms_epsilon")),
        activation="relu2" if arch == "arcee" else "swiglu",
        bias=bias,
        qkv_bias="blk.0.attn_q.bias" in file.shapes,
        out_bias=None if out_bias == bias else out_bias,
        qk_norm=arch == "qwen3",
        tied_embeddings="output.weight" not in file.shapes,
    )
