"""`whence net`: a small network, worked so that every number can be checked by hand."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from whence.cli.death import Outcome, death_of, is_better, row_of, tell, told_of
from whence.cli.document import strict
from whence.cli.engines import Parts, compare, compare_gpt
from whence.cli.terminal import Console
from whence.data.table import read_table
from whence.errors import WhenceError
from whence.models.small.mlp import MLP, Numbers, half_squared_error, initial
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


class Example(NamedTuple):
    """Samples, starting weights, rate and epochs of a network from the notes."""

    x: list[list[float]]
    y: list[list[float]]
    layers: Numbers
    learning_rate: float
    epochs: int


_HAND: Numbers = [([[2.0]], [[-3.0]]), ([[1.5]], [[0.5]])]
EXAMPLES = {
    "one": Example([[2.0]], [[4.0]], _HAND, 0.1, 1),
    "three": Example([[1.0], [2.0], [3.0]], [[2.0], [4.0], [6.0]], _HAND, 0.1, 5),
    "two-features": Example(
        [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]],
        [[2.0], [4.0], [6.0]],
        [([[2.0], [0.5]], [[0.0]]), ([[1.5]], [[0.0]])],
        0.05,
        10,
    ),
}


def net(
    example: tyro.conf.Positional[Literal["one", "three", "two-features"]] = "three",
    *,
    data: Path | None = None,
    hidden: tuple[int, ...] | None = None,
    activation: Literal["relu", "tanh", "sigmoid"] = "relu",
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch: bool = False,
    seed: int = 0,
    weights: Path | None = None,
    show: Literal["epochs", "every-step"] = "epochs",
    rerun: bool = True,
    two_engines: bool = False,
    model: Literal["mlp", "gpt"] = "mlp",
    json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Train a small network and show every number of it.

    Args:
        example: one sample, three samples, or three samples of two features, with the weights that
            the figures in the guide start from.
        data: a CSV to learn instead; its last column is the target.
        hidden: units of each hidden layer, with weights drawn from the seed; 4 for a CSV.
        activation: what each hidden unit applies.
        learning_rate: the length of a step (0.1, for two features 0.05).
        epochs: how often all samples are gone through.
        batch: update once an epoch, on the mean over all samples, instead of after each sample.
        seed: which starting weights, where they are drawn.
        weights: a JSON file with your own starting weights, such as
            `{"w1": [[2]], "b1": [-3], "w2": [[1.5]], "b2": [0.5]}`: of each layer a row of weights
            for each input, and the biases of its units.
        show: every-step prints each pre-activation, activation, gradient and update.
        rerun: where a unit died, train again with a smaller rate.
        two_engines: train on Values and on torch in float64 and print the largest difference.
        model: with --two-engines: this network, or a GPT of 4,192 parameters on text.
        json: print one JSON object.
    """
    if model == "gpt":
        if not two_engines:
            raise WhenceError(
                "The small GPT is there to compare engines: add --two-engines. "
                "To train a GPT on your text: whence train."
            )
        compare_gpt(learning_rate or 0.1, epochs or 30, seed, json)
        return
    given = _settings(example, data, hidden, activation, seed, weights)
    given = given._replace(
        learning_rate=given.learning_rate if learning_rate is None else learning_rate,
        epochs=given.epochs if epochs is None else epochs,
    )
    if given.epochs < 1 or not given.learning_rate > 0:
        raise WhenceError("Training needs one epoch or more and a learning rate above 0.")
    console = Console(soft_wrap=True)
    say: Callable[[str], None] = (lambda text: None) if json else console.print
    if two_engines:
        compare(given, activation, batch, json)
        return
    sizes = [len(given.x[0]), *(len(b[0]) for _, b in given.layers)]
    say(
        f"network {' → '.join(map(str, sizes))}, {activation}, rate {given.learning_rate:g}, "
        f"{len(given.x)} samples, loss of a sample (ŷ − y)²/2, "
        f"update {'once an epoch' if batch else 'after each sample'}"
    )
    outcome = _run(given, activation, batch, say, every_step=show == "every-step")
    for death in outcome.deaths:
        tell(death, given.learning_rate, say)
    for layer, unit in sorted(outcome.born_dead):
        say(
            f"\nunit {unit + 1} of hidden layer {layer + 1} is dead from its first weights: its "
            "pre-activation is 0 or less for every sample, so its gradients are 0. Draw others "
            "with --seed, or give your own with --weights."
        )
    record: dict[str, Any] = {"schema": 1, "learning_rate": given.learning_rate, **_plain(outcome)}
    if outcome.deaths and rerun:
        again, rate, epochs = _rescue(given, activation, batch)
        better = is_better(again, outcome)
        say(f"\n{told_of(again, rate, epochs, better)}")
        record["rerun"] = {"learning_rate": rate, "better": better, **_plain(again)}
    if json:
        print(strict(record))


