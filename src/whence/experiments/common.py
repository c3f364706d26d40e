"""What experiments share: a report, intervals over seeds, and a short way to the one loop."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from whence.train.loop import train
from whence.train.losses import cross_entropy
from whence.train.optimizer import Optimizer
from whence.train.optimizers import AdamWConfig, OptimizerConfig
from whence.train.schedules import Schedule

# 97.5 % points of Student's t for 1, 2, 3 … degrees of freedom; 1.96 beyond.
STUDENT = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)
STUDENT_BEYOND = ((20, 2.145), (30, 2.086), (60, 2.042))


@dataclass(frozen=True)
class Drawing:
    """The part of a report that can be drawn: curves by name.

    Attributes:
        title: what is seen.
        curves: points (x, y) of each.
        x: what the first number of a point is.
        y: what the second is.
    """

    title: str
    curves: dict[str, list[Sequence[float]]]
    x: str
    y: str


@dataclass(frozen=True)
class Report:
    """What an experiment found.

    Attributes:
        question: what was asked.
        setting: what was trained, and on what.
        columns: heads of the table.
        rows: its rows.
        answer: what the numbers say, in sentences.
        data: the numbers behind the table.
        drawing: what of them can be drawn.
    """

    question: str
    setting: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    answer: str
    data: dict[str, Any] = field(default_factory=dict)
    drawing: Drawing | None = None


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __gt__(self, number: float) -> bool:
        """Whether all of the interval lies above a number; of a single run nothing is known."""
        return self.low > number

    def __lt__(self, number: float) -> bool:
        """Whether all of the interval lies below a number."""
        return self.high < number

    def __format__(self, spec: str) -> str:
        """`0.50 [0.41, 0.59]` with the format of a number."""
        spec = spec or ".3f"
        if math.isinf(self.high):  # a single run has no interval
            return f"{self.mean:{spec}}"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def student(degrees: int) -> float:
    """The 97.5 % point of Student's t.

    Example:
        >>> student(2), student(25), student(1000)
        (4.303, 2.086, 2.0)
    """
    if degrees <= len(STUDENT):
        return STUDENT[degrees - 1]
    return next((point for last, point in STUDENT_BEYOND if degrees <= last), 2.0)


Bounds = tuple[float, float]
SHARE: Bounds = (0.0, 1.0)
COSINE: Bounds = (-1.0, 1.0)
AMOUNT: Bounds = (0.0, math.inf)  # losses, steps
DIFFERENCE: Bounds = (-math.inf, math.inf)


def mean_interval(values: Sequence[float], within: Bounds) -> Interval:
    """The mean of some runs and its interval: mean ± t·s/√n, clipped to the possible range.

    Args:
        values: one of each run.
        within: the least and the largest value there can be, such as `SHARE`.

    Example:
        >>> f"{mean_interval([1.0, 2.0, 3.0], DIFFERENCE):.2f}"
        '2.00 [-0.48, 4.48]'
        >>> f"{mean_interval([0.9, 1.0], SHARE):.2f}"
        '0.95 [0.31, 1.00]'

    Source:
        Student, "The Probable Error of a Mean", 1908.
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, -math.inf, math.inf)  # which settles nothing
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = student(n - 1) * deviation / math.sqrt(n)
    return Interval(mean, max(mean - half, within[0]), min(mean + half, within[1]))


def apart(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The mean of a − b over runs of the same seeds, with its interval.

    Example:
        >>> f"{apart([2.0, 3.0, 4.0], [1.0, 2.1, 2.9]):.2f}"
        '1.00 [0.75, 1.25]'
    """
    return mean_interval([x - y for x, y in zip(a, b, strict=True)], DIFFERENCE)


def share_interval(hits: int, n: int) -> Interval:
    """A share and its Wilson interval.

    Example:
        >>> f"{share_interval(44, 60):.2f}"
        '0.73 [0.61, 0.83]'

    Source:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    z, p = 1.96, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))  # up to rounding


@dataclass(frozen=True)
class Example:
    """A batch made for an experiment: inputs and what should be said of them."""

    inputs: Tensor
    targets: Tensor


class Made:
    """Batches that a function makes: `batches[step]` is one part, `make(generator)`.

    Args:
        make: draws a batch from a generator, which is a function of (seed, step).
        seed: of the draws.

    Example:
        >>> batches = Made(lambda g: torch.rand(1, generator=g), seed=0)
        >>> bool(batches[3][0][1] == batches[3][0][1])
        True
    """

    def __init__(self, make: Callable[[torch.Generator], Any], seed: int):
        self.make, self.seed = make, seed

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        """Make the batch of a step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return [(1.0, self.make(generator))]


def fits(model: nn.Module, example: Example) -> Tensor:
    """Cross-entropy of a model's logits; targets of −100 aren't counted."""
    return cross_entropy(model(example.inputs), example.targets)


def learn(
    model: nn.Module,
    make: Callable[[torch.Generator], Any],
    steps: int,
    *,
    seed: int = 0,
    optimizer: OptimizerConfig | None = None,
    loss: Callable[[nn.Module, Any], Tensor] = fits,
) -> Iterator[tuple[int, float]]:
    """Train a small model by the one loop on batches that are made as they are needed.

    Args:
        model: its parameters are moved.
        make: draws a batch.
        steps: how many updates; the rate falls in a straight line over the last half.
        seed: of the batches.
        optimizer: none: AdamW at 0.003.
        loss: of the model on a batch.

    Yields:
        (step, loss) after each update.
    """
    config = optimizer or AdamWConfig(learning_rate=3e-3)
    chain = Optimizer(model, config, Schedule("wsd", warmup=10), steps)
    for step, value in train(model, Made(make, seed), loss, chain, range(steps)):
        yield step, float(value)


def accuracy(model: nn.Module, example: Example) -> float:
    """The share of counted targets that get the largest logit."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        right = model(example.inputs).argmax(-1) == example.targets
    model.train(was_training)
    return (right.sum() / (example.targets >= 0).sum()).item()
