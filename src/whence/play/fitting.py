"""A line fitted by gradient descent, step by step, until nothing changes."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from whence.data.table import Table
from whence.errors import WhenceError
from whence.models.small.axes import Turned
from whence.models.small.line import Fit, Line, Scale, squared_error
from whence.scalar import SGD, Matrix
from whence.scalar.matrix import values_of
from whence.train.loop import train

LARGE = 1000  # numbers in a table from which on the graph is recorded and replayed


class Whole:
    """All rows as one batch, at every step."""

    def __init__(self, x: Any, y: Any) -> None:
        self.part = (1.0, (x, y))

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        """Give the only part."""
        return [self.part]


class Descent(NamedTuple):
    """One step of the fit: the loss before it, gradients, what it moved, whether it is still."""

    step: int
    loss: float
    fit: Fit
    gradients: list[float]
    updates: list[float]
    still: bool


def descend(table: Table, scaling: Scale | Turned, rate: float, steps: int) -> Iterator[Descent]:
    """Train the line, and stop once it no longer moves.

    Each moment has the fit before its step; the last one comes again with the fit after it.

    Args:
        table: the rows.
        scaling: what the features are inside.
        rate: the length of a step.
        steps: at most so many.

    Raises:
        WhenceError: the fit diverged.

    Example:
        >>> from whence.data.table import table_of
        >>> from whence.models.small.line import COFFEE_SHOP
        >>> table = table_of(*COFFEE_SHOP)
        >>> *_, last = descend(table, Scale.of(table.rows), 0.1, 1000)
        >>> last.still
        True
    """
    batches, loss_fn = _batches(table, scaling)
    model = Line(Matrix([[0.0]]), Matrix([[0.0] for _ in scaling.inside(table.rows[:1])[0]]))
    parameters = values_of(model.parameters())
    optimizer = SGD(parameters, rate)
    moment: Descent | None = None
    old = [p.data for p in parameters]
    size = max(1e-300, max(abs(t) for t in table.targets))
    for step, loss in train(model, batches, loss_fn, optimizer, range(steps)):
        start, *change = old
        fit = scaling.fit(start, change)
        updates = [p.data - was for p, was in zip(parameters, old, strict=True)]
        still = max(map(abs, updates)) <= 1e-13 * size
        moment = Descent(step, loss.data, fit, [p.grad for p in parameters], updates, still)
        if not math.isfinite(loss.data):
            raise WhenceError(
                f"The fit diverged: at step {step} the loss became NaN or infinite. "
                f"Use a rate below {rate:g}, or leave the features to be scaled."
            )
        yield moment
        old = [p.data for p in parameters]
        if still:
            break
    assert moment is not None
    start, *change = old
    yield moment._replace(fit=scaling.fit(start, change))


def _batches(table: Table, scaling: Scale | Turned) -> tuple[Whole, Any]:
    """Return the rows as a batch and the loss over them, replayed where there are many."""
    rows = scaling.inside(table.rows)
    if len(rows) * len(table.features) < LARGE:
        return Whole(Matrix(rows), Matrix([[t] for t in table.targets])), squared_error
    from whence.scalar.compiled.jit import jit

    def of_one(model: Line, sample: Any) -> Any:
        x, y = sample
        return squared_error(model, (Matrix([x]), Matrix([[y]])))

    return Whole(np.array(rows), np.array(table.targets)), jit(of_one, each=True)
