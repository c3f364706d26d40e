"""A GGUF file, llama.cpp's format: shape, tokenizer, template and weights, rounded as asked."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from whence.data import Tokenizer
from whence.errors import WhenceError
from whence.interop.gguf.file import gguf_package
from whence.interop.gguf.rope import check_scaling, write_scaling
from whence.interop.gguf.tokens_out import write_tokenizer
from whence.interop.layouts import Layout, layout_of
from whence.interop.names import give_weights, place_in_gguf
from whence.interop.whole import whole
from whence.models import GPT, GPTConfig
from whence.runs.store.checkpoints import copied

KINDS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
# What llama.cpp computes in each layout, whatever a file says.
ACTIVATIONS = {"gpt2": "gelu_tanh", "arcee": "relu2"}


def write_gguf(model: GPT, tokenizer: Tokenizer, path: Path, dtype: str) -> None:
    """Write a GGUF file, whole or not at all.

    Args:
        model: a GPT of a published layout.
        tokenizer: byte-level BPE, bytes, or SentencePiece-style BPE.
        path: the file.
        dtype: fp32, fp16, bf16, q8_0 or q4_0. Norms and biases stay in fp32; with q4_0 the tables
            of embeddings are in q8_0, as llama.cpp's own files have them better than the rest.

    Raises:
        WhenceError: where llama.cpp has no such layout or tokenizer, or the disk is full.

    Example:
        >>> write_gguf(model, tokenizer, Path("model.gguf"), "q8_0")  # doctest: +SKIP
    """
    gguf, layout = gguf_package(), layout_of(model.config)
    _check(model.config, layout)
    config, weights = whole(
        model.config, copied(model.state_dict(keep_vars=True)), model.vocab_size
    )
    place = partial(place_in_gguf, layout=layout, config=config)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer = gguf.GGUFWriter(temporary, layout)
        _write_shape(writer, config, layout, model.vocab_size)
        write_tokenizer(writer, gguf, tokenizer)
        writer.add_file_type(gguf.LlamaFileType[_file_type(dtype)])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for name, x in give_weights(weights, place).items():
            kind = _kind_of(gguf, name, x, dtype)
            writer.add_tensor(name, gguf.quantize(x.numpy(), kind), raw_dtype=kind)
        write_scaling(writer, gguf, config)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(temporary, path)
    except OSError as error:
        raise WhenceError(
            f"{path} can't be written ({error.strerror or error}): choose another folder, or make "
            "room on the disk."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _check(c: GPTConfig, layout: Layout) -> None:
    wanted = ACTIVATIONS.get(layout, "swiglu")
    if c.activation != wanted:
        raise WhenceError(
            f"llama.cpp computes the {layout} layout with {wanted}, and this model has "
            f"{c.activation}: export it with --to hf."
        )
    check_scaling(c.rope_scaling, layout)
    biased = c.qkv_bias or c.has_out_bias
    if (layout == "qwen3" and biased) or (layout == "arcee" and (biased or c.bias)):
        raise WhenceError(
            f"llama.cpp has no biases in the {layout} layout: export the model with --to hf."
        )


def _file_type(dtype: str) -> str:
    return "ALL_F32" if dtype == "fp32" else f"MOSTLY_{KINDS[dtype]}"


def _kind_of(gguf: Any, name: str, x: Tensor, dtype: str) -> Any:
    kinds = gguf.GGMLQuantizationType
    if x.dim() == 1 or name.startswith("position_embd"):
        return kinds.F32
    if dtype in ("q8_0", "q4_0") and x.shape[-1] % 32:  # its blocks have 32 numbers
        return kinds.F16
    if dtype == "q4_0" and name in ("token_embd.weight", "output.weight"):
        return kinds.Q8_0
    return kinds[KINDS[dtype]]


def _write_shape(writer: Any, c: GPTConfig, layout: Layout, vocab_size: int) -> None:
    writer.add_context_length(c.context_length)
    writer.add_embedding_length(c.d_model)
    writer.add_block_count(c.n_layers)
    writer.add_feed_forward_length(c.hidden_size)
    writer.add_head_count(c.n_heads)
    writer.add_vocab_size(vocab_size)
    if layout == "gpt2":
        writer.add_layer_norm_eps(c.norm_eps)
        return
    writer.add_head_count_kv(c.kv_heads)
    writer.add_key_length(c.head_size)
    writer.add_value_length(c.head_size)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_rope_dimension_count(c.head_size)
    writer.add_rope_freq_base(c.rope_base)
