"""Generation against Hugging Face's, with and without a key-value cache.

Run with `python -m benchmarks.generation`. 4 layers, 4 heads, width 128, vocabulary 65: a prompt of
8 tokens is continued to the end of a window of 64, one text at a time, by sampling.
"""

import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.timing import interleaved, ratio, table
from whence.generate import generate
from whence.models import GPT, gpt2_config, modern_config

V, T, PROMPT = 65, 64, 8
NEW = T - PROMPT
REFERENCE = "Hugging Face generate, cache"


class Letters:
    """A tokenizer of 65 letters."""

    vocab_size = V

    def encode(self, text: str) -> list[int]:
        """Text to ids."""
        return [ord(letter) - 48 for letter in text]

    def decode(self, ids: list[int]) -> str:
        """Ids to text."""
        return "".join(chr(48 + i) for i in ids)


class WithoutCache:
    """A GPT that reads its whole window for every token."""

    context_length = T

    def __init__(self, model: GPT):
        self.model = model

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits of the whole window."""
        return self.model(tokens)


def hugging_face(use_cache: bool) -> Callable[[], object]:
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=V,
            n_positions=T,
            n_embd=128,
            n_layer=4,
            n_head=4,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    prompt = torch.zeros(1, PROMPT, dtype=torch.long)

    def call() -> None:
        out = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=NEW,
            do_sample=True,
            top_k=0,
            use_cache=use_cache,
        )
        assert out.shape[1] == T

    return call


def ours(model: nn.Module | WithoutCache) -> Callable[[], object]:
    def call() -> None:
        (text,) = generate(model, Letters(), "0" * PROMPT, max_tokens=NEW)  # pyright: ignore[reportArgumentType]
        assert len(text) == NEW

    return call


def run(rounds: int = 12) -> list[dict]:
    torch.manual_seed(0)
    plain, modern_form = GPT(gpt2_config(), V).eval(), GPT(modern_config(zero_head=False), V).eval()
    formula = GPT(gpt2_config(attention="formula"), V).eval()
    contestants = {
        REFERENCE: hugging_face(True),
        "Hugging Face generate, no cache": hugging_face(False),
        "gpt2, cache": ours(plain),
        "gpt2, cache, formula attention": ours(formula),
        "gpt2, no cache": ours(WithoutCache(plain)),
        "modern, cache": ours(modern_form),
        "modern, no cache": ours(WithoutCache(modern_form)),
    }
    seconds = interleaved(contestants, rounds, warmup=1)
    return [
        {
            "generation": name,
            "tokens/s": f"{NEW / statistics.median(times):.0f}",
            "ms/token": f"{1e3 * statistics.median(times) / NEW:.2f}",
            "of Hugging Face's time": f"{ratio(times, seconds[REFERENCE]):.3f}",
        }
        for name, times in seconds.items()
    ]


def main() -> None:
    """Print the table."""
    table(run())


if __name__ == "__main__":
    main()
