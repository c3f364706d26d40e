"""Files that are damaged or lie: one sentence each, at once."""

import json
import os
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFValueType as Type
from safetensors.torch import load_file, save_file

from tests.interop.test_gguf import SIZES, model, tokenizer
from tests.interop.theirs import folder, theirs
from whence.errors import WhenceError
from whence.interop.gguf.file import GGUFFile
from whence.interop.gguf.reading import open_gguf
from whence.interop.gguf.writing import write_gguf
from whence.interop.huggingface import open_folder
from whence.models import llama_config


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("good") / "m.gguf"
    tokens = tokenizer()
    write_gguf(model(llama_config(**SIZES), tokens.vocab_size), tokens, path, "q8_0")
    return path


def said_of(path: Path) -> str:
    """The one sentence that refuses a file."""
    with pytest.raises(WhenceError) as caught:
        (open_gguf if path.suffix == ".gguf" else open_folder)(path).weights()
    said = str(caught.value)
    assert str(path) in said
    assert len(said) < 400 + len(str(path))
    assert "\n" not in said
    return said


def test_a_header_is_read_as_the_package_reads_it(good):
    ours, theirs_ = GGUFFile(good), gguf.GGUFReader(good)
    for name, field in theirs_.fields.items():
        if not name.startswith("GGUF."):
            value = ours.values[name]
            kept = value.tolist() if isinstance(value, np.ndarray) else value
            assert kept == field.contents()
    assert set(ours.shapes) == {tensor.name for tensor in theirs_.tensors}
    for tensor in theirs_.tensors:
        want = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(ours.load(tensor.name), want)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def value(name: str, kind: int, raw: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + raw


def tensor(name: str = "t", shape=(4,), kind: int = 0, at: int = 0) -> bytes:
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dims + struct.pack("<IQ", kind, at)


def file_of(values=(), tensors=(), version=3, n_values=None, n_tensors=None) -> bytes:
    """A GGUF file by hand, with 64 bytes of numbers."""
    counts = [len(tensors) if n_tensors is None else n_tensors,
              len(values) if n_values is None else n_values]  # fmt: skip
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join([*values, *tensors])
    return head + bytes(-len(head) % 32 + 64)


HUGE = 2**62
LIES = {
    "version 1": (file_of(version=1), "version 1"),
    "big-endian": (file_of(version=3 << 24), "big-endian"),
    "values": (file_of(n_values=HUGE), "bytes follow|'' twice"),
    "tensors": (file_of(n_tensors=HUGE), "bytes follow|0 dimensions"),
    "bytes": (file_of([value("a", 9, struct.pack("<IQ", 0, HUGE))]), "an array of"),
    "numbers": (file_of([value("a", 9, struct.pack("<IQ", 4, 2**22))]), "bytes follow"),
    "texts": (file_of([value("a", 9, struct.pack("<IQ", 8, 2**22))]), "bytes follow"),
    "a text": (file_of([value("a", 8, struct.pack("<Q", HUGE))]), "bytes follow"),
    "no text": (file_of([value("a", 8, struct.pack("<Q", 1) + b"\xff")]), "utf-8"),
    "arrays": (file_of([value("a", 9, struct.pack("<IQ", 9, 1))]), "unknown kind 9"),
    "a kind": (file_of([value("a", 77, b"")]), "unknown kind 77"),
    "a name": (file_of([value("a", 0, b"1")] * 2), "'a' twice"),
    "a tensor": (file_of(tensors=[tensor()] * 2), "'t' twice"),
    "dimensions": (file_of(tensors=[tensor(shape=(1,) * 5)]), "5 dimensions"),
    "no number": (file_of(tensors=[tensor(shape=(4, 0))]), r"shape \[0, 4\]"),
    "overflow": (file_of(tensors=[tensor(shape=(HUGE, HUGE))]), "the shape"),
    "a size": (file_of(tensors=[tensor(shape=(2**40,))]), "ends at byte"),
    "a place": (file_of(tensors=[tensor(at=HUGE)]), "ends at byte"),
    "numbers' kind": (file_of(tensors=[tensor(kind=99)]), "unknown kind 99"),
    "blocks": (file_of(tensors=[tensor(kind=8)]), "whole blocks of 32"),
    "alignment": (file_of([value("general.alignment", 4, struct.pack("<I", 3))]), "power of two"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_header_that_says_what_can_t_be(name, tmp_path):
    raw, said = LIES[name]
    (tmp_path / "m.gguf").write_bytes(raw)
    with pytest.raises(WhenceError, match=rf"is damaged or cut short \(.*({said})"):
        GGUFFile(tmp_path / "m.gguf")


def test_the_file_by_hand_is_a_file(tmp_path):
    """So the lies above are refused for what they say and for nothing else."""
    raw = file_of([value("a", 9, struct.pack("<IQ3B", 0, 3, 1, 2, 3))], [tensor(shape=(2, 4))])
    (tmp_path / "m.gguf").write_bytes(raw)
    file = GGUFFile(tmp_path / "m.gguf")
    assert file.values["a"].tolist() == [1, 2, 3]
    assert torch.equal(file.load("t"), torch.zeros(4, 2))


def test_a_file_that_ends_anywhere(good, tmp_path):
    whole = good.read_bytes()
    path = tmp_path / "m.gguf"
    for size in [*range(4, 600, 7), *range(600, len(whole), len(whole) // 60), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(WhenceError, match="damaged or cut short"):
            GGUFFile(path)


def said_values(path: Path, out: Path, name: str, given, kind, sub=None) -> str:
    """What is said of a file with another value in it."""
    writer = gguf.GGUFWriter(out, "llama")
    reader = gguf.GGUFReader(path)
    values = {
        key: (field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.") and key != "general.architecture"
    }
    for key, (content, main, inner) in {**values, name: (given, kind, sub)}.items():
        writer.add_key_value(key, content, main, inner)
    for one in reader.tensors:
        writer.add_tensor(one.name, np.array(one.data), raw_dtype=one.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return said_of(out)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("llama.block_count", (1000, Type.UINT32), "too few for the 1,000 layers"),
        ("llama.block_count", (3.5, Type.FLOAT32), "must be 1 or more"),
        ("llama.block_count", (-1, Type.INT32), "must be 1 or more"),
        ("llama.block_count", (2**40, Type.UINT64), "must be 1 or more"),
        ("llama.vocab_size", (9, Type.UINT32), "has 400 rows"),
        ("llama.embedding_length", (128, Type.UINT32), "shape"),
        ("llama.feed_forward_length", (2**31 - 1, Type.UINT32), "shape"),
        ("llama.attention.head_count", ([4, 4], Type.ARRAY, Type.INT32), "must be 1 or more"),
        ("llama.attention.head_count_kv", (3, Type.UINT32), "can't share"),
        ("llama.attention.key_length", (2**30, Type.UINT32), "of a key"),
        ("llama.rope.freq_base", (float("inf"), Type.FLOAT32), "must be a number"),
        ("llama.attention.layer_norm_rms_epsilon", ("x" * 10**6, Type.STRING), "must be a number"),
        ("llama.rope.scaling.type", ("longrope", Type.STRING), "'longrope'"),
        ("tokenizer.ggml.model", ("wordpiece", Type.STRING), "'wordpiece'"),
        ("tokenizer.ggml.tokens", (["a"] * 500, Type.ARRAY, Type.STRING), "500 tokens"),
        ("tokenizer.ggml.tokens", (["a" * 10**5] * 9, Type.ARRAY, Type.STRING), "types of tokens"),
        ("tokenizer.ggml.tokens", (7, Type.UINT32), "tokenizer is missing"),
        ("tokenizer.ggml.token_type", (["a"], Type.ARRAY, Type.STRING), "no numbers"),
        ("tokenizer.ggml.merges", (["ab"], Type.ARRAY, Type.STRING), "isn't of two tokens"),
        ("tokenizer.chat_template", (5, Type.UINT32), "must be a string"),
    ],
)  # fmt: skip
def test_a_value_that_doesn_t_match_the_weights(good, tmp_path, name, given, said):
    assert said in said_values(good, tmp_path / "m.gguf", name, *given)


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory) -> Path:
    return folder(tmp_path_factory.mktemp("hf") / "model", theirs("llama"))


@pytest.fixture
def changed(hugging_face, tmp_path) -> Path:
    """A folder of links, each of which a test may put a file in the place of."""
    (tmp_path / "model").mkdir()
    for path in hugging_face.iterdir():
        (tmp_path / "model" / path.name).symlink_to(path)
    return tmp_path / "model"


def put(path: Path, content) -> None:
    path.unlink(missing_ok=True)
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(raw)


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": {**ONE, "data_offsets": [0, 1 << 60]}},
        {"a": {**ONE, "data_offsets": [8, 0]}},
        {"a": {**ONE, "shape": [1 << 62, 1 << 62]}},
        {"a": {**ONE, "shape": [3]}},
        {"a": {**ONE, "shape": [-2]}},
        {"a": {**ONE, "dtype": "F7"}},
        {"a": ONE, "b": ONE},
        {"a": "x"},
        [],
        b"{",
        b'{"a": ' * 5000,
        b"\xff" * 30,
        b"",
    ],
)
def test_a_safetensors_header_that_lies(changed, header):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    put(changed / "model.safetensors", struct.pack("<Q", len(raw)) + raw + bytes(8))
    assert "model.safetensors is damaged" in said_of(changed)
    put(changed / "model.safetensors", struct.pack("<Q", 1 << 63) + raw)
    assert "model.safetensors is damaged" in said_of(changed)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float8_e4m3fn, torch.bool])
