"""The one loop that trains everything, from a line of two parameters to a GPT."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol


class Batches(Protocol):
    """What the loop draws from: `batches[step]` is a pure function of the step.

    Args:
        step: which batch, from 0.

    Example:
        >>> batches: Batches = {0: [(1.0, "the whole batch")]}
        >>> batches[0]
        [(1.0, 'the whole batch')]
    """

    def __getitem__(self, step: int, /) -> Iterable[tuple[float, Any]]:
        """Give the parts of one batch, each with its share of the batch's tokens."""
        ...


class Optimizer(Protocol):
    """What the loop asks of an optimizer, on `Value`s and on tensors alike.

    Example:
        >>> from whence.scalar import SGD, Value
        >>> w = Value(3.0)
        >>> optimizer: Optimizer = SGD([w], learning_rate=0.1)
        >>> (w * w).backward()
        >>> optimizer.step()
        >>> round(w.data, 6)
        2.4
    """

    def zero_grad(self) -> None:
        """Forget the gradients of the step before."""
        ...

    def step(self) -> None:
        """Move each parameter against its gradient."""
        ...


class Step(NamedTuple):
    """One finished training step: its number, from 0, and the loss before its update.

    Example:
        >>> Step(0, 4.2).loss
        4.2
    """

    step: int
    loss: Any


def train(
    model: Any, batches: Batches, loss_fn: Any, optimizer: Optimizer, steps: Iterable[int]
) -> Iterator[Step]:
    """Predict, measure the error, backpropagate, step downhill, repeat.

    The loop knows nothing of tensors: a model of `Value`s and a GPT run the same lines. It is a
    generator, so that printing, evaluation, checkpoints and early stopping are the caller's
    `for` body and no callbacks are needed.

    Args:
        model: anything that `loss_fn` can call.
        batches: `batches[step]` gives the (weight, part) pairs of one batch. The weights of a
            batch add up to 1, so a batch cut in parts has the gradient of the whole.
        loss_fn: `(model, part) -> loss`, a scalar with `.backward()` and `.detach()`.
        optimizer: has `.zero_grad()` and `.step()`; its step may refuse by raising.
        steps: the step numbers to run, such as `range(100)`.

    Yields:
        `Step(step, loss)` after each update. The loss is that of the parameters before it.

    Example:
        >>> import torch
        >>> line = torch.nn.Linear(1, 1)
        >>> x = torch.linspace(0, 1, 8).unsqueeze(1)
        >>> everything = {step: [(1.0, (x, 3 * x + 1))] for step in range(200)}
        >>> def squared_error(model, part):
        ...     return (model(part[0]) - part[1]).square().mean()
        >>> sgd = torch.optim.SGD(line.parameters(), lr=0.5)
        >>> for step, loss in train(line, everything, squared_error, sgd, range(200)):
        ...     pass
        >>> bool(loss < 1e-4)
        True
    """
    for step in steps:
        optimizer.zero_grad()
        total = 0.0
        for weight, part in batches[step]:
            loss = weight * loss_fn(model, part)
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        yield Step(step, total)
