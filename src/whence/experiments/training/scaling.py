"""How the loss falls with parameters, data and compute, and what that says of a larger model."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from whence.data import WindowBatches, open_source
from whence.data.tokenizers import train_tokenizer
from whence.experiments.common import Drawing, Report
from whence.experiments.training.power_law import PowerLaw, fit
from whence.models import build, modern_config
from whence.train.evaluation import evaluate
from whence.train.loop import train
from whence.train.losses import next_token_loss
from whence.train.optimizer import Optimizer
from whence.train.optimizers import MuonConfig
from whence.train.schedules import Schedule

CONTEXT, BATCH = 64, 8
WIDTHS, LARGER = (16, 24, 32, 48, 64), 96
MEASURED = 20_000  # validation tokens
NUMBERS = ("floor", "by_size", "alpha", "by_data", "beta", "split")
Point = tuple[float, float, float]  # parameters, tokens, loss in nats


def train_one(
    width: int, steps: int, seed: int, parts: tuple[np.ndarray, np.ndarray], vocab_size: int
) -> Point:
    """Train a GPT of two layers by the usual recipe; its size, its tokens, its loss afterwards.

    Args:
        width: of the model; 16 features a head.
        steps: of 8 windows of 64 tokens, the rate falling over the last half.
        seed: of weights and batches.
        parts: tokens to train on, and to measure on.
        vocab_size: of the tokenizer.
    """
    torch.default_generator.manual_seed(seed)
    shape = {"n_layers": 2, "n_heads": max(1, width // 16), "d_model": width}
    model = build(modern_config(**shape, context_length=CONTEXT), vocab_size)
    batches = WindowBatches(parts[0], context_length=CONTEXT, batch_size=BATCH, seed=seed)
    optimizer = Optimizer(model, MuonConfig(), Schedule("wsd", 5), steps)
    for _ in train(model, batches, next_token_loss, optimizer, range(steps)):
        pass
    found = evaluate(model, parts[1][:MEASURED], context_length=CONTEXT, n_bytes=1)
    return sum(p.numel() for p in model.parameters()), steps * BATCH * CONTEXT, found.loss


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def scaling(
    seeds: Sequence[int] = range(2),
    steps: int = 600,
    text: str | Sequence[str] = "topics",
    widths: Sequence[int] = WIDTHS,
    larger: int = LARGER,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Train sizes on amounts of text, fit a law to their losses, and put its prediction to a test.

    Args:
        seeds: of weights and batches.
        steps: the longest training; others are a half and a quarter of it.
        text: as `open_source` takes it; its last tenth measures.
        widths: of the models that the law is fitted to.
        larger: the width that is predicted and then trained.
        tell: is called with how many trainings are done, of how many.
    """
    source = open_source(text)
    content = "".join(source.chunks())
    tokenizer = train_tokenizer("chars", lambda: [content])
    tokens = tokenizer.encode(content)
    cut, size = int(0.9 * len(tokens)), tokenizer.vocab_size
    parts = (tokens[:cut], tokens[cut:])
    lengths = [max(1, steps // 4), max(1, steps // 2), steps]
    cells = [(w, n, s) for w in widths for n in lengths for s in seeds]
    points: list[Point] = []
    for width, length, seed in cells:
        points.append(train_one(width, length, seed, parts, size))
        tell(len(points), len(cells) + len(seeds))
    law = fit(points)
    tested = []
    for number, seed in enumerate(seeds, start=1):
        tested.append(train_one(larger, steps, seed, parts, size))
        tell(len(cells) + number, len(cells) + len(seeds))
    n, d, _ = tested[0]
    losses = [loss for _, _, loss in tested]
    predicted = law.prediction(n, d)
    again = steps * BATCH * CONTEXT / cut
    told = [
        size_conclusion(law),
        data_conclusion(law),
        test_conclusion(predicted, losses, int(n)),
    ]
    if again > 1:
        told.append(f"The longest trainings read the text {again:.1f} times.")
    return Report(
        question="How does the loss fall with parameters, data and compute?",
        setting=f"GPTs of 2 layers, widths {', '.join(map(str, widths))}, on characters of "
        f"{source.name}, {lengths[0]:,} to {steps:,} steps of {BATCH * CONTEXT} tokens; "
        f"{len(seeds)} seed{'s' * (len(seeds) != 1)}; L = E + A·N^−α + B·D^−β by least squares",
        columns=("parameters", "tokens", "operations", "loss in nats", "fitted"),
        rows=[*_rows(points, law), *_rows(tested, law, "predicted")],
        answer=" ".join(told),
        data={
            "points": points,
            "tested": tested,
            "predicted": predicted,
            **{
                k: law.between(k) for k in ("floor", "by_size", "alpha", "by_data", "beta", "split")
            },
        },
        drawing=_drawing(points, tested, law, lengths),
    )


def _rows(points: Sequence[Point], law: PowerLaw, mark: str = "") -> list[tuple[str, ...]]:
    rows = []
    for n, d in dict.fromkeys((n, d) for n, d, _ in points):
        losses = [loss for a, b, loss in points if (a, b) == (n, d)]
        shown = f"{math.fsum(losses) / len(losses):.3f}"
        fitted = f"{float(np.median(law.loss(n, d))):.3f}"
        if mark:
            _, low, high = law.prediction(n, d)
            fitted = f"{fitted} [{low:.3f}, {high:.3f}], {mark}"
        rows.append((f"{n:,.0f}", f"{d:,.0f}", f"{6 * n * d:.1e}", shown, fitted))
    return rows


def _drawing(
    points: Sequence[Point], tested: Sequence[Point], law: PowerLaw, lengths: Sequence[int]
) -> Drawing:
    curves: dict[str, list[Any]] = {}
    for length in lengths:
        d = length * BATCH * CONTEXT
        curves[f"{d:,} tokens"] = [
            (math.log10(n), _mean([x for a, b, x in points if (a, b) == (n, d)]))
            for n in sorted({a for a, _, _ in points})
        ]
    n, d, _ = tested[0]
    reach = np.linspace(math.log10(min(a for a, _, _ in points)), math.log10(n), 20)
    curves[f"the law, {int(d):,} tokens"] = [
        (float(x), float(np.median(law.loss(10**x, d)))) for x in reach
    ]
    return Drawing("Loss against parameters", curves, x="log₁₀ parameters", y="nats a token")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def size_conclusion(law: PowerLaw) -> str:
    """Say whether more parameters lowered the loss, by the interval of what they take away."""
    factor, low, _ = law.between("by_size")
    alpha, least, most = law.between("alpha")
    if low > 0:
        return (
            f"More parameters lower the loss: the part that size can remove falls as "
            f"N^−{alpha:.2f} [{least:.2f}, {most:.2f}]."
        )
    if factor > 0:
        return "Whether more parameters lower the loss is undecided here."
    return "More parameters don't lower the loss here."


def data_conclusion(law: PowerLaw) -> str:
    """Say whether more tokens lowered it, and how a budget would be split between the two."""
    factor, low, _ = law.between("by_data")
    beta, least, most = law.between("beta")
    if low > 0:
        told = (
            f"More tokens lower it: the part that data can remove falls as D^−{beta:.2f} "
            f"[{least:.2f}, {most:.2f}]."
        )
        if law.between("by_size")[1] > 0:
            split, least, most = law.between("split")
            told += (
                f" By this law the best size for C operations grows as C^{split:.2f} "
                f"[{least:.2f}, {most:.2f}]; Hoffmann et al. found 0.46 for large models."
            )
        return told
    if factor > 0:
        return "Whether more tokens lower it is undecided."
    return "More tokens don't lower it."


def test_conclusion(
    predicted: tuple[float, float, float], losses: Sequence[float], parameters: int
) -> str:
    """Say whether the larger model came to what was predicted.

    Args:
        predicted: the loss, and where 95 % of runs should lie.
        losses: of the runs that were then trained.
        parameters: of that model.
    """
    middle, low, high = predicted
    inside = sum(low <= loss <= high for loss in losses)
    came = f"{_mean(losses):.3f}"
    said = f"For {parameters:,} parameters it predicts {middle:.3f} [{low:.3f}, {high:.3f}]"
    if inside == len(losses):
        return f"{said}; trained, it came to {came}: as predicted."
    if inside:
        return f"{said}; trained, it came to {came}: {inside} of {len(losses)} runs as predicted."
    side = "lower" if _mean(losses) < middle else "higher"
    return (
        f"{said}; trained, it came to {came}, {side} than predicted: the law doesn't hold that far."
    )
