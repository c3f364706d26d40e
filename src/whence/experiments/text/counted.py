"""Does a bigram learned by gradient descent reach the counted one? And what smoothing is."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from whence.data import open_source
from whence.data.tokenizers import train_tokenizer
from whence.experiments.common import Example, Report, learn
from whence.models import BigramConfig, build
from whence.train.losses import cross_entropy
from whence.train.optimizers import AdamWConfig

REACHED = 1e-3  # nats per character
CLOSE = 0.01  # of a probability


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def bigram(text: str | Sequence[str] = "topics", n: int = 20_000, steps: int = 400) -> Report:
    """Count a text's pairs of characters, and learn the same table by the loop.

    Args:
        text: as `open_source` takes it; its first characters are used.
        n: how many of them.
        steps: of training, each on all of the text.
    """
    source = open_source(text)
    content = "".join(source.chunks())[:n]
    tokenizer = train_tokenizer("chars", lambda: [content])
    tokens, size = tokenizer.encode(content).astype(np.int64), tokenizer.vocab_size
    torch.default_generator.manual_seed(0)
    counts = np.zeros((size, size))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    pairs = torch.from_numpy(counts).float()

    every = torch.arange(size)[None]
    rows, data = [], {}
    for name, added in (("maximum likelihood", 0.0), ("add-one", 1.0)):
        smooth = counts + added
        p = smooth / smooth.sum(1, keepdims=True).clip(1e-300)
        seen = counts > 0
        counted = -float((counts[seen] * np.log(p[seen])).sum()) / counts.sum()
        model = build(BigramConfig(), size)
        weights = pairs + added  # the prior: each pair seen `added` times before the text is read

        def loss(model: torch.nn.Module, example: Example, weights: Tensor = weights) -> Tensor:
            logp = model(example.inputs)[0].log_softmax(-1)  # [V, V], a row for each token
            return -(weights * logp).sum() / pairs.sum()

        rate = AdamWConfig(learning_rate=0.3, max_grad_norm=0)
        for _ in learn(model, lambda g: Example(every, every), steps, optimizer=rate, loss=loss):
            pass
        with torch.inference_mode():
            inputs, targets = torch.from_numpy(tokens[:-1]), torch.from_numpy(tokens[1:])
            learned = cross_entropy(model(inputs[None])[0], targets).item()
            q = model(every)[0].softmax(-1).numpy()
        apart = float(np.abs(q - p)[counts.sum(1) > 0].max())
        rows.append((name, f"{counted:.5f}", f"{learned:.5f}", f"{learned - counted:+.5f}"))
        data[name] = {"counted": counted, "learned": learned, "largest_difference": apart}
    return Report(
        question="Does a bigram learned by gradient descent reach the counted one?",
        setting=f"{len(content):,} characters of {source.name}, {size} different ones, {steps} "
        "steps on all pairs; training loss in nats per character",
        columns=("table", "counted", "learned", "difference"),
        rows=rows,
        answer=conclusion(data, steps),
        data=data,
    )


def conclusion(data: dict[str, dict[str, float]], steps: int) -> str:
    """Say whether the loop reached the counts, with and without a prior."""
    plain, prior = data["maximum likelihood"], data["add-one"]
    gap, away = abs(plain["learned"] - plain["counted"]), prior["largest_difference"]
    reached = "reaches" if gap < REACHED else "has not reached"
    told = f"In {steps} steps the loop {reached} the closed form: they are {gap:.5f} nats apart. "
    told += "Add-one is the same table with a prior, one more example of every pair in the loss; "
    if away < CLOSE:
        return told + f"there the loop ends at the add-one counts, to within {away:.4f} of any P."
    return told + f"there a probability still differs by {away:.4f} from the add-one counts."
