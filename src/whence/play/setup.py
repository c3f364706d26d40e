"""What is played with: the samples, the network and how it learns."""

import random
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from whence.data.made.points import SHAPES, features, points
from whence.errors import WhenceError
from whence.models.small.line import COFFEE_SHOP, Scale
from whence.models.small.mlp import ACTIVATIONS, Numbers, initial

OPTIMIZERS = ("sgd", "momentum", "adam")
HIDDEN_LAYERS, UNITS, SAMPLES = 6, 16, 500


@dataclass(frozen=True)
class Setup:
    """A small model to play with: with its seed it says everything that happens.

    Attributes:
        data: one of `PRESETS`: `coffee` (a line), `one`, `three` and `two-features` (a network
            worked by hand), or points in the plane.
        hidden: units of each hidden layer; none is a line, or logistic regression.
        activation: what hidden units apply.
        optimizer: `sgd`, `momentum` (0.9) or `adam`.
        rate: the learning rate.
        batch: samples of one update; 0 for all of them.
        noise: of points, see `whence.data.made.points.points`.
        samples: how many points; a quarter of them is held out.
        features: what the network reads of a point.
        seed: of points, starting weights and order.
        drawn: whether starting weights are drawn from the seed, rather than the example's own.

    Example:
        >>> line = Setup("coffee", hidden=(), activation="relu", optimizer="sgd", rate=0.1, batch=0)
        >>> line.hidden, line.seed
        ((), 0)
    """

    data: str
    hidden: tuple[int, ...]
    activation: str
    optimizer: str
    rate: float
    batch: int
    noise: float = 0.1
    samples: int = 200
    features: tuple[str, ...] = ("x1", "x2")
    seed: int = 0
    drawn: bool = True


