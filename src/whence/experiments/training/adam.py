"""Why does Adam beat plain SGD? Valleys, noise, a rate for each parameter; and a small GPT."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from whence.data import WindowBatches, open_source
from whence.data.tokenizers import train_tokenizer
from whence.experiments.common import AMOUNT, Drawing, Interval, Report, apart, mean_interval
from whence.models import GPTConfig, build
from whence.train.evaluation import evaluate
from whence.train.loop import train
from whence.train.losses import next_token_loss
from whence.train.optimizer import NotFiniteError, Optimizer
from whence.train.optimizers import AdamWConfig, OptimizerConfig, SGDConfig
from whence.train.schedules import Schedule

STEEP = 100.0  # how much steeper the valley is across than along
WALK = 100  # steps of a walk through the valley
NOISE = 3.0  # deviation of what is added to each slope in the noisy valley
GPT = GPTConfig(n_layers=2, n_heads=2, d_model=32, context_length=32)


def sgd(rate: float) -> OptimizerConfig:
    """Plain gradient descent."""
    return SGDConfig(learning_rate=rate, max_grad_norm=0)


def momentum(rate: float) -> OptimizerConfig:
    """With nine tenths of the last step's direction kept."""
    return SGDConfig(learning_rate=rate, momentum=0.9, max_grad_norm=0)


def adam(rate: float) -> OptimizerConfig:
    """Adam: no weight decay, β of the paper."""
    return AdamWConfig(learning_rate=rate, weight_decay=0.0, max_grad_norm=0)


OPTIMIZERS: dict[str, Callable[[float], OptimizerConfig]] = {
    "SGD": sgd,
    "momentum": momentum,
    "Adam": adam,
}


@dataclass(frozen=True)
class Valley:
    """Ground that is gentle along and steep across: (a² + 100·b²) / 2.

    Attributes:
        turned: the valley lies across both parameters rather than along one.
        noise: deviation of what is added to each slope, as batches do.
    """

    turned: bool = False
    noise: float = 0.0


FIRST = "a valley along a parameter"
VALLEYS = {
    FIRST: Valley(),
    "the same, turned by 45°": Valley(turned=True),
    "the first, with noisy slopes": Valley(noise=NOISE),
}
VALLEY_RATES = [10.0 ** (k / 4) for k in range(-16, 5)]
GPT_RATES = {
    "SGD": [0.1, 0.3, 1.0, 3.0, 10.0],
    "momentum": [0.01, 0.03, 0.1, 0.3, 1.0],
    "Adam": [0.001, 0.003, 0.01, 0.03, 0.1],
}


class Place(torch.nn.Module):
    """Two parameters, and how high the ground is there."""

    def __init__(self, valley: Valley, seed: int) -> None:
        super().__init__()
        angle = 2 * math.pi * torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()
        self.u = torch.nn.Parameter(torch.tensor(10 * math.cos(angle)))
        self.v = torch.nn.Parameter(torch.tensor(math.sin(angle)))
        self.valley = valley

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """The height, and slopes with noise."""
        height = self.height()
        return height + self.valley.noise * (noise * torch.stack((self.u, self.v))).sum()

    def height(self) -> torch.Tensor:
        """(a² + 100·b²) / 2."""
        a, b = self.u, self.v
        if self.valley.turned:
            a, b = (a + b) / math.sqrt(2), (a - b) / math.sqrt(2)
        return (a**2 + STEEP * b**2) / 2


def walk(valley: Valley, config: OptimizerConfig, seed: int) -> tuple[float, list[list[float]]]:
    """Walk through a valley; the height at the end and the path."""
    place = Place(valley, seed)
    optimizer = Optimizer(place, config, Schedule("constant", warmup=0), WALK)
    draws = torch.randn(WALK, 2, generator=torch.Generator().manual_seed(1000 + seed))
    batches = [[(1.0, draw)] for draw in draws]
    path = [[place.u.item(), place.v.item()]]
    try:
        loop = train(place, batches, lambda model, noise: model(noise), optimizer, range(WALK))
        path.extend([place.u.item(), place.v.item()] for _ in loop)
    except NotFiniteError:
        return math.inf, path
    end = place.height().item()
    return (end if math.isfinite(end) else math.inf), path


