"""Loss by position in the window: what more context buys."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from whence.data import Source
from whence.errors import WhenceError
from whence.models import NGram
from whence.runs.run import Run
from whence.train.evaluation import window_losses

LEAST = 64  # tokens in a window of a model whose own is shorter than what it can be shown


@dataclass(frozen=True)
class ByPosition:
    """The loss of each prediction in windows side by side, by how many tokens stand before it.

    Attributes:
        losses: nats, float64 [windows, T]; column t is the loss with t + 1 tokens of context.
    """

    losses: np.ndarray

    @property
    def means(self) -> list[float]:
        """The mean loss with 1, 2, 3 … tokens of context."""
        return self.losses.mean(0).tolist()

    @property
    def doublings(self) -> list[tuple[int, int]]:
        """The stretches of context: 1, 2, 3 to 4, 5 to 8, and so on to the window's end.

        Example:
            >>> ByPosition(np.zeros((2, 6))).doublings
            [(1, 1), (2, 2), (3, 4), (5, 6)]
        """
        found, low = [(1, 1)], 2
        while low <= self.losses.shape[1]:
            high = min(2 * (low - 1), self.losses.shape[1])
            found.append((low, high))
            low = high + 1
        return found

    def over(self, low: int, high: int) -> list[float]:
        """The mean loss of each window with `low` to `high` tokens of context."""
        return self.losses[:, low - 1 : high].mean(1).tolist()


def loss_by_position(
    run: Run,
    text: str | Source | None = None,
    at: int | Literal["best", "last"] = "best",
    most: int = 200_000,
) -> ByPosition:
    """Measure the loss at each place of a window, over a text.

    Args:
        run: of a model that predicts text.
        text: the text, or an open source; none: the run's validation part.
        at: which checkpoint.
        most: at most so many tokens of it, from its start.

    Raises:
        WhenceError: a model that predicts no text, or a text of fewer than two windows.

    Example:
        >>> loss_by_position(Run.open("runs/mine")).means[0]  # doctest: +SKIP
        3.31
    """
    task = run.task
    if not task.is_prose:
        raise WhenceError(f"{run.path} predicts no running text, so there is no longer context.")
    model, window = run.writer(at), run.recipe.model.context_length
    if isinstance(model, NGram):
        window = max(window, LEAST)
    with task.tokens_of(text) as (tokens, _):
        tokens = np.asarray(tokens[:most]).astype(np.int64)
    n = (len(tokens) - 1) // window
    if n < 2:
        raise WhenceError(
            f"the text has {len(tokens)} tokens, too few for two windows of {window}: give more."
        )
    rows = np.lib.stride_tricks.sliding_window_view(tokens, window + 1)[::window][:n]
    return ByPosition(window_losses(model, rows))