_HAND: Numbers = [([[2.0]], [[-3.0]]), ([[1.5]], [[0.5]])]
WEIGHTS: dict[str, Numbers] = {
    "coffee": [([[0.0]], [[0.0]])],
    "one": _HAND,
    "three": _HAND,
    "two-features": [([[2.0], [0.5]], [[0.0]]), ([[1.5]], [[0.0]])],
}
_SAMPLES: dict[str, tuple[list[list[float]], list[float]]] = {
    "coffee": ([[x] for x, _ in COFFEE_SHOP[1]], [y for _, y in COFFEE_SHOP[1]]),
    "one": ([[2.0]], [4.0]),
    "three": ([[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0]),
    "two-features": ([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], [2.0, 4.0, 6.0]),
}
PRESETS = {
    "coffee": Setup("coffee", (), "relu", "sgd", 0.1, 0, drawn=False),
    "one": Setup("one", (1,), "relu", "sgd", 0.1, 1, drawn=False),
    "three": Setup("three", (1,), "relu", "sgd", 0.1, 1, drawn=False),
    "two-features": Setup("two-features", (1,), "relu", "sgd", 0.05, 1, drawn=False),
    "gaussians": Setup("gaussians", (), "tanh", "sgd", 0.3, 10),
    "circles": Setup("circles", (4,), "tanh", "sgd", 0.3, 10),
    "xor": Setup("xor", (4,), "tanh", "sgd", 0.3, 10),
    "moons": Setup("moons", (8,), "tanh", "sgd", 0.3, 10),
    "spiral": Setup("spiral", (8, 8), "tanh", "adam", 0.02, 10, noise=0.03),
}


def setup(data: str = "three", **changes: Any) -> Setup:
    """Return an example's setup with some of its fields changed.

    Other `hidden` layers than the example's own get weights drawn from the seed, and so do all
    with `drawn=True`.

    Args:
        data: which example, one of `PRESETS`.
        **changes: fields of `Setup`; those that are None stay as they are.

    Raises:
        WhenceError: naming the field that can't be so.

    Example:
        >>> setup("moons", hidden=(4, 2)).rate
        0.3
    """
    if data not in PRESETS:
        raise WhenceError(f"unknown data {data!r}: use one of {', '.join(PRESETS)}.")
    preset = PRESETS[data]
    given = {name: value for name, value in changes.items() if value is not None}
    made = replace(preset, **given)
    if made.hidden != preset.hidden or data in SHAPES:
        made = replace(made, drawn=True)
    _check(made)
    return made


def _check(s: Setup) -> None:
    for name, value, known in (
        ("activation", s.activation, ACTIVATIONS),
        ("optimizer", s.optimizer, OPTIMIZERS),
    ):
        if value not in known:
            raise WhenceError(f"{name} is {value!r}: it must be one of {', '.join(known)}.")
    if len(s.hidden) > HIDDEN_LAYERS or any(not 1 <= n <= UNITS for n in s.hidden):
        raise WhenceError(
            f"hidden is {list(s.hidden)}: give at most {HIDDEN_LAYERS} layers of 1 to {UNITS} "
            "units. Larger models train with 'whence train'."
        )
    if not 0.0 < s.rate <= 1000.0:
        raise WhenceError(f"rate is {s.rate:g}: it must be above 0, and at most 1,000.")
    if s.batch < 0:
        raise WhenceError(f"batch is {s.batch}: it must be 1 or more, or 0 for all samples.")
    if s.data in SHAPES and not 8 <= s.samples <= SAMPLES:
        raise WhenceError(f"samples is {s.samples}: it must be 8 to {SAMPLES}.")


class Samples(NamedTuple):
    """What is learnt and what is held out.

    Attributes:
        names: of the inputs.
        raw: the inputs in their own units, or the points themselves.
        x: what the network reads.
        y: targets, or classes.
        held_raw: as `raw`, of the samples that are held out.
        held_x: what the network would read of them.
        held_y: their targets.
        scale: what standardised the inputs.
    """

    names: list[str]
    raw: list[list[float]]
    x: list[list[float]]
    y: list[float]
    held_raw: list[list[float]]
    held_x: list[list[float]]
    held_y: list[float]
    scale: Scale


def samples(s: Setup) -> Samples:
    """Make a setup's samples.

    Example:
        >>> len(samples(setup("moons")).y), len(samples(setup("moons")).held_y)
        (150, 50)
    """
    if s.data in SHAPES:
        made = points(s.data, s.samples, s.noise, s.seed)
        cut = s.samples - s.samples // 4
        x = features(made.x, s.features)
        raw, y = [list(p) for p in made.x], [float(label) for label in made.y]
        none = Scale.none(len(s.features))
        return Samples(
            list(s.features), raw[:cut], x[:cut], y[:cut], raw[cut:], x[cut:], y[cut:], none
        )
    raw, y = _SAMPLES[s.data]
    n = len(raw[0])
    scale = Scale.of(raw) if s.data == "coffee" else Scale.none(n)
    names = ["distance"] if s.data == "coffee" else ["x"] if n == 1 else ["x1", "x2"]
    return Samples(names, raw, scale.inside(raw), y, [], [], [], scale)


def weights(s: Setup) -> Numbers:
    """Return a setup's starting weights as plain numbers.

    Example:
        >>> weights(setup("three"))
        [([[2.0]], [[-3.0]]), ([[1.5]], [[0.5]])]
    """
    if not s.drawn:
        return WEIGHTS[s.data]
    n_inputs = len(s.features) if s.data in SHAPES else len(_SAMPLES[s.data][0][0])
    return initial([n_inputs, *s.hidden, 1], s.activation, s.seed)


def order(s: Setup, n: int, epoch: int) -> list[int]:
    """Return the order in which an epoch goes through the samples: shuffled, where they are points.

    Example:
        >>> order(setup("three"), 3, 7)
        [0, 1, 2]
    """
    found = list(range(n))
    if s.data in SHAPES:
        random.Random(f"order {s.seed} {epoch}").shuffle(found)
    return found
