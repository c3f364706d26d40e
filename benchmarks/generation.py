"""Writing tokens, one text at a time: ours, Hugging Face's generate and llama.cpp, side by side.

A prompt of 64 tokens and 128 new ones, always the likeliest: SmolLM2-135M, and the shape of GPT-2
124M with random weights, each with weights in 32, 16, 8 and 4 bits. Every contestant has a process
of its own, one at a time, in two rounds. `--llama` builds llama.cpp (ten minutes or more) where it
isn't there; `--smollm` takes only the first.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.llama_cpp import FOLDER, llama_cpp
from benchmarks.timing import Call, ratio, seconds_of, table
from whence.data.tokenizers import Tokenizer
from whence.generate.reader import Reader
from whence.interop.exporting import write_hugging_face
from whence.interop.gguf.writing import write_gguf
from whence.interop.importing import find_model
from whence.models import GPT, gpt2_config
from whence.scale.weights import store

READ, WRITTEN, ROUNDS = 64, 128, 2
IDS = [(7 * i) % 4000 + 100 for i in range(READ)]
GPT2 = gpt2_config(
    n_layers=12, n_heads=12, d_model=768, context_length=1024, tied_embeddings=True, bias=True,
    qkv_bias=True,
)  # fmt: skip
REFERENCE = "Hugging Face bf16"
TEXT = "The river had risen in the night, and by morning the lower fields were a lake. " * 3


def smollm() -> tuple[GPT, Tokenizer]:
    found = find_model("smollm")
    model = GPT(found.config, found.tokenizer.vocab_size).eval()
    model.load_state_dict(found.weights())
    return model, found.tokenizer


def gpt2() -> tuple[GPT, Tokenizer]:
    torch.manual_seed(0)
    tokenizer = find_model("smollm").tokenizer
    return GPT(GPT2, tokenizer.vocab_size).eval(), tokenizer


def ours(make: Callable[[], tuple[GPT, Tokenizer]], weights: Any) -> Call:
    model, _ = make()
    store(model, weights)

    def call() -> int:
        reader = Reader(model, torch.tensor([IDS]), READ + WRITTEN)
        for _ in range(WRITTEN):
            token = reader.logits().argmax(-1)
            reader.append(token)
        return WRITTEN

    return call


def hugging_face(folder: Path, dtype: torch.dtype) -> Call:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    ids = torch.tensor([IDS])

    def call() -> None:
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, use_cache=True,
            min_new_tokens=WRITTEN, max_new_tokens=WRITTEN, pad_token_id=0,
        )  # fmt: skip
        assert out.shape[1] == READ + WRITTEN

    return call


def llama(file: Path) -> Call:
    package, reason = llama_cpp(build=False)
    assert package, reason
    model = package.Llama(
        str(file), n_ctx=READ + WRITTEN + 8, n_threads=torch.get_num_threads(), verbose=False
    )

    def call() -> None:
        for _ in zip(range(WRITTEN), model.generate(IDS, temp=0.0, reset=True), strict=False):
            pass

    return call


def timed(make: Callable[[], Call]) -> list[float]:
    """Two calls, after one that warms up."""
    call = make()
    call()
    return [seconds_of(call), seconds_of(call)]


@torch.inference_mode()
def loss(make: Callable[[], tuple[GPT, Tokenizer]], weights: Any) -> float:
    """Nats per token of a paragraph: what rounding the weights costs."""
    model, tokenizer = make()
    store(model, weights)
    ids = torch.tensor([[int(i) for i in tokenizer.encode(TEXT)]])
    return float(torch.nn.functional.cross_entropy(model(ids)[0, :-1].float(), ids[0, 1:]))


def run(make: Callable[[], tuple[GPT, Tokenizer]], folder: Path, original: Path | None) -> None:
    """Print the table of one model."""
    model, tokenizer = make()
    write_hugging_face(model, tokenizer, folder / "hf")
    makers: dict[str, Callable[[], Call]] = {
        f"Whence {weights}": partial(ours, make, weights)
        for weights in ("fp32", "bf16", "int8", "int4")
    }
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        makers[f"Hugging Face {name}"] = partial(hugging_face, folder / "hf", dtype)
    if FOLDER.is_dir() or "--llama" in sys.argv:
        llama_cpp(build=True)
        for name in ("fp32", "bf16", "q8_0", "q4_0"):
            write_gguf(model, tokenizer, folder / f"{name}.gguf", name)
            makers[f"llama.cpp {name}"] = partial(llama, folder / f"{name}.gguf")
        if original:
            makers["llama.cpp q4_1, its file"] = partial(llama, original)
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, made in makers.items():  # llama.cpp's threads don't rest: one process at a time
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                seconds[name] += pool.submit(timed, made).result()
            rate = WRITTEN / statistics.median(seconds[name])
            print(f"{name}: {rate:.0f} tokens/s so far", file=sys.stderr, flush=True)
    rows = []
    for name, times in seconds.items():
        told = f"{loss(make, name.split()[-1]):.4f}" if name.startswith("Whence") else ""
        rows.append(
            {
                make.__name__: name,
                "tokens/s": f"{WRITTEN / statistics.median(times):.0f}",
                "times Hugging Face bf16": f"{1 / ratio(times, seconds[REFERENCE]):.2f}",
                "loss": told,
            }
        )
    table(rows)


def main() -> None:
    """Print a table for each model."""
    kinds = [smollm] if "--smollm" in sys.argv else [smollm, gpt2]
    for make in kinds:
        with tempfile.TemporaryDirectory() as name:
            original = find_model("smollm").path if make is smollm else None
            run(make, Path(name), original)


if __name__ == "__main__":
    main()
