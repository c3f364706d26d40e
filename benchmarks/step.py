"""A training step of a small GPT against Hugging Face's of the same shape.

Run with `python -m benchmarks.step`. 4 layers, 4 heads, width 128, window 64, batch 12, vocabulary
65; forward, backward and AdamW. The reference is GPT2LMHeadModel in fp32.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.timing import interleaved, ratio, table
from whence.models.gpt import GPT, GPTConfig, gpt2, modern

B, T, V = 12, 64, 65
REFERENCE = "Hugging Face GPT-2, fp32"


def hugging_face() -> nn.Module:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=V,
            n_positions=T,
            n_embd=128,
            n_layer=4,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def step_of(
    model: nn.Module, logits: Callable[[nn.Module, Tensor], Tensor], bf16: bool, **adamw: Any
) -> Callable[[], object]:
    """A whole training step on one fixed random batch."""
    tokens = torch.randint(0, V, (B, T + 1), generator=torch.Generator().manual_seed(0))
    inputs, targets = tokens[:, :-1], tokens[:, 1:].flatten()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, **adamw)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = logits(model, inputs)
        F.cross_entropy(out.flatten(0, 1).float(), targets).backward()
        optimizer.step()

    return step


def ours(config: GPTConfig, bf16: bool, **adamw: Any) -> Callable[[], object]:
    torch.manual_seed(0)
    return step_of(GPT(config, V), lambda model, x: model(x), bf16, **adamw)


def run(rounds: int = 20) -> list[dict]:
    contestants = {REFERENCE: step_of(hugging_face(), lambda model, x: model(x).logits, False)}
    for name, form in (("gpt2", gpt2), ("modern", modern)):
        for precision in ("fp32", "bf16"):
            for attention in ("formula", "fast"):
                config = form(attention=attention)
                key = f"{name}, {precision}, {attention} attention"
                contestants[key] = ours(config, precision == "bf16", fused=True)
    contestants["gpt2, bf16, fast attention, AdamW foreach"] = ours(gpt2(), True, foreach=True)
    seconds = interleaved(contestants, rounds)
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
