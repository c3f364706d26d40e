"""Handwritten digits learnt by an MLP on tensors, with a quarter held out."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.models.small.mlp import MLP, initial
from whence.play.texts.words import confusion
from whence.receipt import Receipt, Term, added_up
from whence.receipt.verdicts import EXACT, ROUNDED
from whence.train.loop import train
from whence.train.losses import cross_entropy

BATCH, TIMES = 64, 8  # images of a step; how often it is measured on the way


class Measured(NamedTuple):
    """The mean cross-entropy after some steps, in nats: of what it learns from, and held out."""

    step: int
    learned: float
    held_out: float


class Digits:
    """scikit-learn's 1,797 digits of 8 × 8 pixels, a quarter of them held out.

    Args:
        seed: which quarter, and the order of the others: a pure function of seed and step.

    Attributes:
        x: [N, 64] float32, from 0 to 1; the first `cut` are held out.
        y: [N] int64.

    Raises:
        WhenceError: scikit-learn isn't installed.
    """

    def __init__(self, seed: int = 0):
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise WhenceError(
                "The digits come with scikit-learn: install it with  pip install 'whence[images]'"
            ) from None
        digits: Any = load_digits()
        order = random.Random(seed).sample(range(len(digits.target)), k=len(digits.target))
        self.x = torch.tensor(digits.data[order] / 16.0, dtype=torch.float32)
        self.y = torch.tensor(digits.target[order])
        self.cut, self.seed = len(order) // 4, seed

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        """Give the rows of a step, in a new order each epoch."""
        x, y = self.x[self.cut :], self.y[self.cut :]
        epoch, k = divmod(step, len(y) // BATCH)
        order = random.Random(f"{self.seed}/{epoch}").sample(range(len(y)), k=len(y))
        rows = order[k * BATCH : (k + 1) * BATCH]
        return [(1.0, (x[rows], y[rows]))]


class Mistake(NamedTuple):
    """A held-out image in the wrong class."""

    pixels: Tensor
    label: int
    said: int
    probability: float
    receipt: Receipt


@dataclass(frozen=True)
class Recognised:
    """What the model learnt.

    Attributes:
        losses: of each step's batch.
        right: how many of the held-out images it names rightly.
        table: how often each true digit (row) was taken for each (column).
        mistakes: the three most confident, with what put the wrong class above the true one.
        n_mistakes: how many there are.
    """

    losses: list[float]
    right: int
    table: list[list[int]]
    mistakes: list[Mistake]
    n_mistakes: int


def make_model(hidden: tuple[int, ...], seed: int) -> MLP:
    """Make an MLP from 64 pixels to 10 scores."""
    layers = [
        (torch.tensor(W).requires_grad_(), torch.tensor(b).requires_grad_())
        for W, b in initial([64, *hidden, 10], "relu", seed)
    ]
    return MLP(layers, "relu")


def learn_digits(
    model: MLP,
    data: Digits,
    steps: int = 1500,
    rate: float = 0.003,
    tell: Callable[[Measured], None] = lambda measured: None,
) -> Recognised:
    """Train by Adam, then ask the held-out images.

    Args:
        model: trained in place.
        data: the images.
        steps: how many.
        rate: their length.
        tell: is given each measurement as it is made.
    """
    x, y, cut = data.x, data.y, data.cut

    @torch.no_grad()
    def measure(step: int) -> None:
        learned = cross_entropy(model(x[cut:]), y[cut:]).item()
        tell(Measured(step, learned, cross_entropy(model(x[:cut]), y[:cut]).item()))

    measure(0)
    losses: list[float] = []
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for step, loss in train(model, data, _loss, optimizer, range(steps)):
        losses.append(loss.item())
        if (step + 1) % max(1, steps // TIMES) == 0 or step == steps - 1:
            measure(step + 1)
    with torch.no_grad():
        p = model(x[:cut]).softmax(-1)
    said, labels = p.argmax(-1), [str(k) for k in range(10)]
    truth, named = ([labels[k] for k in of.tolist()] for of in (y[:cut], said))
    wrong = [i for i in range(cut) if said[i] != y[i]]
    wrong.sort(key=lambda i: -p[i].max().item())
    mistakes = [
        Mistake(
            x[i], int(y[i]), int(said[i]), p[i].max().item(),
            _why(model, x[i], int(said[i]), int(y[i])),
        )
        for i in wrong[:3]
    ]  # fmt: skip
    return Recognised(
        losses, cut - len(wrong), confusion(truth, named, labels), mistakes, len(wrong)
    )


def _loss(model: MLP, part: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model(part[0]), part[1])


def _why(model: MLP, x: Tensor, said: int, truth: int) -> Receipt:
    """What put one class's score above another's, unit by unit of the last hidden layer."""
    W, b = (p.detach().double() for p in model.layers[-1])
    with torch.no_grad():
        pairs = model.trace(x[None])
    h = (pairs[-2][1] if len(pairs) > 1 else x[None])[0].double()
    name = "h" if len(pairs) > 1 else "pixel "
    gaps = (W[:, said] - W[:, truth]).tolist()
    terms = [Term("bias", (b[0, said] - b[0, truth]).item())]
    terms += [
        Term(f"{name}{j + 1} · (weight to {said} − weight to {truth})", u * g, f"{u:.4g} · {g:.4g}")
        for j, (u, g) in enumerate(zip(h.tolist(), gaps, strict=True))
        if u
    ]
    value = (pairs[-1][1][0, said] - pairs[-1][1][0, truth]).item()
    made = added_up(
        f"score {said} − score {truth}",
        "by how much the wrong class won",
        "Σ activation · (weight − weight)",
        "",
        value,
        terms,
    )
    bound = made.size * len(terms) * 2.0**-24  # the scores are float32
    return replace(made, bound=bound, verdict=ROUNDED if made.residual else EXACT)
