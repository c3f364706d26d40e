"""A small network trained step by step, with every number of each step kept for whoever looks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from whence.data.table import read_table
from whence.errors import WhenceError
from whence.models.small.mlp import MLP, Numbers, half_squared_error, initial
from whence.play.deaths import Outcome, death_of
from whence.play.engines import Parts
from whence.play.setup import PRESETS, WEIGHTS, samples
from whence.play.weights import read_layers
from whence.scalar import SGD, Matrix
from whence.scalar.dead import dead_units, snapshot
from whence.scalar.hand import (
    backward_lines,
    forward_lines,
    name_parameters,
    name_step,
    update_lines,
)
from whence.scalar.matrix import values_of
from whence.train.loop import train

MOST_WEIGHTS = 100_000  # some seconds an epoch
EPOCHS = {"one": 1, "three": 5, "two-features": 10}  # of the examples worked by hand


class Example(NamedTuple):
    """Samples, starting weights, rate and epochs of a network."""

    x: list[list[float]]
    y: list[list[float]]
    layers: Numbers
    learning_rate: float
    epochs: int


def example(name: str) -> Example:
    """Return an example worked by hand: samples and weights are those that the studio plays with.

    Example:
        >>> example("one")
        Example(x=[[2.0]], y=[[4.0]], layers=[([[2.0]], [[-3.0]]), ([[1.5]], [[0.5]])], \
learning_rate=0.1, epochs=1)
    """
    preset = PRESETS[name]
    made = samples(preset)
    y = [[target] for target in made.y]
    return Example(made.x, y, WEIGHTS[name], preset.rate, EPOCHS[name])


def settings(
    name: str,
    data: Path | None,
    hidden: tuple[int, ...] | None,
    activation: str,
    seed: int,
    weights: Path | None,
) -> Example:
    """Return what is trained: an example or a table, with its own, given or drawn weights.

    Raises:
        WhenceError: where a file can't be read, or the settings don't go together.
    """
    given = example(name)
    if data is not None:
        table = read_table(data)
        given = Example(table.rows, [[y] for y in table.targets], [], 0.01, 20)
        hidden = (4,) if hidden is None and weights is None else hidden
    if weights is not None:
        if hidden is not None:
            raise WhenceError("--weights says how many units there are: leave out --hidden.")
        return given._replace(layers=read_layers(weights, len(given.x[0]), len(given.y[0])))
    if hidden is None:
        return given
    sizes = [len(given.x[0]), *hidden, len(given.y[0])]
    n_weights = sum(a * b for a, b in pairwise(sizes))
    if n_weights > MOST_WEIGHTS:
        raise WhenceError(
            f"--hidden makes {n_weights:,} weights, and here each is worked out and shown by "
            f"itself: stay below {MOST_WEIGHTS:,}, or train a large network with 'whence train'."
        )
    return given._replace(layers=initial(sizes, activation, seed))


@dataclass
class Worked:
    """One step that has been done.

    Attributes:
        epoch: from 0.
        sample: the place in the epoch, from 0.
        mean: the epoch's mean loss, where the step ends an epoch.
        lines: each pre-activation, activation, gradient and update, where they were asked for.
    """

    epoch: int
    sample: int
    mean: float | None
    lines: list[str]


def work(
    given: Example, activation: str, batch: bool, outcome: Outcome, every_step: bool = False
) -> Iterator[Worked]:
    """Train on `Value`s, and fill in on the way what came of it.

    Args:
        given: samples, starting weights, rate and epochs.
        activation: of the hidden units.
        batch: update once an epoch, on the mean over all samples.
        outcome: filled in; predictions and parameters at the end.
        every_step: give the lines of every step.

    Example:
        >>> outcome = Outcome()
        >>> steps = list(work(example("three"), "relu", False, outcome))
        >>> len(steps), [round(x, 4) for x in outcome.epochs]
        (15, [2.613, 6.3838, 3.9888, 2.7419, 2.0981])
    """
    model = MLP([(Matrix(W), Matrix(b)) for W, b in given.layers], activation)
    name_parameters(model.layers)
    parts = Parts(given.x, given.y, Matrix, batch)
    everything = Matrix(given.x)
    parameters = values_of(model.parameters())
    latest: list[Any] = []

    def loss_fn(model: MLP, part: tuple[Matrix, Matrix]) -> Any:
        pairs = model.trace(part[0])
        loss = half_squared_error(lambda _: pairs[-1][1], part)
        name_step(part[0], pairs, loss)
        latest[:] = [pairs, part, loss]
        return loss

    losses: list[float] = []
    old = [p.data for p in parameters]
    before = snapshot(model.layers, everything, model.trace(everything))
    known = dead_units(before) if activation == "relu" else set()
    outcome.born_dead = known
    steps = range(given.epochs * len(parts))
    for step, loss in train(model, parts, loss_fn, SGD(parameters, given.learning_rate), steps):
        epoch, sample = divmod(step, len(parts))
        losses.append(loss.data)
        pairs, part, root = latest
        lines: list[str] = []
        if every_step:
            lines = forward_lines(pairs, part[1], root, activation)
            lines += backward_lines(pairs, model.layers, root)
            lines += update_lines(model.layers, old, given.learning_rate)
        after = snapshot(model.layers, everything, model.trace(everything))
        if activation == "relu":
            now = dead_units(after)
            for layer, unit in sorted(now - known):
                death = death_of(before, after, layer, unit, step, parts, latest, model)
                outcome.deaths.append(death)
            known = now
        old = [p.data for p in parameters]
        before = after
        mean = None
        if sample == len(parts) - 1:
            mean = sum(losses) / len(losses)
            outcome.epochs.append(mean)
            losses = []
        yield Worked(epoch, sample, mean, lines)
    outcome.predictions = model(everything).numbers()
    outcome.parameters = {p.label or "": p.data for p in parameters}


def rescue(given: Example, activation: str, batch: bool) -> tuple[Outcome, float, int]:
    """Train again, longer, at ever smaller rates until no unit dies and the loss stays finite.

    Where none is so, the one with the lowest loss is returned.
    """
    tried: list[tuple[Outcome, float]] = []
    epochs = max(given.epochs, 500)
    for factor in (0.9, 0.5, 0.2, 0.1, 0.03, 0.01):
        rate = given.learning_rate * factor
        again = given._replace(learning_rate=rate, epochs=epochs)
        outcome = Outcome()
        for _ in work(again, activation, batch, outcome):
            pass
        tried.append((outcome, rate))
        if not outcome.deaths and math.isfinite(outcome.epochs[-1]):
            return outcome, rate, epochs
    return *min(tried, key=lambda each: each[0].last), epochs
