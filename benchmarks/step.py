"""A training step of a small GPT against Hugging Face's of the same shape.

`python -m benchmarks step`. 4 layers, 4 heads, width 128, window 64, batch 12, vocabulary 65. Ours
is a whole step of `whence train`: the batch is made, every gradient is checked and clipped, and
only deterministic kernels are used. Hugging Face's GPT2LMHeadModel, in fp32, takes one batch again
and again; forward, backward and AdamW. Each has a process of its own; turns are twenty steps long.
"""

import random
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.timing import apart, ratio, table
from whence.data import open_source, prepare
from whence.models import GPTConfig, gpt2_config, modern_config
from whence.runs.recipe import Recipe
from whence.runs.training.session import assemble
from whence.scale.hardware import Hardware, Precision, has_compiler
from whence.scale.process import tune_process
from whence.train.optimizers import AdamWConfig, MuonConfig, OptimizerConfig

B, T, V = 12, 64, 65
REFERENCE = "Hugging Face GPT-2, fp32"


def hugging_face(**adamw: Any) -> Callable[[], object]:
    """The reference's step."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    settings: dict[str, Any] = {"n_positions": T, "n_embd": 128, "n_layer": 4, "n_head": 4}
    settings |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    settings |= {"bos_token_id": None, "eos_token_id": None}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=V, **settings))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, **adamw)
    tokens = torch.randint(0, V, (B, T + 1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:].flatten()

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs).logits.flatten(0, 1), targets).backward()
        optimizer.step()

    return step


def ours(
    config: GPTConfig, precision: Precision, optimizer: OptimizerConfig, compiled: bool = False
) -> Callable[[], object]:
    """A step of `whence train`, on 65 letters drawn at random."""
    letters = [chr(ord("0") + i) for i in range(V)]
    text = "".join(letters + random.Random(0).choices(letters, k=100_000))
    hardware = Hardware(device="cpu", precision=precision, compile=compiled).resolved()
    recipe = Recipe(model=config, optimizer=optimizer, hardware=hardware, steps=10**6, batch_size=B)
    folder = Path(tempfile.mkdtemp())
    (folder / "text.txt").write_text(text, encoding="utf-8")
    dataset = prepare(open_source(str(folder / "text.txt")), "chars", None, 0.1, folder)
    s = assemble(recipe, dataset)
    tune_process()
    return partial(next, s.learn(range(recipe.steps)))


def run(rounds: int = 5) -> list[dict]:
    """The table's rows."""
    contestants: dict[str, Callable[[], Callable[[], object]]] = {
        REFERENCE: hugging_face,
        "the same, fused AdamW": partial(hugging_face, fused=True),
    }
    for name, form in (("gpt2", gpt2_config), ("modern", modern_config)):
        for precision in ("fp32", "bf16"):
            for attention in ("formula", "fast"):
                key = f"{name}, {precision}, {attention} attention, AdamW"
                contestants[key] = partial(
                    ours, form(attention=attention), precision, AdamWConfig()
                )
        if has_compiler():
            key = f"{name}, bf16, fast attention, AdamW, compiled"
            contestants[key] = partial(ours, form(), "bf16", AdamWConfig(), True)
    contestants["modern, bf16, fast attention, Muon"] = partial(
        ours, modern_config(), "bf16", MuonConfig()
    )
    seconds = apart(contestants, rounds, calls=20)
    return [
        {
            "step": name,
            "ms, median": f"{1e3 * statistics.median(times):.1f}",
            "ms, least": f"{1e3 * min(times):.1f}",
            "of Hugging Face's": f"{ratio(times, seconds[REFERENCE]):.2f}",
        }
        for name, times in seconds.items()
    ]


def main() -> None:
    """Print the table."""
    table(run())


if __name__ == "__main__":
    main()
