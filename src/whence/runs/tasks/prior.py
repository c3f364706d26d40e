"""Predict the next token by correcting counts of the same text."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from whence.models.ngram.prior import NGramGPT
from whence.runs.tasks.text import Text
from whence.train.losses import cross_entropy, seed_dropout


class OnCounts(Text):
    """Text for a model on counted n-grams: it counts first, and never sees a target's own count."""

    counted: NGramGPT | None = None

    def prepare(self, model: NGramGPT) -> None:
        """Count the training text."""
        self.counted = model.fit(self.dataset.train)

    def loss(self, model: Callable[..., Any], part: Any) -> Tensor:
        """Return the loss on a prior that leaves each target's own occurrence out."""
        assert self.counted is not None  # a session prepares its model first
        prior = self.counted.prior_in_training(part.inputs, part.targets)
        seed_dropout(part)
        return cross_entropy(model(part.inputs, prior=prior), part.targets)

    def notes(self, model: NGramGPT) -> list[str]:
        """Which discounts the text was too small for, said once."""
        notes, model.ngram.notes = model.ngram.notes, []
        return notes
