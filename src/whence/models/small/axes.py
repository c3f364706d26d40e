"""Features that vary together: how much, and how gradient descent still copes with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whence.models.small.line import REPEATS, Fit, Scale

FALL = 30.0  # e-folds from the first error to one that no longer moves a float64


@dataclass(frozen=True)
class Spread:
    """The eigenvalues of the features' correlations.

    Descent at one rate moves along each direction in proportion to its eigenvalue, so that the
    number of steps grows with the condition number, the largest over the smallest.

    Attributes:
        sizes: the eigenvalues, falling; they add up to the number of features that vary.

    Example:
        >>> spread = Spread.of([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
        >>> spread.condition, spread.repeats
        (inf, 1)

    Source:
        Belsley, Kuh and Welsch, "Regression Diagnostics", 1980.
    """

    sizes: tuple[float, ...]

    @staticmethod
    def of(rows: Sequence[Sequence[float]]) -> "Spread":
        """Measure the features; one that is constant takes no part."""
        x = np.asarray(Scale.of(rows).inside(rows))
        x = x[:, x.std(axis=0) > 0.5]  # standardised: 1, or 0 for a constant
        sizes = np.zeros(x.shape[1])
        singular = np.linalg.svd(x, compute_uv=False)
        sizes[: len(singular)] = singular**2 / len(x)
        return Spread(tuple(sizes.tolist()))

    @property
    def repeats(self) -> int:
        """How many features are made of the others, up to rounding: the best line isn't unique."""
        return sum(size <= REPEATS**2 * max(self.sizes) for size in self.sizes)

    @property
    def condition(self) -> float:
        """The condition number: the largest eigenvalue over the smallest."""
        if not self.sizes:
            return 1.0
        return math.inf if self.repeats else max(self.sizes) / min(self.sizes)

    def steps(self, rate: float) -> float:
        """About how many steps descent takes along the slowest direction; infinite: it diverges.

        A step at rate r leaves 1 − 2·r·λ of the error along a direction of size λ.

        Example:
            >>> round(Spread((1.0,)).steps(0.1)), Spread((1.5, 0.5)).steps(1.0)
            (134, inf)
        """
        left = [
            abs(1.0 - 2.0 * rate * size)
            for size in (1.0, *self.sizes)
            if size > REPEATS**2 * max(self.sizes, default=1.0)
        ]
        if max(left) >= 1.0:
            return math.inf
        return max((FALL / -math.log(x) for x in left if x), default=1.0)


@dataclass(frozen=True)
class Turned:
    """Features standardised and turned to the directions in which they vary, each of size 1.

    Every direction is as steep as any other then, so that one rate suits them all; for a line, a
    step of descent at rate ½ is Newton's. Directions in which nothing varies are left out.

    Attributes:
        scale: what standardises the features.
        turn: `[features, directions]`.

    Example:
        >>> rows = [[1.0, 1.0], [2.0, 2.1], [3.0, 2.9], [4.0, 4.0]]
        >>> x = np.array(Turned.along(rows).inside(rows))
        >>> np.allclose(x.T @ x / len(x), np.eye(2))
        True
    """

    scale: Scale
    turn: np.ndarray

    @staticmethod
    def along(rows: Sequence[Sequence[float]]) -> "Turned":
        """Find the directions of some rows."""
        scale = Scale.of(rows)
        x = np.asarray(scale.inside(rows))
        _, singular, directions = np.linalg.svd(x, full_matrices=False)
        kept = singular > REPEATS * singular.max()
        return Turned(scale, directions[kept].T * math.sqrt(len(x)) / singular[kept])

    @property
    def mean(self) -> list[float]:
        """The features' means."""
        return self.scale.mean

    def inside(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return where the rows lie along the directions."""
        return (np.asarray(self.scale.inside(rows)) @ self.turn).tolist()

    def fit(self, start: float, change: Sequence[float]) -> Fit:
        """Return what a line over the directions is in the user's units."""
        return self.scale.fit(start, (self.turn @ np.asarray(change)).tolist())
