"""Counting: the one model that needs no loop, since its best table has a closed form."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from whence.data import Dataset
from whence.errors import WhenceError
from whence.models.ngram.model import NGram
from whence.runs.recipe import Recipe
from whence.runs.tasks.text import Batches, Precision, Text
from whence.train.evaluation import Evaluation, Progress, evenly, no_progress


class WholeText:
    """The one batch of a counted model: all of the training text."""

    def __init__(self, tokens: np.ndarray):
        self.tokens = tokens

    def __getitem__(self, step: int) -> list[tuple[float, np.ndarray]]:
        """Return the text."""
        return [(1.0, self.tokens)]

    def starts(self, step: int) -> np.ndarray:
        """Say where it starts."""
        return np.zeros(1, dtype=np.int64)


class Counted(Text):
    """Predict the next token by counts: one step, which reads the whole text once.

    Raises:
        WhenceError: more than one step, or text left out, which a count can't do.
    """

    by_steps = False
    more = "The text is counted, and counting it again would change nothing: train on more text."

    def __init__(self, recipe: Recipe, dataset: Dataset):
        super().__init__(recipe, dataset)
        if recipe.steps != 1:
            raise WhenceError(
                f"steps is {recipe.steps}, but a counted model reads its text once: leave steps "
                "out, or set it to 1."
            )
        if recipe.change.skip_batches or recipe.change.skip_tokens or recipe.change.freeze:
            raise WhenceError("a counted model has nothing to skip or to freeze: drop change.*.")

    def prepare(self, model: NGram) -> None:
        """Compile what counts, or load it compiled, so that the step's time is that of counting."""
        NGram(model.config, 2).fit(np.zeros(2, self.dataset.train.dtype)).score(np.zeros(1, int))

    def batches(self, device: str) -> Batches:
        """Return the one batch."""
        return WholeText(self.dataset.train)

    def learn(
        self, forward: Any, batches: Batches, loss: Any, optimizer: Any, steps: Iterable[int]
    ) -> Iterator[tuple[int, Any]]:
        """Count; the loss is that of the counted table on the text it was counted on."""
        for step in steps:
            [(_, tokens)] = batches[step]
            yield step, forward.fit(tokens).cross_entropy(tokens)

    def loss(self, model: Any, part: np.ndarray):
        """Return nats per token; it has no gradient.

        Raises:
            WhenceError: before the text was counted.
        """
        return model.cross_entropy(part)

    def notes(self, model: NGram) -> list[str]:
        """Which discounts the text was too small for."""
        return model.notes

    @property
    def tokens_per_step(self) -> int:
        """All of the text."""
        return len(self.dataset.train)

    def evaluate(
        self,
        model: Any,
        n_tokens: int | None = None,
        precision: Precision = nullcontext,
        each: Progress = no_progress,
    ) -> Evaluation:
        """Measure on the validation text, or on some of its tokens, spread over all of it."""
        tokens = self.dataset.validation
        if n_tokens is None or n_tokens >= len(tokens):
            return self._measure(model, tokens, self.dataset.bytes_behind(tokens[1:]))
        chosen = 1 + evenly(len(tokens) - 1, n_tokens)
        losses = -model.score(tokens)[chosen].astype(np.float64)
        return Evaluation(
            float(losses.mean()), len(chosen), self.dataset.bytes_behind(tokens[chosen])
        )

    def _measure(
        self, model: NGram, tokens: np.ndarray, n_bytes: int, overlap: bool = False
    ) -> Evaluation:
        """Each token but the first, which the other kinds of models don't predict either.

        Counts see everything before a token, so there are no windows to overlap.
        """
        if len(tokens) < 2:
            raise WhenceError(
                f"the text has {len(tokens)} token(s): at least 2 are needed to predict one."
            )
        n = len(tokens) - 1
        return Evaluation(-float(model.score(tokens)[1:].sum(dtype=np.float64)) / n, n, n_bytes)