def best(
    rates: Sequence[float], run: Callable[[float, int], float], seeds: Sequence[int]
) -> tuple[float, list[float]]:
    """The rate with the lowest mean over the seeds, and what each seed came to at it."""
    found = {rate: [run(rate, seed) for seed in seeds] for rate in rates}
    rate = min(found, key=lambda r: math.fsum(found[r]))
    return rate, found[rate]


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def why_adam(
    seeds: Sequence[int] = range(6), steps: int = 250, text: str | Sequence[str] = "topics"
) -> Report:
    """Walk through three valleys and train a small GPT, by each optimizer at its own best rate.

    Args:
        seeds: starts in the valley, and first weights of the GPT.
        steps: of the GPT's training.
        text: as `open_source` takes it; its last tenth measures.
    """
    rows, data, told, edges = [], {}, [], []
    for name, valley in VALLEYS.items():
        ends: dict[str, list[float]] = {}
        for kind, make in OPTIMIZERS.items():
            rate, found = best(
                VALLEY_RATES, lambda r, s, make=make, v=valley: walk(v, make(r), s)[0], seeds
            )
            ends[kind] = found
            if _edge(rate, VALLEY_RATES):
                edges.append(f"{kind} in {name}")
            rows.append(
                (
                    name,
                    kind,
                    f"{rate:.3g}{_edge(rate, VALLEY_RATES)}",
                    f"{mean_interval(found, AMOUNT):.3g}",
                )
            )
            data.setdefault(name, {})[kind] = {
                "rate": rate,
                "heights": found,
                "path": walk(valley, make(rate), seeds[0])[1],
            }
        logs = {kind: [math.log(max(x, 1e-30)) for x in found] for kind, found in ends.items()}
        told.append(valley_conclusion(name, apart(logs["SGD"], logs["Adam"])))
    source = open_source(text)
    losses, spread = _gpt(source, seeds, steps, rows, data)
    told.append(
        gpt_conclusion(
            apart(losses["SGD"], losses["Adam"]), apart(losses["momentum"], losses["Adam"]), spread
        )
    )
    edges += [
        f"{kind} in the GPT"
        for kind, rates in GPT_RATES.items()
        if _edge(data["a small GPT"][kind]["rate"], rates)
    ]
    told += edges_conclusion(edges)
    return Report(
        question="Why does Adam beat plain SGD?",
        setting=f"height (a² + {STEEP:g}·b²)/2 after {WALK} steps from {len(seeds)} starts; a GPT "
        f"of 2 layers, width 32, on characters of {source.name}, {steps} steps; each at the best "
        "of the rates tried",
        columns=("where", "optimizer", "best rate", "height, or validation loss in nats"),
        rows=rows,
        answer=" ".join(told),
        data=data,
        drawing=Drawing(
            "Two paths through the valley, each at its best rate",
            {kind: data[FIRST][kind]["path"] for kind in ("SGD", "Adam")},
            x="along",
            y="across, 100 times as steep",
        ),
    )


