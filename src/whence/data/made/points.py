"""Points in the plane in two classes, made from a seed: small problems for small nets."""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from whence.errors import WhenceError

Point = tuple[float, float]


class Points(NamedTuple):
    """Points and their classes.

    Attributes:
        x: the points.
        y: the class of each, 0 or 1.
    """

    x: list[Point]
    y: list[int]


def _moons(draw: random.Random, label: int) -> Point:
    angle = math.pi * draw.random()
    if label:
        return 0.5 - math.cos(angle), 0.25 - math.sin(angle)
    return math.cos(angle) - 0.5, math.sin(angle) - 0.25


def _circles(draw: random.Random, label: int) -> Point:
    angle, radius = 2 * math.pi * draw.random(), 0.35 if label else 1.1
    return radius * math.cos(angle), radius * math.sin(angle)


def _xor(draw: random.Random, label: int) -> Point:
    x, y = draw.uniform(0.08, 1.2), draw.uniform(0.08, 1.2)
    side = draw.choice((1, -1))
    return (side * x, side * y) if label else (side * x, -side * y)


def _spiral(draw: random.Random, label: int) -> Point:
    turn = math.sqrt(draw.uniform(0.01, 1.0))
    angle = 1.6 * 2 * math.pi * turn + math.pi * label
    return 1.2 * turn * math.sin(angle), 1.2 * turn * math.cos(angle)


def _gaussians(draw: random.Random, label: int) -> Point:
    centre = 0.6 if label else -0.6
    return centre + 0.25 * draw.gauss(0, 1), centre + 0.25 * draw.gauss(0, 1)


SHAPES: dict[str, Callable[[random.Random, int], Point]] = {
    "moons": _moons,
    "circles": _circles,
    "xor": _xor,
    "spiral": _spiral,
    "gaussians": _gaussians,
}


def points(shape: str, n: int = 200, noise: float = 0.1, seed: int = 0) -> Points:
    """Draw points of two classes, as many of each.

    Args:
        shape: one of `SHAPES`.
        n: how many points.
        noise: the standard deviation added to both coordinates, in their own unit.
        seed: the same seed gives the same points on every machine.

    Raises:
        WhenceError: for another shape, fewer than 2 points or a noise below 0.

    Example:
        >>> points("xor", 4).y
        [0, 1, 0, 1]
        >>> all((a > 0) == (b > 0) for (a, b), y in zip(*points("xor", noise=0.0)) if y)
        True
    """
    if shape not in SHAPES:
        raise WhenceError(f"{shape!r} isn't a shape of points: use one of {', '.join(SHAPES)}.")
    if n < 2 or not 0.0 <= noise <= 10.0:
        raise WhenceError("Points need 2 of them or more, and a noise between 0 and 10.")
    draw = random.Random(f"{shape} {seed}")
    found, labels = [], []
    for i in range(n):
        x, y = SHAPES[shape](draw, i % 2)
        found.append((x + noise * draw.gauss(0, 1), y + noise * draw.gauss(0, 1)))
        labels.append(i % 2)
    return Points(found, labels)


FEATURES: dict[str, Callable[[float, float], float]] = {
    "x1": lambda x, y: x,
    "x2": lambda x, y: y,
    "x1²": lambda x, y: x * x,
    "x2²": lambda x, y: y * y,
    "x1·x2": lambda x, y: x * y,
    "sin πx1": lambda x, y: math.sin(math.pi * x),
    "sin πx2": lambda x, y: math.sin(math.pi * y),
}


def features(where: list[Point], names: tuple[str, ...] = ("x1", "x2")) -> list[list[float]]:
    """Return what a network reads of each point.

    Args:
        where: the points.
        names: of `FEATURES`.

    Raises:
        WhenceError: for an unknown feature, or none at all.

    Example:
        >>> features([(2.0, 3.0)], ("x1", "x1·x2"))
        [[2.0, 6.0]]
    """
    unknown = [name for name in names if name not in FEATURES]
    if unknown or not names:
        what = f"{unknown[0]!r} isn't a feature" if unknown else "no feature is chosen"
        raise WhenceError(f"{what}: use some of {', '.join(FEATURES)}.")
    return [[FEATURES[name](x, y) for name in names] for x, y in where]
