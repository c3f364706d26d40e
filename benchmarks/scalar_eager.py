"""Steps of training on plain numbers, micrograd's and ours; nothing here imports a compiler.

Python's cyclic collector looks through all that a program holds, so each contestant is timed in a
process with only what a person's own script would import.
"""

import gc
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import micrograd.engine
import numpy as np

import whence.scalar
from benchmarks.scalar_gpt import Grid, extended_micrograd, numbers_of, windows
from whence.models.small.gpt import SmallGPT, next_token_loss
from whence.scalar import Matrix, Value
from whence.scalar.matrix import values_of

RATE, DECAY = 0.01, 1e-4
Step = Callable[[], float]


def moons(n: int = 100, seed: int = 1337) -> tuple[np.ndarray, np.ndarray]:
    """Two half circles with noise, labels −1 and 1."""
    draw = np.random.default_rng(seed)
    angle = np.pi * draw.random(n)
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    x = np.where(y > 0, np.cos(angle), 1.0 - np.cos(angle))
    z = np.where(y > 0, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, z], axis=1) + 0.1 * draw.normal(size=(n, 2)), y


class Chain:
    """The demo's network with its neurons as micrograd writes them, whatever `Value` is."""

    def __init__(self, value: Any) -> None:
        random.seed(1337)
        sizes = [2, 16, 16, 1]
        self.layers = [
            [([value(random.uniform(-1, 1)) for _ in range(a)], value(0)) for _ in range(b)]
            for a, b in pairwise(sizes)
        ]

    def parameters(self) -> list[Any]:
        """Every weight and bias."""
        return [p for layer in self.layers for w, b in layer for p in (*w, b)]

    def __call__(self, x: Any) -> Any:
        """The score of one point."""
        for k, layer in enumerate(self.layers):
            acts = [sum((wi * xi for wi, xi in zip(w, x, strict=True)), b) for w, b in layer]
            x = [act.relu() for act in acts] if k < len(self.layers) - 1 else acts
        return x[0]


def demo_loss(model: Any, batch: Any) -> Any:
    """The demo's loss, max-margin plus L2, over the whole batch."""
    rows, labels = batch
    scores = [model(row) for row in rows]
    losses = [(1 + -y * score).relu() for y, score in zip(labels, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    return data_loss + DECAY * sum(p * p for p in model.parameters())


def sample_loss(model: Any, sample: Any) -> Any:
    """The same of one sample; the mean over samples is the demo's loss."""
    row, y = sample
    return (1 + -y * model(row)).relu() + DECAY * sum(p * p for p in model.parameters())


def eager_step(parameters: Sequence[Any], loss_of: Callable[[], Any], collector: bool) -> Step:
    """A step in plain Python, with Python's cyclic collector on or off."""
    (gc.enable if collector else gc.disable)()

    def step() -> float:
        loss = loss_of()
        for p in parameters:
            p.grad = 0
        loss.backward()
        for p in parameters:
            p.data -= RATE * p.grad
        return loss.data

    return step


def moons_step(code: str, collector: bool) -> Step:
    """A step of the moons demo on `micrograd`, on `Value`, or with whence's `neurons`."""
    X, y = moons()
    value = micrograd.engine.Value if code == "micrograd" else Value
    random.seed(1337)
    model = whence.scalar.MLP(2, [16, 16, 1]) if code == "neurons" else Chain(value)

    def loss() -> Any:
        inputs = [[value(x) for x in row] for row in X.tolist()]
        return demo_loss(model, (inputs, y.tolist()))

    return eager_step(model.parameters(), loss, collector)


def gpt_step(code: str, collector: bool) -> Step:
    """A step of the small GPT, one window: on `micrograd`, on `Value`, or on whence's `Matrix`."""
    sys.setrecursionlimit(1_000_000)  # micrograd's backward pass is recursive
    sample, *_ = windows(33)
    if code == "Matrix":
        model = SmallGPT(Matrix)
        parameters = values_of(model.parameters())
    else:
        value = extended_micrograd() if code == "micrograd" else Value
        model = SmallGPT(partial(Grid, value=value))
        parameters = numbers_of(model)
    return eager_step(parameters, lambda: next_token_loss(model, sample), collector)
