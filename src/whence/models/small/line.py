"""Linear regression: ŷ = start + Σ changeᵢ · xᵢ, the smallest model that learns.

Inside, features are standardised (mean 0, deviation 1), so that one learning rate suits them all;
what is reported is in the user's units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from whence.errors import WhenceError

COFFEE_SHOP = (
    ("distance (km)", "money"),
    [
        (0.3, 560.0),
        (0.5, 548.0),
        (0.8, 502.0),
        (1.0, 490.0),
        (1.2, 455.0),
        (1.5, 433.0),
        (1.8, 398.0),
        (2.0, 390.0),
        (2.6, 322.0),
        (3.0, 290.0),
        (3.5, 231.0),
        (4.0, 196.0),
    ],
)
"""What a coffee shop took in a day, by its distance from the station: an example made up for it."""

HOUSES = (
    ("size (m²)", "rooms", "age (years)", "price (1000)"),
    [
        (52.0, 2.0, 41.0, 148.0),
        (60.0, 2.0, 12.0, 196.0),
        (68.0, 3.0, 35.0, 187.0),
        (75.0, 3.0, 5.0, 251.0),
        (81.0, 3.0, 60.0, 190.0),
        (88.0, 4.0, 22.0, 254.0),
        (95.0, 4.0, 48.0, 236.0),
        (102.0, 4.0, 9.0, 315.0),
        (110.0, 5.0, 30.0, 299.0),
        (118.0, 4.0, 3.0, 363.0),
        (125.0, 5.0, 55.0, 301.0),
        (133.0, 6.0, 18.0, 376.0),
        (140.0, 5.0, 26.0, 375.0),
        (150.0, 6.0, 8.0, 437.0),
    ],
)
"""Prices of houses by size, rooms and age: an example made up for it."""


REPEATS = 1e-10  # share of a feature's variation that the others don't tell: below it, rounding


class Line:
    """ŷ = start + x · change, on whichever engine the parameters are.

    Args:
        start: the bias, `[1, 1]`: what is predicted where all features are 0.
        change: a weight for each feature, `[features, 1]`.

    Example:
        >>> import torch
        >>> line = Line(torch.tensor([[500.0]]), torch.tensor([[-50.0]]))
        >>> line(torch.tensor([[4.0]])).item()
        300.0
    """

    def __init__(self, start: Any, change: Any) -> None:
        self.start, self.change = start, change

    def __call__(self, x: Any) -> Any:
        """Return the predictions `[N, 1]` for the features `[N, features]`."""
        return x @ self.change + self.start

    def parameters(self) -> list[Any]:
        """Return start, then change."""
        return [self.start, self.change]


def squared_error(model: Any, part: tuple[Any, Any]) -> Any:
    """Return the mean of (ŷ − y)² over the rows of the part."""
    x, y = part
    return ((model(x) - y) ** 2).mean()


class Fit(NamedTuple):
    """A line in the user's units: `start`, and `change` per unit of each feature."""

    start: float
    change: list[float]

    def predict(self, features: Sequence[float]) -> float:
        """Return start + Σ changeᵢ · featureᵢ.

        Example:
            >>> Fit(500.0, [-50.0]).predict([2.0])
            400.0
        """
        if len(features) != len(self.change):
            raise WhenceError(
                f"A prediction needs {len(self.change)} features; {len(features)} are given."
            )
        return self.start + sum(c * x for c, x in zip(self.change, features, strict=True))


@dataclass(frozen=True)
class Scale:
    """The mean and the deviation of each feature: what standardises it.

    Example:
        >>> scale = Scale.of([[1.0], [3.0]])
        >>> scale.inside([[1.0], [3.0]])
        [[-1.0], [1.0]]
    """

    mean: list[float]
    deviation: list[float]

    @staticmethod
    def of(rows: Sequence[Sequence[float]]) -> "Scale":
        """Measure the features; a constant one keeps deviation 1, so that its weight stays 0."""
        table = np.asarray(rows, dtype=np.float64)
        deviation = table.std(axis=0)
        # A constant column's deviation is its mean's rounding, not 0.
        flat = deviation <= 1e-12 * np.abs(table).max(axis=0)
        return Scale(table.mean(axis=0).tolist(), np.where(flat, 1.0, deviation).tolist())

    @staticmethod
    def none(features: int) -> "Scale":
        """Leave the features as they are."""
        return Scale([0.0] * features, [1.0] * features)

    def inside(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return (x − mean) / deviation."""
        return [
            [(x - m) / d for x, m, d in zip(row, self.mean, self.deviation, strict=True)]
            for row in rows
        ]

    def fit(self, start: float, change: Sequence[float]) -> Fit:
        """Return what a line over standardised features is in the user's units."""
        outside = [c / d for c, d in zip(change, self.deviation, strict=True)]
        moved = sum(c * m for c, m in zip(outside, self.mean, strict=True))
        return Fit(start - moved, outside)


def least_squares(rows: Sequence[Sequence[float]], targets: Sequence[float]) -> Fit:
    """Return the line with the smallest squared error in closed form.

    Where features repeat one another many lines are equally good; this is the smallest of them over
    centred features, the one that gradient descent from 0 reaches.

    Example:
        >>> fit = least_squares([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
        >>> round(fit.start, 9), round(fit.change[0], 9)
        (1.0, 2.0)
    """
    scale = Scale.of(rows)
    x = np.asarray(scale.inside(rows))
    y = np.asarray(targets, dtype=np.float64)
    change, *_ = np.linalg.lstsq(x, y - y.mean(), rcond=REPEATS)
    return scale.fit(float(y.mean()), change.tolist())


def mean_squared_error(
    fit: Fit, rows: Sequence[Sequence[float]], targets: Sequence[float]
) -> float:
    """Return the mean of (ŷ − y)² of a fit."""
    errors = [(fit.predict(row) - y) ** 2 for row, y in zip(rows, targets, strict=True)]
    return sum(errors) / len(errors)
