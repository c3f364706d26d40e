"""GGUF files come in: every kind of numbers, and files that lie."""

from contextlib import suppress
from math import log
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from tests.interop.test_tokenizers import imported
from tests.interop.theirs import byte_level, folder, theirs
from whence.errors import WhenceError
from whence.interop.gguf.reading import open_gguf
from whence.interop.gguf.rope import read_scaling
from whence.interop.gguf.writing import write_gguf
from whence.interop.huggingface import open_folder
from whence.interop.reading import Fields
from whence.models import GPT, gpt2_config, llama_config, modern_config, qwen3_config
from whence.models.layers.rope_scaling import RopeScaling

SIZES = {"n_layers": 2, "n_heads": 4, "d_model": 64, "context_length": 64, "zero_head": False}
FORMS = {
    "gpt2": gpt2_config(**SIZES),
    "gpt2, untied": gpt2_config(**SIZES, tied_embeddings=False),
    "llama": llama_config(**SIZES, n_kv_heads=2),
    "llama, tied": llama_config(**SIZES, tied_embeddings=True, d_head=32),
    "llama, biases": llama_config(**SIZES, bias=True, qkv_bias=True),
    "llama, out": llama_config(**SIZES, qkv_bias=True, out_bias=True),
    "llama 3": llama_config(
        **SIZES, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 512), d_head=32
    ),
    "llama, linear": llama_config(**SIZES, rope_scaling=RopeScaling("linear", 4.0)),
    "llama, yarn": llama_config(
        **SIZES,
        n_kv_heads=2,
        rope_scaling=RopeScaling("yarn", 4.0, 1.0, 32.0, 256, attention_factor=0.1 * log(4) + 1),
    ),
    "qwen3, yarn": qwen3_config(
        **SIZES,
        rope_scaling=RopeScaling("yarn", 2.5, 1.0, 32.0, 40, attention_factor=0.97),
    ),
    "qwen2": llama_config(**SIZES, qkv_bias=True),
    "qwen3": qwen3_config(**SIZES, n_kv_heads=1, d_head=32),
    "modern": modern_config(**SIZES),
}
QUANTISED = ["BF16", "F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
BY_BYTES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]  # the package has no writer of these


def tokenizer():
    return imported(byte_level(), ends=[2], special_tokens={"eos_token": "<|im_end|>"})


def model(config, vocab_size) -> GPT:
    torch.manual_seed(0)
    made = GPT(config, vocab_size).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.2)
    return made


@pytest.mark.parametrize("name", FORMS)
def test_what_goes_out_comes_back_to_the_bit(name, tmp_path):
    tokens = tokenizer()
    ours = model(FORMS[name], tokens.vocab_size)
    write_gguf(ours, tokens, tmp_path / "m.gguf", "fp32")
    found = open_gguf(tmp_path / "m.gguf")
    again = GPT(found.config, tokens.vocab_size).eval()
    again.load_state_dict(found.weights())
    x = torch.randint(0, tokens.vocab_size, (2, 40))
    with torch.inference_mode():
        assert torch.equal(again(x), ours(x))
    assert found.tokenizer.ends == (2,)
    assert found.config.rope_scaling == FORMS[name].rope_scaling
    assert again.config.tied_embeddings == ours.config.tied_embeddings


def rewritten(path: Path, out: Path, change) -> None:
    """A copy of a file by the gguf package alone, with `change(name, values)` of each tensor."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub)
    for tensor in reader.tensors:
        data, kind = change(tensor.name, np.array(tensor.data))
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A model whose rows are as long as a block of K-quants, 256."""
    config = llama_config(n_layers=1, n_heads=4, d_model=256, d_ff=256, context_length=32)
    path = tmp_path_factory.mktemp("gguf") / "wide.gguf"
    write_gguf(model(config, tokenizer().vocab_size), tokenizer(), path, "fp32")
    return path


