"""The same line trained at several learning rates."""

import math
import warnings
from collections.abc import Callable

from whence.data.table import Table
from whence.models.small.line import Line, Scale, squared_error
from whence.play.fitting import Whole
from whence.play.rates import verdict
from whence.scalar import SGD, Matrix, NotFiniteWarning, Value
from whence.train.loop import train


def one_step(rate: float) -> float:
    """Return where one step takes a parameter of 0.5 whose gradient is −0.2."""
    p = Value(0.5)
    p.grad = -0.2
    SGD([p], rate).step()
    return p.data


def _model(table: Table) -> tuple[Line, Whole]:
    scale = Scale.of(table.rows)
    x, y = Matrix(scale.inside(table.rows)), Matrix([[t] for t in table.targets])
    model = Line(Matrix([[0.0]]), Matrix([[0.0] for _ in table.features]))
    return model, Whole(x, y)


def losses_at(table: Table, rate: float, steps: int) -> list[float]:
    """Return the losses of a line trained at a rate, up to the first that isn't finite."""
    model, batches = _model(table)
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFiniteWarning)
        optimizer = SGD(model.parameters(), rate)
        for _, loss in train(model, batches, squared_error, optimizer, range(steps)):
            losses.append(loss.data)
            if not math.isfinite(loss.data):
                break
    return losses


def judged(table: Table, rate: float, losses: list[float], best: float) -> str:
    """What losses at a rate say of it, as `verdict` does, and why they stay where they do.

    A loss that doesn't move can mean a rate at which each step jumps over the lowest point and
    back, or one that is too small. At half the rate the first would fall, the second would not.
    """
    what = verdict(losses, best)
    if what == "swings" and losses_at(table, rate / 2, len(losses))[-1] >= losses[-1]:
        return "crawls"
    return what


def stepper(table: Table) -> Callable[[float], float]:
    """Return a function that trains a line by one step of a rate, and gives the loss before."""
    model, batches = _model(table)
    optimizer = SGD(model.parameters(), 0.0)

    def step(rate: float) -> float:
        optimizer.learning_rate = rate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotFiniteWarning)
            ((_, loss),) = train(model, batches, squared_error, optimizer, [0])
        return loss.data

    return step