def _gpt(
    source: Any, seeds: Sequence[int], steps: int, rows: list, data: dict
) -> tuple[dict[str, list[float]], float]:
    content = "".join(source.chunks())
    tokenizer = train_tokenizer("chars", lambda: [content])
    tokens = tokenizer.encode(content)
    cut, size = int(0.9 * len(tokens)), tokenizer.vocab_size

    def run(config: OptimizerConfig, seed: int) -> float:
        torch.default_generator.manual_seed(seed)
        model = build(GPT, size)
        batches = WindowBatches(
            tokens[:cut], context_length=GPT.context_length, batch_size=16, seed=seed
        )
        chain = Optimizer(model, config, Schedule("wsd", 10), steps)
        try:
            for _ in train(model, batches, next_token_loss, chain, range(steps)):
                pass
        except NotFiniteError:
            return math.inf
        found = evaluate(model, tokens[cut:][:8000], context_length=GPT.context_length, n_bytes=1)
        return found.loss if math.isfinite(found.loss) else math.inf

    losses: dict[str, list[float]] = {}
    for kind, make in OPTIMIZERS.items():
        rates = GPT_RATES[kind]
        rate, _ = best(rates, lambda r, s, make=make: run(make(r), s), seeds[:2])
        losses[kind] = [run(make(rate), seed) for seed in seeds]
        shown = f"{rate:.3g}{_edge(rate, rates)}"
        rows.append(("a small GPT", kind, shown, f"{mean_interval(losses[kind], AMOUNT):.3f}"))
        data.setdefault("a small GPT", {})[kind] = {"rate": rate, "losses": losses[kind]}
    spread = _spread(tokens[:cut], size)
    data["gradient_spread"] = spread
    return losses, spread


def _spread(tokens, size: int) -> float:
    """How much larger the typical slope is in one weight matrix than in another, at the start."""
    torch.default_generator.manual_seed(0)
    model = build(GPT, size)
    torch.nn.init.normal_(model.get_submodule("head").get_parameter("weight"), std=0.02)
    batches = WindowBatches(tokens, context_length=GPT.context_length, batch_size=16, seed=0)
    next_token_loss(model, batches[0][0][1]).backward()
    sizes = [p.grad.square().mean().sqrt().item() for p in model.parameters() if p.grad is not None]
    return max(sizes) / min(size for size in sizes if size > 0)


def valley_conclusion(name: str, gap: Interval) -> str:
    """Say who ended lower in a valley.

    Args:
        name: which.
        gap: ln of SGD's height over Adam's, start by start.
    """
    ratio = math.exp(min(700.0, abs(gap.mean)))
    factor = f"{ratio:.0f}" if 10 <= ratio < 1e6 else f"{ratio:.2g}"
    if gap > 0:
        return f"In {name}, Adam ends lower than SGD, by a factor of about {factor}."
    if gap < 0:
        return f"In {name}, SGD ends lower than Adam, by a factor of about {factor}."
    return f"In {name}, these starts leave open which of the two ends lower."


def gpt_conclusion(plain: Interval, rolling: Interval, spread: float) -> str:
    """Say who learned more in a GPT.

    Args:
        plain: by how much SGD's loss is above Adam's, seed by seed.
        rolling: the same for SGD with momentum.
        spread: how much larger slopes are in one matrix than in another.
    """
    slopes = f"Its slopes differ {spread:,.0f}-fold in size from one matrix to another, and Adam "
    slopes += "gives each parameter a step of its own."
    if not plain > 0:
        if plain < 0:
            return f"In the GPT SGD is ahead of Adam by {-plain.mean:.3f} nats. {slopes}"
        return f"Undecided for the GPT: SGD and Adam differ by {plain:.3f} nats. {slopes}"
    told = f"In the GPT Adam is ahead of SGD by {plain.mean:.3f} nats, each at its best rate"
    if rolling > 0:
        return f"{told}, and of momentum by {rolling.mean:.3f}. {slopes}"
    if rolling < 0:
        return f"{told}, but behind momentum by {-rolling.mean:.3f}. {slopes}"
    return f"{told}; momentum closes the gap as far as these runs show ({rolling:.3f}). {slopes}"


def edges_conclusion(edges: Sequence[str]) -> list[str]:
    """Say for whom the best rate may lie beyond those that were tried."""
    if not edges:
        return []
    return [
        f"The best rate of {', '.join(edges)} lies at the edge of those tried: a better one may "
        "lie beyond, so that comparison is undecided."
    ]


def _edge(rate: float, rates: Sequence[float]) -> str:
    return " (the edge)" if rate in (rates[0], rates[-1]) else ""