@pytest.mark.parametrize("kind", [*QUANTISED, *BY_BYTES])
def test_each_kind_of_numbers_is_read_as_the_package_reads_it(kind, wide, tmp_path):
    rng = np.random.default_rng(0)
    wanted: dict[str, np.ndarray] = {}

    def change(name, values):
        if values.ndim != 2:
            return values, None
        if kind in BY_BYTES:
            block, size = gguf.GGML_QUANT_SIZES[Kind[kind]]
            raw = rng.integers(0, 32, (values.shape[0], values.shape[1] // block * size), np.uint8)
        else:
            raw = gguf.quantize(values, Kind[kind])
        wanted[name] = gguf.dequantize(raw, Kind[kind])
        return raw, Kind[kind]

    rewritten(wide, tmp_path / "m.gguf", change)
    found = open_gguf(tmp_path / "m.gguf")
    got = found.weights()
    assert found.notes == (
        () if kind in ("BF16", "F16") else (f"its weights were rounded to {kind}",)
    )
    assert np.array_equal(got["blocks.0.mlp.up.weight"], wanted["blk.0.ffn_up.weight"])
    assert np.array_equal(got["embed.weight"], wanted["token_embd.weight"])


def test_q4_1_by_hand():
    """Sixteen bytes of two numbers each, a scale d and a least m: x = d·q + m."""
    block = np.concatenate(
        [np.array([0.5, -1.0], np.float16).view(np.uint8), np.full(16, 0x93, np.uint8)]
    )
    values = gguf.dequantize(block[None], Kind.Q4_1)[0]
    assert values.tolist() == [0.5 * 3 - 1] * 16 + [0.5 * 9 - 1] * 16


@pytest.mark.parametrize("at", range(4, 400, 9))
def test_a_header_that_lies_is_told_or_read(wide, tmp_path, at):
    raw = bytearray(wide.read_bytes())
    raw[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "m.gguf").write_bytes(raw)
    with suppress(WhenceError):  # any other error fails
        open_gguf(tmp_path / "m.gguf").weights()


def test_what_can_t_be_read_is_named(wide, tmp_path):
    def renamed(name: str, old: bytes, new: bytes) -> Path:
        assert len(old) == len(new)
        path = tmp_path / name
        path.write_bytes(wide.read_bytes().replace(old, new))
        return path

    with pytest.raises(WhenceError, match="mamba model"):
        open_gguf(renamed("a.gguf", b"llama", b"mamba"))
    with pytest.raises(WhenceError, match="rule 'gpt-9'"):
        open_gguf(renamed("b.gguf", b"gpt-2", b"gpt-9"))
    with pytest.raises(WhenceError, match=r"lacks blk\.0.ffn_up.weight"):
        open_gguf(renamed("c.gguf", b"ffn_up", b"ffn_xx")).weights()


@pytest.mark.parametrize("name", ["llama 3", "llama, yarn", "qwen3, yarn"])
def test_a_hugging_face_model_and_its_gguf_are_the_same(name, tmp_path):
    other = theirs(name)
    found = open_folder(folder(tmp_path / "hf", other))
    first = GPT(found.config, 400).eval()
    first.load_state_dict(found.weights())
    write_gguf(first, found.tokenizer, tmp_path / "m.gguf", "fp32")
    again = open_gguf(tmp_path / "m.gguf")
    assert again.config == found.config
    second = GPT(again.config, 400).eval()
    second.load_state_dict(again.weights())
    x = torch.randint(0, 400, (2, 64))
    with torch.inference_mode():
        torch.testing.assert_close(second(x), other(input_ids=x).logits, rtol=1e-4, atol=1e-4)


def test_yarn_by_the_names_and_numbers_that_llama_cpp_reads(tmp_path):
    """It multiplies attn_factor by 1 + 0.1·ln(factor), YaRN's usual one; missing, it is 1."""
    tokens = tokenizer()
    prefix = "qwen3.rope.scaling."
    written = {}
    for name, attention in [("usual", 0.1 * log(4) + 1), ("own", 0.97)]:
        scaling = RopeScaling("yarn", 4.0, 1.0, 32.0, 40, attention_factor=attention)
        made = GPT(qwen3_config(**SIZES, rope_scaling=scaling), tokens.vocab_size)
        write_gguf(made, tokens, tmp_path / f"{name}.gguf", "fp32")
        fields = gguf.GGUFReader(tmp_path / f"{name}.gguf").fields
        written[name] = {
            key.removeprefix(prefix): field.contents()
            for key, field in fields.items()
            if key.startswith(prefix)
        }
    usual = {"type": "yarn", "factor": 4.0, "original_context_length": 40}
    assert written["usual"] == usual
    share = written["own"].pop("attn_factor")
    assert written["own"] == usual
    assert share == pytest.approx(0.97 / (0.1 * log(4) + 1), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"factor": 4.0}, RopeScaling("linear", 4.0)),  # llama.cpp's default kind
        ({"type": "none", "factor": 4.0}, RopeScaling()),
        ({"type": "linear"}, RopeScaling()),
        (
            {"type": "yarn", "factor": 8.0, "yarn_beta_fast": 16.0, "yarn_beta_slow": 0.1},
            RopeScaling("yarn", 8.0, 0.1, 16.0, 64, 0.1 * log(8) + 1),
        ),
        ({"type": "yarn", "factor": 0.0}, "factor is 0.0"),
        ({"type": "yarn", "factor": 2.0, "yarn_log_multiplier": 0.1}, "yarn_log_multiplier"),
        ({"type": "longrope"}, "'longrope'"),
    ],
)
def test_scalings_that_others_wrote(values, wanted):
    names = {f"llama.rope.scaling.{name}": value for name, value in values.items()}
    fields = Fields({**names, "llama.context_length": 64}, "m.gguf")
    if isinstance(wanted, str):
        with pytest.raises(WhenceError, match=wanted):
            read_scaling(fields, SimpleNamespace(shapes={}), "llama", 16, 10000.0)
    else:
        assert read_scaling(fields, SimpleNamespace(shapes={}), "llama", 16, 10000.0) == wanted


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (gpt2_config(**SIZES, activation="relu"), "computes the gpt2 layout with gelu_tanh"),
        (modern_config(**SIZES, qkv_bias=True), "no biases in the arcee layout"),
        (qwen3_config(**SIZES, rope_scaling=RopeScaling("llama3", 8.0)), "in its own layout"),
        (llama_config(**SIZES, rope_scaling=RopeScaling("yarn", 8.0)), "YaRN between 1 and 32"),
        (modern_config(**SIZES, bigram_embedding=True), "no published layout has bigram_embedding"),
    ],
)
def test_what_llama_cpp_doesn_t_compute_is_refused(config, said, tmp_path):
    tokens = tokenizer()
    with pytest.raises(WhenceError, match=said):
        write_gguf(GPT(config, tokens.vocab_size), tokens, tmp_path / "m.gguf", "fp16")
    assert not list(tmp_path.iterdir())
