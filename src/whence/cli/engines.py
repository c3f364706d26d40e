"""The same model on two engines, and how far apart they end."""

import json as json_text
from collections.abc import Iterator
from typing import Any

from whence.models.mlp import MLP, half_squared_error
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


def compare(given: Any, activation: str, batch: bool, json: bool) -> None:
    """Train the same definition on both engines and print how far they are apart."""
    import torch

    def tensor(rows: list[list[float]]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.float64)

    scalar = MLP([(Matrix(W), Matrix(b)) for W, b in given.layers], activation)
    tensors = MLP(
        [(tensor(W).requires_grad_(), tensor(b).requires_grad_()) for W, b in given.layers],
        activation,
    )
    ours, theirs = values_of(scalar.parameters()), tensors.parameters()
    parts = [Parts(given.x, given.y, make, batch) for make in (Matrix, tensor)]
    steps = range(given.epochs * len(parts[0]))
    rate = given.learning_rate
    runs: list[Iterator[Any]] = [
        train(scalar, parts[0], half_squared_error, SGD(ours, rate), steps),
        train(tensors, parts[1], half_squared_error, torch.optim.SGD(theirs, rate), steps),
    ]
    worst = {"loss": 0.0, "gradient": 0.0, "parameter": 0.0}
    for (_, a), (_, b) in zip(*runs, strict=True):
        grads = torch.cat([p.grad.flatten() for p in theirs]).tolist()
        data = torch.cat([p.detach().flatten() for p in theirs]).tolist()
        worst["loss"] = max(worst["loss"], abs(a.data - b.item()))
        pairs = zip(ours, grads, data, strict=True)
        for p, g, x in pairs:
            worst["gradient"] = max(worst["gradient"], abs(p.grad - g))
            worst["parameter"] = max(worst["parameter"], abs(p.data - x))
    if json:
        print(json_text.dumps({"schema": 1, "steps": len(steps), "largest_difference": worst}))
        return
    print(f"{len(steps)} steps of {len(ours)} parameters on Values and on torch in float64")
    for what, difference in worst.items():
        print(f"  largest difference of a {what:<10} {difference:.3g}")
