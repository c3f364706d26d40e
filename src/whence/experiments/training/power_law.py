"""A scaling law fitted to measured losses, and what it says of sizes that weren't trained."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whence.errors import WhenceError

EXPONENTS = np.linspace(0.05, 1.5, 30)  # that are tried for α and for β
DRAWS = 400
FREE = 5  # numbers that are fitted: E, A, α, B, β


@dataclass(frozen=True)
class PowerLaw:
    """L(N, D) = E + A·N^−α + B·D^−β, each with as many values as there are draws.

    Attributes:
        floor: E, what neither parameters nor data take away, in nats.
        by_size: A.
        alpha: α.
        by_data: B.
        beta: β.
        noise: how far single runs lie from the fit: residuals, one of each point.
    """

    floor: np.ndarray
    by_size: np.ndarray
    alpha: np.ndarray
    by_data: np.ndarray
    beta: np.ndarray
    noise: np.ndarray

    def loss(self, parameters: float, tokens: float) -> np.ndarray:
        """Return what each draw predicts of N parameters and D tokens."""
        size = self.by_size * float(parameters) ** -self.alpha
        return self.floor + size + self.by_data * float(tokens) ** -self.beta

    def prediction(self, parameters: float, tokens: float) -> tuple[float, float, float]:
        """Return the loss of one new run: the median, and between which two 95 % of draws lie."""
        drawn = np.random.default_rng(0).choice(self.noise, len(self.alpha))
        found = self.loss(parameters, tokens)
        low, high = np.quantile(found + drawn, [0.025, 0.975])
        return float(np.median(found)), float(low), float(high)

    def between(self, name: str) -> tuple[float, float, float]:
        """Return a number of the law: the median, and between which two 95 % of draws lie."""
        low, middle, high = np.quantile(getattr(self, name), [0.025, 0.5, 0.975])
        return float(middle), float(low), float(high)

    @property
    def split(self) -> np.ndarray:
        """How the best size grows with operations C = 6·N·D: N ∝ C^split, split = β / (α + β)."""
        return self.beta / (self.alpha + self.beta)


def fit(points: Sequence[tuple[float, float, float]], seed: int = 0) -> PowerLaw:
    """Fit the law by least squares, and again to losses drawn around it (a residual bootstrap).

    Args:
        points: (parameters N, tokens D, loss in nats) of each run.
        seed: of the draws.

    Raises:
        WhenceError: a loss isn't finite.

    Example:
        >>> points = [(n, d, 1 + 3 * n**-0.3 + 5 * d**-0.4) for n in (10, 40, 160, 640)
        ...     for d in (100, 400, 1600)]
        >>> found = fit(points)
        >>> round(found.between("alpha")[0], 1), round(found.between("beta")[0], 1)
        (0.3, 0.4)

    Source:
        Hoffmann et al., "Training Compute-Optimal Large Language Models", 2022, approach 3.
    """
    n, d, losses = (np.array(column, float) for column in zip(*points, strict=True))
    if not np.isfinite(losses).all():
        raise WhenceError("A loss isn't finite, so no law can be fitted: leave that run out.")
    rng = np.random.default_rng(seed)
    best = _least_squares(n, d, losses[:, None])
    fitted = _values(best, n, d)[:, 0]
    # Residuals of a fit are smaller than those of the truth by what was fitted away.
    lost = np.sqrt(len(losses) / max(1, len(losses) - FREE))
    noise = (losses - fitted) * lost
    drawn = fitted[:, None] + rng.choice(noise, (len(losses), DRAWS))
    floor, by_size, alpha, by_data, beta = _least_squares(n, d, drawn)
    return PowerLaw(floor, by_size, alpha, by_data, beta, noise)


def _values(law: tuple[np.ndarray, ...], n: np.ndarray, d: np.ndarray) -> np.ndarray:
    floor, by_size, alpha, by_data, beta = law
    return floor + by_size * n[:, None] ** -alpha + by_data * d[:, None] ** -beta


def _least_squares(n: np.ndarray, d: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, ...]:
    """Fit each column of losses [points, draws]: on a grid of exponents, no factor below 0."""
    pairs = np.array(list(itertools.product(EXPONENTS, EXPONENTS)))  # [G, 2]
    # In units of the middle point, so that columns are of like size.
    units = np.exp(np.log(n).mean()), np.exp(np.log(d).mean())
    columns = [(x / unit)[None] ** -pairs[:, i : i + 1] for i, (x, unit) in
               enumerate(zip((n, d), units, strict=True))]  # fmt: skip
    x = np.stack([np.ones_like(columns[0]), *columns], -1)  # [G, points, 3]
    least = np.full(losses.shape[1], np.inf)
    best = np.zeros((5, losses.shape[1]))
    for kept in ((0, 1, 2), (1, 2), (0, 1), (0, 2), (0,)):
        part = x[..., kept]
        gram = part.mT @ part + 1e-12 * np.eye(len(kept))
        factors = np.linalg.solve(gram, part.mT @ losses[None])  # [G, kept, draws]
        errors = ((part @ factors - losses[None]) ** 2).sum(1)  # [G, draws]
        errors[(factors < 0).any(1)] = np.inf
        at = errors.argmin(0)
        smallest = np.take_along_axis(errors, at[None], 0)[0]
        better = smallest < least
        whole = np.zeros((3, len(at)))
        whole[list(kept)] = np.take_along_axis(factors, at[None, None], 0)[0]
        alpha, beta = pairs[at].T
        law = np.stack(
            [whole[0], whole[1] * units[0] ** alpha, alpha, whole[2] * units[1] ** beta, beta]
        )
        best[:, better], least[better] = law[:, better], smallest[better]
    return tuple(best)