def test_weights_in_other_numbers(changed, hugging_face, dtype):
    weights = load_file(hugging_face / "model.safetensors")
    (changed / "model.safetensors").unlink()
    save_file({n: x.to(dtype) for n, x in weights.items()}, changed / "model.safetensors")
    assert "only float32, float16 and bfloat16" in said_of(changed)


@pytest.mark.parametrize("name", ["hidden_size", "intermediate_size", "num_hidden_layers",
                                  "num_attention_heads", "num_key_value_heads", "head_dim",
                                  "vocab_size"])  # fmt: skip
def test_a_config_that_doesn_t_match_its_weights(changed, name):
    config = json.loads((changed / "config.json").read_text())
    for given in (5, 10**400, 2**31 - 1, 0, 1.5, [8], True, "8" * 10**6):
        put(changed / "config.json", {**config, name: given})
        assert said_of(changed)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("model-2.safetensors", "model-2.safetensors is missing"),
        ("../model.safetensors", "isn't a file in the same folder"),
        ("/etc/passwd", "isn't a file in the same folder"),
        ("..", "isn't a file in the same folder"),
        ("", "isn't a file in the same folder"),
        ("tokenizer.json", "isn't a safetensors file"),
        (7, "isn't a file in the same folder"),
    ],
)
def test_an_index_of_shards_that_lies(changed, place, said):
    put(changed / "model.safetensors.index.json", {"weight_map": {"a": place}})
    assert said in said_of(changed)


