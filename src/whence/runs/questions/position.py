"""Loss by position in the window: what more context buys."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from whence.data import Source
from whence.errors import WhenceError
from whence.models import NGram
from whence.runs.run import Run
from whence.train.evaluation import evenly, spread, window_losses

LEAST = 64  # tokens in a window of a model whose own is shorter than what it can be shown


@dataclass(frozen=True)
class ByPosition:
    """The loss of each prediction in adjacent windows, by the number of tokens before it.

    Attributes:
        losses: nats, float64 [windows, T]; column t is the loss with t + 1 tokens of context.
    """

    losses: np.ndarray

    @property
    def means(self) -> list[float]:
        """The mean loss with 1, 2, 3 … tokens of context."""
        return self.losses.mean(0).tolist()


def loss_by_position(
    run: Run,
    text: Source | None = None,
    at: int | Literal["best", "last"] = "best",
    most: int = 200_000,
) -> ByPosition:
    """Measure the loss at each place of a window, over a text.

    Args:
        run: of a model that predicts text.
        text: an open source; none: the run's validation part.
        at: which checkpoint.
        most: at most so many tokens of it, in windows spread all over it.

    Raises:
        WhenceError: a model that predicts no text, or a text of fewer than two windows.

    Example:
        >>> loss_by_position(Run.open("runs/mine")).means[0]  # doctest: +SKIP
        3.31
    """
    model, tokens, window = _opened(run, text, at)
    starts, _ = spread(len(tokens), window, most)
    rows = tokens[starts[:, None] + np.arange(window + 1)]
    return ByPosition(window_losses(model, rows))


@dataclass(frozen=True)
class ByContext:
    """The loss on the same tokens, with ever more tokens before them.

    Attributes:
        contexts: (least, most) tokens before a prediction: 1, 2 to 3, 4 to 7, and so on.
        losses: for each of these the mean loss of each stretch of the text, in nats.
    """

    contexts: list[tuple[int, int]]
    losses: list[list[float]]


def loss_by_context(
    run: Run,
    text: Source | None = None,
    at: int | Literal["best", "last"] = "best",
    most: int = 200_000,
) -> ByContext:
    """Measure the loss on the same tokens with their context cut shorter and shorter.

    With c to 2c − 1 tokens before each: the text is read in windows of 2c − 1 tokens, c apart, and
    the last c predictions of each count.

    Args:
        run: as of `loss_by_position`.
        text: as there.
        at: which checkpoint.
        most: at most so many tokens are predicted each time, in stretches all over the text.

    Raises:
        WhenceError: as `loss_by_position`.
    """
    model, tokens, window = _opened(run, text, at)
    lows = [1 << k for k in range(20) if (2 << k) - 1 <= window]
    largest = lows[-1]
    start = 2 * largest - 1  # the first token that is predicted
    chosen = evenly((len(tokens) - start) // largest, max(1, most // largest))  # stretches
    found = []
    for low in lows:
        first = start - low  # where the first window begins
        views = np.lib.stride_tricks.sliding_window_view(tokens[first:], 2 * low)
        many = largest // low  # windows of a stretch
        rows = views[::low][(chosen[:, None] * many + np.arange(many)).ravel()]
        losses = window_losses(model, rows)[:, low - 1 :]  # [windows, low], in the text's order
        found.append(losses.reshape(len(chosen), largest).mean(1).tolist())
    return ByContext([(low, 2 * low - 1) for low in lows], found)


def _opened(
    run: Run, text: Source | None, at: int | Literal["best", "last"]
) -> tuple[Any, np.ndarray, int]:
    """The model, the text's tokens, and how many of them a window has."""
    task = run.task
    if not task.is_prose:
        raise WhenceError(f"{run.path} doesn't predict running text, so it has no longer contexts.")
    model, window = run.writer(at), run.recipe.model.context_length
    if isinstance(model, NGram):
        window = max(window, LEAST)
    with task.tokens_of(text) as (tokens, _):
        tokens = np.asarray(tokens).astype(np.int64)
    if len(tokens) < 2 * window + 2:
        raise WhenceError(
            f"the text has {len(tokens)} tokens, too few for two windows of {window}: give more."
        )
    return model, tokens, window