MOST_WEIGHTS = 100_000  # some seconds an epoch


def _settings(
    example: str,
    data: Path | None,
    hidden: tuple[int, ...] | None,
    activation: str,
    seed: int,
    weights: Path | None,
) -> Example:
    given = EXAMPLES[example]
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


def _run(
    given: Example, activation: str, batch: bool, say: Callable[[str], None], *, every_step: bool
) -> Outcome:
    """Train on Values and keep what happened, printing it on the way."""
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

    outcome = Outcome()
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
        if every_step:
            say(f"\nepoch {epoch + 1}, {'all samples' if batch else f'sample {sample + 1}'}")
            lines = forward_lines(pairs, part[1], root, activation)
            lines += backward_lines(pairs, model.layers, root)
            lines += update_lines(model.layers, old, given.learning_rate)
            for line in lines:
                say(f"  {line}")
        after = snapshot(model.layers, everything, model.trace(everything))
        if activation == "relu":
            now = dead_units(after)
            for layer, unit in sorted(now - known):
                death = death_of(before, after, layer, unit, step, parts, latest, model)
                outcome.deaths.append(death)
            known = now
        old = [p.data for p in parameters]
        before = after
        if sample == len(parts) - 1:
            outcome.epochs.append(sum(losses) / len(losses))
            losses = []
            if every_step or _worth_a_line(epoch, given.epochs):
                say(f"epoch {epoch + 1:>4}  loss {outcome.epochs[-1]:.5f}")
    outcome.predictions = model(everything).numbers()
    outcome.parameters = {p.label or "": p.data for p in parameters}
    if not math.isfinite(outcome.epochs[-1]):
        say("the run diverged: its loss is no number any more; use a smaller --learning-rate")
    say(f"predictions {row_of(outcome.predictions)} for targets {row_of(given.y)}")
    for i in range(len(given.x[0])):
        if all(row[i] == 0.0 for row in given.x):
            say(f"feature {i + 1} is 0 in every sample, so its weights get no gradient and stay")
    if len(parameters) <= 12:
        say("  ".join(f"{name} = {x:.6g}" for name, x in outcome.parameters.items()))
    return outcome


def _rescue(given: Example, activation: str, batch: bool) -> tuple[Outcome, float, int]:
    """Train again, longer, at ever smaller rates until no unit dies and the loss stays finite.

    Where none is so, the one with the lowest loss is returned.
    """
    tried: list[tuple[Outcome, float]] = []
    epochs = max(given.epochs, 500)
    for factor in (0.9, 0.5, 0.2, 0.1, 0.03, 0.01):
        rate = given.learning_rate * factor
        again = given._replace(learning_rate=rate, epochs=epochs)
        outcome = _run(again, activation, batch, lambda text: None, every_step=False)
        tried.append((outcome, rate))
        if not outcome.deaths and math.isfinite(outcome.epochs[-1]):
            return outcome, rate, epochs
    return *min(tried, key=lambda each: each[0].last), epochs


def _worth_a_line(epoch: int, epochs: int) -> bool:
    shown = max(1, epochs // 10)
    return epochs <= 20 or epoch < 5 or (epoch + 1) % shown == 0 or epoch == epochs - 1


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "epochs": outcome.epochs,
        "predictions": outcome.predictions,
        "parameters": outcome.parameters,
        "dead_from_the_start": [
            {"layer": layer + 1, "unit": unit + 1} for layer, unit in sorted(outcome.born_dead)
        ],
        "deaths": [
            {
                "layer": d.layer,
                "unit": d.unit,
                "epoch": d.epoch,
                "sample": d.sample,
                "receipt": d.receipt.to_dict(),
                "gradient": d.gradient.to_dict(),
            }
            for d in outcome.deaths
        ],
    }