BROKEN = {
    "no model": {"model": None},
    "no kind": {"model": {"type": 5}},
    "no table": {"model": {"type": "BPE", "vocab": 5, "merges": []}},
    "no ids": {"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}},
    "an id below 0": {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}},
    "an id of 2^40": {"model": {"type": "BPE", "vocab": {"a": 2**40}, "merges": []}},
    "merges of nothing": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}},
    "merges of numbers": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [5]}},
    "a unigram of nothing": {"model": {"type": "Unigram", "vocab": [], "unk_id": 7}},
    "no added tokens": {"added_tokens": 5},
    "an added token of nothing": {"added_tokens": [{}]},
    "a rule that isn't known": {"pre_tokenizer": {"type": "Nothing"}},
    "a pattern that is none": {
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False,
        }
    },
    "a decoder that is none": {"decoder": {"type": "Sequence", "decoders": 5}},
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_tokenizer_that_is_broken(changed, name):
    file = json.loads((changed / "tokenizer.json").read_text())
    put(changed / "tokenizer.json", {**file, **BROKEN[name]})
    assert "tokenizer.json" in said_of(changed)


def test_advice_that_makes_no_sense_is_left_out(changed):
    told = {
        "temperature": -1,
        "top_k": 0,
        "top_p": 0.5,
        "min_p": "x",
        "eos_token_id": [2, "x", 9e9],
    }
    put(changed / "generation_config.json", told)
    (changed / "chat_template.jinja").unlink()
    put(changed / "tokenizer_config.json", {"bos_token": {"content": 5}, "chat_template": 5})
    found = open_folder(changed).tokenizer
    assert found.record["generation"] == {"top_p": 0.5}
    assert found.record["special_tokens"] == {}
    assert (found.ends, found.record["chat_template"]) == ((2,), None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")
def test_a_sample_of_the_fuzzer():
    """Of `python -m tests.interop.fuzz`."""
    from tests.interop.fuzz import KINDS, fuzz

    counts, wrong = fuzz(12, seed=7)
    assert set(counts) == set(KINDS)
    assert wrong == []
