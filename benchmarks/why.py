"""Opening a training step: do all numbers add up, and what do tracing and asking cost?

`python -m benchmarks why` draws 10,000 numbers from a step of each model, in float32 and bf16, and
adds each up again in float64; with `--operations` it prints a line for each operation. Then it
times tracing a step of a GPT of 10.8 million parameters at 16 × 256 against running it plainly, and
opening single numbers of it; with `--small` at 2 × 256. `--sums` and `--cost` do one half alone.

`--kinds` surveys hundreds of kinds of training code instead: how many open whole, which operations
have no rule, and how large an error each rule's bound could hide. With `--bf16` all numbers are of
that type; `--page` looks at both and writes docs/guide/why-limits.md; `--details` lists the kinds
that don't open whole, and `--kinds=losses` looks at one family or at kinds whose names begin so.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.timing import ratio, table
from benchmarks.why_kinds.limits import write
from benchmarks.why_kinds.survey import survey
from whence.cli.inside.conversation import PATHS, Conversation
from whence.cli.terminal import Console
from whence.data import WindowBatches
from whence.models import MODELS as RUNGS
from whence.models import GPTConfig, build
from whence.models.gpt.config import gpt2_config, llama_config, modern_config, qwen3_config
from whence.models.gpt.model import GPT
from whence.models.seq2seq.config import ClassifierConfig
from whence.models.seq2seq.encoder import Classifier
from whence.models.small.line import Line
from whence.models.small.mlp import MLP
from whence.train.loop import train
from whence.train.losses import binary_cross_entropy, mean_squared_error, next_token_loss
from whence.train.optimizer import Optimizer
from whence.train.optimizers import AdamWConfig, MuonConfig
from whence.train.schedules import Schedule
from whence.why import Trace, balance, trace

VOCAB, B, T = 65, 4, 32


class Recurrent(nn.Module):
    """torch's own recurrent layers between an embedding and a head."""

    def __init__(self, kind: type[nn.RNNBase]):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 32)
        self.rnn = kind(32, 48, num_layers=2, batch_first=True)
        self.head = nn.Linear(48, VOCAB)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of the token after each."""
        return self.head(self.rnn(self.embed(tokens))[0])


def transformer(name: str) -> nn.Module:
    """A small GPT-2, Llama or Qwen3 of transformers."""
    import transformers

    shape: dict[str, Any] = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0}
    if name == "GPT2":
        shape |= {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": T}
    else:
        shape |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "intermediate_size": 64}  # fmt: skip
    if name == "Qwen3":
        shape["head_dim"] = 8
    kind = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    return getattr(transformers, kind)(getattr(transformers, f"{name}Config")(**shape))


def own(form: Callable[..., GPTConfig], **settings: Any) -> Callable[[], nn.Module]:
    return lambda: GPT(
        form(n_layers=2, d_model=32, context_length=T, zero_head=False, **settings), VOCAB
    )


class Plain(nn.Module):
    """A line or a small network on numbers, its parameters given to a module to hold."""

    def __init__(self, shapes: list[tuple[int, int]], make: Callable[[list[nn.Parameter]], Any]):
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(shape) for shape in shapes)
        self.formula = make(list(self.weights))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predictions."""
        return self.formula(x)


Case = tuple[nn.Module, Callable[[], torch.Tensor]]  # a model, and its loss on a batch


def language(make: Callable[[], nn.Module]) -> Callable[[], Case]:
    """The next token of a batch of random ones."""

    def case() -> Case:
        model = make()
        tokens = torch.randint(2, VOCAB, (B, T + 1))
        tokens[:, T // 2] = 0  # an encoder–decoder's mark between source and target

        def loss() -> torch.Tensor:
            out: Any = model(tokens[:, :-1])
            logits = out if isinstance(out, torch.Tensor) else out.logits
            return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())

        return model, loss

    return case


def sorting() -> Case:
    """Four kinds of text."""
    kinds = ("letter", "story", "list", "poem")
    config = ClassifierConfig(n_layers=2, d_model=32, context_length=T, classes=kinds)
    model = Classifier(config, VOCAB)
    tokens, classes = torch.randint(0, VOCAB, (B, T)), torch.arange(B) % 4
    return model, lambda: F.cross_entropy(model(tokens).float(), classes)


