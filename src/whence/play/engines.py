"""The same small model on two engines, and how far apart they end."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from whence.models.small.gpt import SmallGPT, next_token_loss
from whence.models.small.mlp import MLP, Numbers, half_squared_error
from whence.scalar import SGD, Matrix
from whence.scalar.matrix import values_of
from whence.train.loop import train


class Parts:
    """Batches of one sample each, in turn, or of all samples at once."""

    def __init__(self, x: list[list[float]], y: list[list[float]], make: Any, whole: bool) -> None:
        rows = [(x, y)] if whole else [([a], [b]) for a, b in zip(x, y, strict=True)]
        self.parts = [(make(a), make(b)) for a, b in rows]

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        """Give the step's only part."""
        return [(1.0, self.parts[step % len(self.parts)])]

    def __len__(self) -> int:
        return len(self.parts)


class Windows:
    """A stretch of the Python language reference for each step: 26 letters and the space."""

    def __init__(self, window: int) -> None:
        from pydoc_data.topics import topics

        letters = "".join(c if "a" <= c <= "z" else " " for c in topics["yield"].lower())
        self.ids = [max(0, ord(c) - 96) for c in " ".join(letters.split())]
        self.window = window

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        """Give the step's only window."""
        start = step * self.window % (len(self.ids) - self.window - 1)
        return [(1.0, self.ids[start : start + self.window + 1])]


class Apart(NamedTuple):
    """How far two engines came apart.

    Attributes:
        parameters: how many there are.
        losses: of each step, on `Value`s.
        worst: the largest difference of a loss, a gradient and a parameter.
    """

    parameters: int
    losses: list[float]
    worst: dict[str, float]


def mlp_on_both(
    x: list[list[float]],
    y: list[list[float]],
    layers: Numbers,
    activation: str,
    *,
    batch: bool,
    rate: float,
    epochs: int,
) -> Apart:
    """Train the same MLP on `Value`s and on torch in float64.

    Example:
        >>> found = mlp_on_both([[2.0]], [[4.0]], [([[1.0]], [[0.0]])], "relu", batch=False,
        ...                     rate=0.1, epochs=3)
        >>> found.worst["parameter"] < 1e-15
        True
    """
    models = [MLP([(make(W), make(b)) for W, b in layers], activation) for make in (Matrix, tensor)]
    numbers = (Matrix, partial(tensor, learns=False))
    parts = [Parts(x, y, make, batch) for make in numbers]
    return _apart(models, parts, half_squared_error, rate, epochs * len(parts[0]))


def gpt_on_both(rate: float, steps: int, seed: int) -> Apart:
    """Train the same small GPT on `Value`s and on torch in float64."""
    models = [SmallGPT(make, seed=seed) for make in (Matrix, tensor)]
    return _apart(models, [Windows(16)] * 2, next_token_loss, rate, steps)


def tensor(rows: list[list[float]], learns: bool = True) -> Any:
    """Make a tensor in float64."""
    import torch

    return torch.tensor(rows, dtype=torch.float64, requires_grad=learns)


def _apart(models: Any, batches: Any, loss_fn: Any, rate: float, steps: int) -> Apart:
    import torch

    ours, theirs = values_of(models[0].parameters()), models[1].parameters()
    optimizers = [SGD(ours, rate), torch.optim.SGD(theirs, rate)]
    runs: list[Iterator[Any]] = [
        train(model, batch, loss_fn, optimizer, range(steps))
        for model, batch, optimizer in zip(models, batches, optimizers, strict=True)
    ]
    worst = {"loss": 0.0, "gradient": 0.0, "parameter": 0.0}
    losses = []
    for (_, a), (_, b) in zip(*runs, strict=True):
        grads = torch.cat([p.grad.flatten() for p in theirs]).tolist()
        data = torch.cat([p.detach().flatten() for p in theirs]).tolist()
        losses.append(a.data)
        worst["loss"] = max(worst["loss"], abs(a.data - b.item()))
        pairs = zip(ours, grads, data, strict=True)
        for p, g, x in pairs:
            worst["gradient"] = max(worst["gradient"], abs(p.grad - g))
            worst["parameter"] = max(worst["parameter"], abs(p.data - x))
    return Apart(len(ours), losses, worst)
