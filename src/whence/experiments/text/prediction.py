"""One prediction of a next word, worked out from its logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# The notes' logits of "we love deep learning", for eight of the twelve words.
NOTED_WORDS = ("we", "love", "deep", "learning", "the", "hello", "is", "<EOS>")
NOTED_LOGITS = (
    (2.1, -0.5, -1.2, -2.0, 3.2, 2.8, 1.5, -10.0),
    (-3.0, 2.8, -0.5, -1.5, 1.2, -5.0, 2.1, -8.0),
    (-5.0, -4.0, 1.9, 0.8, 0.5, -6.0, -2.0, -7.0),
    (-6.0, -5.0, -4.0, 3.5, -2.0, -8.0, -3.0, -6.0),
)


@dataclass(frozen=True)
class Position:
    """One prediction, worked out: logits z, exponentials e^z, their sum, p, −ln p, p − y.

    Attributes:
        context: the words read.
        target: the word to be said.
        words: the words of the columns.
        logits: z, for each word.
        gradient: p − y, the loss's slope at each logit.
    """

    context: tuple[str, ...]
    target: str
    words: tuple[str, ...]
    logits: tuple[float, ...]

    @property
    def exponentials(self) -> list[float]:
        """e^z of each word."""
        return [math.exp(z) for z in self.logits]

    @property
    def probabilities(self) -> list[float]:
        """P(w) = e^z / Σ e^z."""
        total = math.fsum(self.exponentials)
        return [e / total for e in self.exponentials]

    @property
    def probability(self) -> float:
        """P(target)."""
        return self.probabilities[self.words.index(self.target)]

    @property
    def loss(self) -> float:
        """−ln P(target)."""
        return -math.log(self.probability)

    @property
    def gradient(self) -> list[float]:
        """The loss's slope at each logit: p − y, with y = 1 for the target and 0 elsewhere."""
        hit = self.words.index(self.target)
        return [p - (i == hit) for i, p in enumerate(self.probabilities)]

    def top(self, n: int = 5) -> list[tuple[str, float]]:
        """The n likeliest words with their probabilities."""
        ranked = sorted(zip(self.words, self.probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[:n]


def noted_positions() -> list[Position]:
    """The notes' fixed logits, worked out: their losses add up to 2.941226.

    Example:
        >>> round(sum(p.loss for p in noted_positions()), 6)
        2.941226
    """
    words = ("<BOS>", "we", "love", "deep", "learning")
    return [
        Position(words[: t + 1], words[t + 1], NOTED_WORDS, row)
        for t, row in enumerate(NOTED_LOGITS)
    ]


def total_loss(found: Sequence[Position]) -> float:
    """The sum of −ln P(target)."""
    return math.fsum(p.loss for p in found)