def line() -> Case:
    """Squared error on three features."""
    model = Plain([(1, 1), (3, 1)], lambda p: Line(*p))
    x, y = torch.randn(20, 3), torch.randn(20, 1)
    return model, lambda: mean_squared_error(model(x).float(), y)


def network() -> Case:
    """Binary cross-entropy behind two layers of tanh."""
    shapes = [(3, 8), (1, 8), (8, 8), (1, 8), (8, 1), (1, 1)]
    model = Plain(shapes, lambda p: MLP(list(zip(p[::2], p[1::2], strict=True)), "tanh"))
    x, y = torch.randn(40, 3), torch.randint(0, 2, (40, 1)).float()
    return model, lambda: binary_cross_entropy(model(x).float(), y)


def rung(name: str, **settings: Any) -> Callable[[], Case]:
    return language(lambda: build(replace(RUNGS[name], **settings), VOCAB))


MODELS: dict[str, Callable[[], Case]] = {
    "line": line,
    "MLP": network,
    "bigram": rung("bigram"),
    "character MLP": rung("mlp", context_length=T),
    "RNN": rung("rnn", d_model=32, context_length=T),
    "LSTM": rung("lstm", d_model=32, context_length=T),
    "GRU": rung("gru", d_model=32, context_length=T),
    "encoder": sorting,
    "encoder–decoder": rung("seq2seq", d_model=32, context_length=T, dropout=0.1),
    "GPT, modern": language(own(modern_config)),
    "GPT, modern, formula": language(own(modern_config, attention="formula")),
    "GPT, gpt2": language(own(gpt2_config, dropout=0.1)),
    "GPT, llama": language(own(llama_config, n_kv_heads=2)),
    "GPT, qwen3": language(own(qwen3_config)),
    "torch's LSTM": language(lambda: Recurrent(nn.LSTM)),
    "torch's GRU": language(lambda: Recurrent(nn.GRU)),
    "torch's RNN": language(lambda: Recurrent(nn.RNN)),
    "transformers' GPT-2": language(lambda: transformer("GPT2")),
    "transformers' Llama": language(lambda: transformer("Llama")),
    "transformers' Qwen3": language(lambda: transformer("Qwen3")),
}


def traced(make: Callable[[], Case], bf16: bool) -> Trace:
    """One step of a model by torch's AdamW, its gradient clipped."""
    torch.manual_seed(0)
    model, loss_of = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    step()
    return trace(step, model=model, optimizer=optimizer)


def sums(operations: bool) -> list[dict]:
    """Draw 10,000 numbers from a step of each model and add them up again."""
    rows = []
    for name, make in MODELS.items():
        for bf16 in (False, True):
            t = traced(make, bf16)
            found = balance(t)
            if operations:
                print(f"\n{name}, {'bf16' if bf16 else 'fp32'}\n{found}")
            worst = max(found.rows, key=lambda row: row.used)
            rows.append(
                {
                    "model": name,
                    "type": "bf16" if bf16 else "fp32",
                    "operations": len(t.ops),
                    "without a rule": sum(found.closed.values()),
                    "numbers": found.numbers,
                    "wrong": len(found.wrong),
                    "residual / Σ|terms|": f"{max(row.residual for row in found.rows):.1e}",
                    "of the bound": f"{worst.used:.2f} ({worst.operation})",
                }
            )
    return rows


def large(batch: int, optimizer: Any) -> tuple[Callable[[], object], Any, Any]:
    """One step of a GPT of 10.8 million parameters with a window of 256."""
    torch.manual_seed(0)
    config = gpt2_config(n_layers=6, n_heads=6, d_model=384, context_length=256)
    model = GPT(config, VOCAB)
    tokens = np.random.default_rng(0).integers(0, VOCAB, 100_000)
    batches = WindowBatches(tokens, context_length=256, batch_size=batch, seed=0)
    moving = Optimizer(model, optimizer, Schedule("constant", 0), steps=100)
    numbers = iter(range(100))

    def step() -> object:
        return next(iter(train(model, batches, next_token_loss, moving, [next(numbers)]))).loss

    return step, model, moving


ADDRESSES = [
    "loss",
    "logits[0,3,5]",
    "blocks.3.norm1[1,200,7]",
    "blocks.3.attn.weights[10,100,3]",
    "blocks.3.mlp.up.weight[3,7].grad",
    "blocks.3.attn.q.weight[3,7].grad",
    "blocks.2.norm1[1,2,3].grad",
    "embed.weight[3,7].grad",
    "norm.weight[5].grad",
    "blocks.3.mlp.up.weight[3,7].after",
]


