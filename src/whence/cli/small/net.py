"""`whence net`: a small network, worked so that every number can be checked by hand."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from whence.cli.document import strict
from whence.cli.small.death import tell, told_of
from whence.cli.small.engines import show_apart
from whence.cli.terminal import Console
from whence.cli.words import RateOrNone
from whence.errors import WhenceError
from whence.play.deaths import Outcome, is_better, row_of
from whence.play.engines import gpt_on_both, mlp_on_both
from whence.play.worked import Example, rescue, settings, work


def net(
    example: tyro.conf.Positional[Literal["one", "three", "two-features"]] = "three",
    *,
    data: Path | None = None,
    hidden: tuple[int, ...] | None = None,
    activation: Literal["relu", "tanh", "sigmoid"] = "relu",
    learning_rate: RateOrNone = None,
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
        epochs: the number of passes through all samples.
        batch: update once an epoch, on the mean over all samples, instead of after each sample.
        seed: of the starting weights, if they are drawn.
        weights: a JSON file with your own starting weights, such as
            `{"w1": [[2]], "b1": [-3], "w2": [[1.5]], "b2": [0.5]}`: of each layer a row of weights
            for each input, and the biases of its units.
        show: every-step prints each pre-activation, activation, gradient and update.
        rerun: if a unit died, train again with a smaller rate.
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
        show_apart(gpt_on_both(learning_rate or 0.1, epochs or 30, seed), json)
        return
    given = settings(example, data, hidden, activation, seed, weights)
    given = given._replace(
        learning_rate=given.learning_rate if learning_rate is None else learning_rate,
        epochs=given.epochs if epochs is None else epochs,
    )
    if given.epochs < 1 or not given.learning_rate > 0:
        raise WhenceError("Training needs one epoch or more and a learning rate above 0.")
    console = Console(soft_wrap=True)
    say: Callable[[str], None] = (lambda text: None) if json else console.print
    if two_engines:
        rate, epochs = given.learning_rate, given.epochs
        apart = mlp_on_both(
            given.x, given.y, given.layers, activation, batch=batch, rate=rate, epochs=epochs
        )
        show_apart(apart, json)
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
        again, rate, epochs = rescue(given, activation, batch)
        better = is_better(again, outcome)
        say(f"\n{told_of(again, rate, epochs, better)}")
        record["rerun"] = {"learning_rate": rate, "better": better, **_plain(again)}
    if json:
        print(strict(record))


def _run(
    given: Example, activation: str, batch: bool, say: Callable[[str], None], *, every_step: bool
) -> Outcome:
    """Train, printing each epoch or step on the way."""
    outcome = Outcome()
    for done in work(given, activation, batch, outcome, every_step):
        if every_step:
            which = "all samples" if batch else f"sample {done.sample + 1}"
            say(f"\nepoch {done.epoch + 1}, {which}")
            for line in done.lines:
                say(f"  {line}")
        if done.mean is not None and (every_step or _worth_a_line(done.epoch, given.epochs)):
            say(f"epoch {done.epoch + 1:>4}  loss {done.mean:.5f}")
    if not math.isfinite(outcome.epochs[-1]):
        say("the run diverged: its loss became NaN or infinite; use a smaller --learning-rate")
    say(f"predictions {row_of(outcome.predictions)} for targets {row_of(given.y)}")
    for i in range(len(given.x[0])):
        if all(row[i] == 0.0 for row in given.x):
            say(f"feature {i + 1} is 0 in every sample, so its weights get no gradient and stay")
    if len(outcome.parameters) <= 12:
        say("  ".join(f"{name} = {x:.6g}" for name, x in outcome.parameters.items()))
    return outcome


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
