"""The rungs on names.txt, characters, 80/10/10 by shuffled names: nats per character on the test.

Reference points: counted bigram about 2.45, MLP with context 3 about 2.1, small Transformer
1.9 to 2.0.

    python -m benchmarks ladder
"""

import random
import time
from pathlib import Path

import numpy as np
import torch

from whence.data import WindowBatches
from whence.data.tokenizers import train_tokenizer
from whence.models import BigramConfig, GPTConfig, GRUConfig, MLPConfig, ModelConfig, build
from whence.models.recurrent.config import LSTMConfig, RNNConfig
from whence.train.evaluation import evaluate
from whence.train.loop import train
from whence.train.losses import next_token_loss
from whence.train.optimizer import Optimizer
from whence.train.optimizers import MuonConfig
from whence.train.schedules import Schedule

SHARED = [folder / "shared" / "data" for folder in Path(__file__).parents]
WINDOW = 32
RUNGS: dict[str, tuple[ModelConfig, int, str]] = {  # configuration, steps, reference point
    "bigram": (BigramConfig(context_length=WINDOW), 400, "2.45"),
    "mlp, 3 back": (MLPConfig(n_previous=3, d_ff=200, context_length=WINDOW), 1500, "2.1"),
    "mlp, 8 back": (MLPConfig(n_previous=8, d_ff=256, context_length=WINDOW), 1500, ""),
    "rnn": (RNNConfig(d_model=128, context_length=WINDOW), 1000, ""),
    "lstm": (LSTMConfig(d_model=128, context_length=WINDOW), 800, ""),
    "gru": (GRUConfig(d_model=128, context_length=WINDOW), 800, ""),
    "gpt": (
        GPTConfig(n_layers=3, n_heads=4, d_model=64, context_length=WINDOW, dropout=0.1),
        1200,
        "1.9 to 2.0",
    ),
}


def split_names(seed: int = 0) -> list[str]:
    """Training, validation and test text: each name between line breaks."""
    path = next(f / "names.txt" for f in SHARED if (f / "names.txt").is_file())
    names = path.read_text(encoding="utf-8").split()
    random.Random(seed).shuffle(names)
    a, b = int(0.8 * len(names)), int(0.9 * len(names))
    return ["\n" + "\n".join(part) + "\n" for part in (names[:a], names[a:b], names[b:])]


def counted_bigram(training: np.ndarray, test: np.ndarray, size: int) -> float:
    """Loss of the counted table, add-one."""
    counts = np.ones((size, size))
    np.add.at(counts, (training[:-1], training[1:]), 1)
    p = counts / counts.sum(1, keepdims=True)
    return -float(np.log(p[test[:-1], test[1:]]).mean())


def main(rungs: list[str] | None = None) -> None:
    """Train each rung and print a row for it."""
    texts = split_names()
    tokenizer = train_tokenizer("chars", lambda: texts)
    training, _, test = (tokenizer.encode(text) for text in texts)
    counted = counted_bigram(training, test, tokenizer.vocab_size)
    print(_line({"rung": "counted bigram, add-one", "test": counted, "reference": "2.45"}))
    for name in rungs or list(RUNGS):
        config, steps, reference = RUNGS[name]
        torch.manual_seed(0)
        model = build(config, tokenizer.vocab_size)
        batches = WindowBatches(training, context_length=WINDOW, batch_size=64, seed=0)
        optimizer = Optimizer(model, MuonConfig(), Schedule(), steps)
        start = time.perf_counter()
        for _ in train(model, batches, next_token_loss, optimizer, range(steps)):
            pass
        seconds = time.perf_counter() - start
        found = evaluate(
            model, test, context_length=WINDOW, stride=WINDOW // 2, n_bytes=len(test) - 1
        )
        row = {
            "rung": name,
            "test": found.loss,
            "reference": reference,
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": steps,
            "seconds": seconds,
            "tokens/s": steps * 64 * WINDOW / seconds,
        }
        print(_line(row), flush=True)


def _line(row: dict) -> str:
    return (
        f"{row['rung']:<24}{row['test']:8.4f} nats/char  reference {row['reference'] or '–':<11}"
        f"{row.get('parameters', 0):>9,} parameters{row.get('seconds', 0):8.1f} s"
        f"{row.get('tokens/s', 0):>12,.0f} tokens/s"
    )