def cost(batch: int, rounds: int = 5) -> None:
    """Time a plain step, a traced one, and the opening of single numbers."""
    for name, optimizer in {"AdamW": AdamWConfig(), "Muon": MuonConfig()}.items():
        step, model, moving = large(batch, optimizer)
        plain, recorded, told = [], [], [0]
        for _ in range(rounds + 1):
            start = time.perf_counter()
            step()
            plain.append(time.perf_counter() - start)
            start = time.perf_counter()
            t = trace(step, model=model, optimizer=moving, tell=told.append)
            recorded.append(time.perf_counter() - start)
            if len(plain) <= rounds:
                del t  # or two of them are kept at a time
        count = sum(p.numel() for p in model.parameters())
        seconds = f"plain {statistics.median(plain[1:]):.2f} s, traced "
        seconds += f"{statistics.median(recorded[1:]):.2f} s"
        print(
            f"{name}, {count / 1e6:.1f} M parameters, {batch} × 256: {seconds}, "
            f"{ratio(recorded[1:], plain[1:]):.2f} ×; memory told {told[-1] / 1e9:.2f} GB, kept "
            f"{t.nbytes / 1e9:.2f} GB"
        )
        if name == "AdamW":
            table([*opening(t), *updates(t)])
            print()
            table(conversation(t))
        else:
            table(updates(t))


def opening(t: Trace, rounds: int = 5) -> list[dict]:
    """Time the opening of single numbers, each for the first time and again."""
    rows = []
    for address in ADDRESSES:
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            receipt = t.why(address)
            seconds.append(time.perf_counter() - start)
        terms = len(receipt.terms) + receipt.others.count
        rows.append(_row(address, terms, seconds, receipt.verdict))
    return rows


def updates(t: Trace) -> list[dict]:
    """Time the opening of an update, and of its attribution by token."""
    name = "blocks.3.mlp.up.weight[3,7].update"
    rows = []
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        receipt = t.why(name)
        seconds.append(time.perf_counter() - start)
    rows.append(_row(name, len(receipt.terms) + receipt.others.count, seconds, receipt.verdict))
    for way in ("token", "path"):
        start = time.perf_counter()
        found = t.number(name).attribution(way, seconds=PATHS)
        seconds = [time.perf_counter() - start]
        rows.append(_row(f"the same by {way}", len(found.shares), seconds, "rounded"))
        print("\n".join(f"by {way}: {note}" for note in found.notes if way == "path"))
    return rows


def conversation(t: Trace) -> list[dict]:
    """Time the answers of `whence why --interactive`, printing included, to lines of a user."""
    screen = Console(file=StringIO(), width=100)
    held = Conversation(t, screen)
    held.open("blocks.3.mlp.up.weight[3,7].update")
    rows = []
    for line in ("1", "back", "/attn.q", "by token", "blocks.2.attn.q.weight", "blocks.3.norm1"):
        start = time.perf_counter()
        held.answer(line)
        rows.append({"said": line, "ms": f"{1e3 * (time.perf_counter() - start):.0f}"})
    return rows


def _row(address: str, terms: int, seconds: list[float], verdict: str) -> dict:
    return {
        "number": address,
        "terms": terms,
        "first ms": f"{1e3 * seconds[0]:.1f}",
        "median ms": f"{1e3 * statistics.median(seconds):.1f}",
        "verdict": verdict,
    }


def main() -> None:
    kinds = next((word for word in sys.argv if word.partition("=")[0] == "--kinds"), None)
    if kinds is not None:
        only, details = kinds.partition("=")[2], "--details" in sys.argv
        if "--page" in sys.argv:
            found = {
                str(dtype).removeprefix("torch."): [*survey(only, details, dtype).values()]
                for dtype in (torch.float32, torch.bfloat16)
            }
            write(
                Path("docs/guide/why-limits.md"), found, "python -m benchmarks why --kinds --page"
            )
            return
        dtype = torch.bfloat16 if "--bf16" in sys.argv else torch.float32
        survey(only, details, dtype)
        return
    if "--cost" not in sys.argv:
        table(sums("--operations" in sys.argv))
        print()
    if "--sums" not in sys.argv:
        cost(2 if "--small" in sys.argv else 16)


if __name__ == "__main__":
    main()
