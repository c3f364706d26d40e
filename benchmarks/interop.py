"""Models that go out: do other programs compute the same? Writes docs/guide/readers.md.

`python -m benchmarks interop --llama` also builds llama.cpp, once; without it, and without an
earlier build, its columns say why they are empty.
"""

import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.llama_cpp import llama_cpp
from whence.data import open_source, train_tokenizer
from whence.data.tokenizers import Tokenizer
from whence.interop.exporting import write_hugging_face
from whence.interop.gguf.writing import write_gguf
from whence.interop.importing import find_model
from whence.interop.layouts import layout_of
from whence.interop.onnx_writing import write_onnx
from whence.models import GPT, gpt2_config, llama_config, modern_config, qwen3_config
from whence.models.layers.rope_scaling import RopeScaling

SIZES = {"n_layers": 3, "n_heads": 4, "d_model": 128, "context_length": 128, "zero_head": False}
FORMS = {
    "gpt2": gpt2_config(**SIZES),
    "modern": modern_config(**SIZES),
    "llama": llama_config(**SIZES),
    "llama, shared keys, tied": llama_config(**SIZES, n_kv_heads=2, tied_embeddings=True),
    "llama, Llama 3's scaling": llama_config(
        **SIZES, d_head=64, rope_base=500.0, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 512)
    ),
    "llama, YaRN": llama_config(
        **SIZES, rope_scaling=RopeScaling("yarn", 4.0, 1.0, 32.0, 32, attention_factor=1.2)
    ),
    "llama, biases": llama_config(**SIZES, bias=True, qkv_bias=True),
    "qwen2": llama_config(**SIZES, n_kv_heads=2, qkv_bias=True),
    "qwen3": qwen3_config(**SIZES, n_kv_heads=2, d_head=64),
    "qwen3, YaRN": qwen3_config(
        **SIZES,
        n_kv_heads=2,
        rope_scaling=RopeScaling("yarn", 2.5, 1.0, 32.0, 40, attention_factor=0.97),
    ),
}
TOKENS, WRITTEN = 60, 40
PAGE = Path(__file__).parents[1] / "docs/guide/readers.md"
HEAD = """# What other programs make of our models

Each layout with random weights, written by `whence export` and read by other programs: the largest
gap between their logits and ours over 60 tokens, in units of the logits' standard deviation, and
whether 40 tokens of greedy writing are the same. Made by `python -m benchmarks interop --llama`.

"""
Logits = Callable[[list[int]], Tensor]


def read_by_transformers(path: Path) -> Logits:
    import transformers as hf

    model = hf.AutoModelForCausalLM.from_pretrained(path).eval()
    return lambda ids: model(input_ids=torch.tensor([ids])).logits[0]


def read_by_onnxruntime(path: Path) -> Logits:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda ids: torch.from_numpy(session.run(None, {"tokens": np.array([ids])})[0][0])


def read_by_whence(path: Path) -> Logits:
    found = find_model(path)
    model = GPT(found.config, found.tokenizer.vocab_size).eval()
    model.load_state_dict(found.weights())
    return lambda ids: model(torch.tensor([ids]))[0]


def read_by_llama_cpp(package) -> Callable[[Path], Logits]:
    def reader(path: Path) -> Logits:
        model = package.Llama(
            str(path), logits_all=True, n_ctx=128, type_k=0, type_v=0, verbose=False
        )

        def logits(ids: list[int]) -> Tensor:
            model.reset()
            model.eval(ids)
            return torch.tensor(np.array(model.scores[: len(ids)]))

        return logits

    return reader


def compare(ours: Logits, theirs: Logits, vocab_size: int) -> str:
    """Gap and greedy text, in words."""
    torch.manual_seed(1)
    ids = torch.randint(0, vocab_size, (TOKENS,)).tolist()
    want = ours(ids)
    gap = ((theirs(ids) - want).abs().max() / want.std()).item()
    texts = []
    for model in (ours, theirs):
        text = ids[:8]
        for _ in range(WRITTEN):
            text = [*text, int(model(text)[-1].argmax())]
        texts.append(text)
    return f"{gap:.0e}, {'same' if texts[0] == texts[1] else 'other'} text"


@torch.inference_mode()
def row(config, tokens: Tokenizer, package, folder: Path) -> list[str]:
    """One layout: every reader."""
    torch.manual_seed(0)
    model = GPT(config, tokens.vocab_size).eval()
    for parameter in model.parameters():
        mean = float(parameter.dim() == 1) * parameter.mean().item()
        torch.nn.init.normal_(parameter, mean=mean, std=0.1)
    write_hugging_face(model, tokens, folder / "hf")
    write_onnx(model, folder / "m.onnx")
    for dtype in ("fp32", "fp16", "q8_0", "q4_0"):
        write_gguf(model, tokens, folder / f"{dtype}.gguf", dtype)
    readers: list[tuple[Callable[[Path], Logits] | None, Path]] = [
        (read_by_transformers, folder / "hf"),
        (read_by_onnxruntime, folder / "m.onnx"),
        (read_by_whence, folder / "fp32.gguf"),
    ]
    their_reader = read_by_llama_cpp(package) if package else None
    readers += [(their_reader, folder / f"{d}.gguf") for d in ("fp32", "fp16", "q8_0", "q4_0")]

    def ours(ids: list[int]) -> Tensor:
        return model(torch.tensor([ids]))[0]

    cells = []
    for reader, path in readers:
        cells.append(compare(ours, reader(path), tokens.vocab_size) if reader else "–")
    return [layout_of(config), *cells]


def main() -> None:
    """Print the table, and write the page where llama.cpp has its say too."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    package, reason = llama_cpp(build="--llama" in sys.argv)
    text = "".join(open_source(("topics",)).chunks())[:100_000]
    tokens = train_tokenizer("bpe", lambda: [text], 512)
    columns = [
        "form", "goes out as", "transformers", "onnxruntime", "whence, GGUF", "llama.cpp, fp32",
        "llama.cpp, fp16", "llama.cpp, q8_0", "llama.cpp, q4_0",
    ]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for name, config in FORMS.items():
        with tempfile.TemporaryDirectory() as folder:
            lines.append(f"| {name} | {' | '.join(row(config, tokens, package, Path(folder)))} |")
        print(lines[-1], flush=True)
    if reason:
        print(reason)
        return
    notes = (
        "\nWhat is left in fp32 is the order of additions; of gpt2 in llama.cpp, a table of GELU "
        "in half precision.\nfp16, q8_0 and q4_0 round the weights.\n"
    )
    PAGE.write_text(HEAD + "\n".join(lines) + "\n" + notes, encoding="utf-8")
    print(f"written to {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
