"""Handwritten digits by the same MLP on tensors."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from whence.cli.confusion import say_confusion
from whence.errors import WhenceError
from whence.models.small.mlp import MLP, initial
from whence.play.words import confusion
from whence.receipt import Receipt, Term, added_up
from whence.receipt.verdicts import EXACT, ROUNDED
from whence.train.loop import train
from whence.train.losses import cross_entropy


def images(
    hidden: tuple[int, ...], steps: int, rate: float, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train on scikit-learn's 1,797 digits of 8 × 8 pixels and report on a quarter held out."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise WhenceError(
            "The digits come with scikit-learn: install it with  pip install 'whence[images]'"
        ) from None
    digits: Any = load_digits()
    order = random.Random(seed).sample(range(len(digits.target)), k=len(digits.target))
    x = torch.tensor(digits.data[order] / 16.0, dtype=torch.float32)
    y = torch.tensor(digits.target[order])
    cut = len(order) // 4
    layers = [
        (
            torch.tensor(W).requires_grad_(),
            torch.tensor(b).requires_grad_(),
        )
        for W, b in initial([64, *hidden, 10], "relu", seed)
    ]
    model = MLP(layers, "relu")
    n = sum(p.numel() for p in model.parameters())
    say(f"{len(order) - cut} images to learn from, {cut} held out, 10 classes, {n:,} parameters")
    batches = _Batches(x[cut:], y[cut:], 64, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    losses: list[float] = []

    @torch.no_grad()
    def _moment(step: int) -> None:
        learned, held = (
            cross_entropy(model(x[rows]), y[rows]).item() for rows in (slice(cut, None), slice(cut))
        )
        say(f"after {step:>5} steps  loss {learned:.4f}  held out {held:.4f}")

    _moment(0)
    for step, loss in train(model, batches, _loss, optimizer, range(steps)):
        losses.append(loss.item())
        if (step + 1) % max(1, steps // 8) == 0 or step == steps - 1:
            _moment(step + 1)
    with torch.no_grad():
        p = model(x[:cut]).softmax(-1)
    said = p.argmax(-1)
    right = int((said == y[:cut]).sum())
    labels = [str(k) for k in range(10)]
    table = confusion(
        [labels[k] for k in y[:cut].tolist()], [labels[k] for k in said.tolist()], labels
    )
    say(f"\nheld out: {right} of {cut} right ({100 * right / cut:.1f} %)")
    say_confusion(table, labels, say)
    wrong = [i for i in range(cut) if said[i] != y[i]]
    wrong.sort(key=lambda i: -p[i].max().item())
    say("\nthe most confident mistakes" if wrong else "\nno mistakes")
    mistakes = []
    for i in wrong[:3]:
        receipt = _why(model, x[i], int(said[i]), int(y[i]))
        say(f"\n{said[i]} with probability {p[i].max():.3f}, in truth {y[i]}")
        for row in _picture(x[i]):
            say(f"  {row}")
        for row in receipt.lines(6):
            say(f"  {row}")
        mistakes.append(
            {
                "said": int(said[i]),
                "label": int(y[i]),
                "probability": p[i].max().item(),
                "receipt": receipt.to_dict(),
            }
        )
    return {
        "losses": losses,
        "held_out": cut,
        "right": right,
        "confusion": table,
        "mistakes": mistakes,
    }


def _loss(model: MLP, part: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return cross_entropy(model(part[0]), part[1])


class _Batches:
    """Rows in an order drawn anew each epoch, a pure function of seed and step."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, size: int, seed: int) -> None:
        self.x, self.y, self.size, self.seed = x, y, size, seed

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        per_epoch = len(self.y) // self.size
        epoch, k = divmod(step, per_epoch)
        order = random.Random(f"{self.seed}/{epoch}").sample(range(len(self.y)), k=len(self.y))
        rows = order[k * self.size : (k + 1) * self.size]
        return [(1.0, (self.x[rows], self.y[rows]))]


def _why(model: MLP, x: torch.Tensor, said: int, truth: int) -> Receipt:
    """Return what put one class's score above another's, unit by unit of the last hidden layer."""
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


def _picture(pixels: torch.Tensor) -> list[str]:
    shades = " ·:+*#%@"
    return [
        "".join(shades[min(7, int(7.99 * p))] * 2 for p in row)
        for row in pixels.reshape(8, 8).tolist()
    ]
