"""Classes of text learnt by words, with a quarter held out, and what came of it."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from whence.errors import WhenceError
from whence.play.texts.words import Labelled, WordClassifier, classification_loss, confusion
from whence.scalar import Adam
from whence.train.loop import train

SHOWN = {0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}  # steps after which it is measured


class Measured(NamedTuple):
    """A classifier after some steps, every number of the same weights.

    Attributes:
        step: how many are done.
        cross_entropy: the mean surprise −ln P(label) over the lines it learns from, in nats.
        loss: that, and the penalty decay/2 · Σ weight².
        accuracy: the share of those lines that it names rightly.
    """

    step: int
    cross_entropy: float
    loss: float
    accuracy: float


class Mistake(NamedTuple):
    """A held-out line in the wrong class, and the probability that it was given."""

    line: Labelled
    said: str
    probability: float


class Divided:
    """Labelled lines, a quarter of them held out, and a classifier with all weights 0.

    Args:
        lines: all of them.
        seed: which quarter is held out.

    Raises:
        WhenceError: a class has too few lines.
    """

    def __init__(self, lines: Sequence[Labelled], seed: int = 0):
        shuffled = random.Random(seed).sample(list(lines), k=len(lines))
        cut = len(shuffled) // 4
        self.held_out, self.learned = shuffled[:cut], shuffled[cut:]
        self.model = WordClassifier(self.learned)
        missing = {line.label for line in self.held_out} - set(self.model.labels)
        if len(self.model.labels) < 2 or missing:
            raise WhenceError("A class has too few lines to learn from: give more of each.")

    def __getitem__(self, step: int) -> list[tuple[float, Any]]:
        """Give all lines to learn from as one batch, at every step."""
        return [(1.0, self.learned)]


@dataclass(frozen=True)
class Classified:
    """What a classifier of words learnt.

    Attributes:
        model: the classifier.
        losses: before each step.
        moments: measured after some of the steps.
        right: how many of the held-out lines it names rightly.
        table: how often each true label (row) was taken for each (column).
        mistakes: the most confident first.
    """

    model: WordClassifier
    losses: list[float]
    moments: list[Measured]
    right: int
    table: list[list[int]]
    mistakes: list[Mistake]

    def deciding(self, n: int = 8) -> dict[str, list[tuple[str, float]]]:
        """Return the words that speak most for each label, with their weights."""
        labels, weights = self.model.labels, self.model.weights
        if len(labels) > 2:
            return {
                label: sorted(((w, v.data) for w, v in own.items()), key=lambda x: -x[1])[:n]
                for label, own in zip(labels, weights, strict=True)
            }
        by_size = sorted(((w, v.data) for w, v in weights[0].items()), key=lambda x: x[1])
        return {labels[0]: by_size[:n], labels[1]: by_size[::-1][:n]}


def learn_classes(
    data: Divided,
    steps: int = 100,
    rate: float = 0.1,
    decay: float = 0.01,
    tell: Callable[[Measured], None] = lambda measured: None,
) -> Classified:
    """Train by Adam on all lines at once, then ask the held-out ones.

    Args:
        data: the lines and the classifier, which is trained in place.
        steps: how many.
        rate: their length.
        decay: how strongly the weights of words are held near 0.
        tell: is given each measurement as it is made.

    Example:
        >>> from whence.play.texts.labelled import labelled
        >>> found = learn_classes(Divided(labelled("spam")), steps=5)
        >>> len(found.losses), found.right
        (5, 15)
    """
    model, losses, moments = data.model, [], []

    def measure(step: int) -> None:
        moments.append(_measured(model, data.learned, decay, step))
        tell(moments[-1])

    measure(0)
    optimizer = Adam(model.parameters(), rate)
    for step, loss in train(model, data, classification_loss(decay), optimizer, range(steps)):
        losses.append(loss.data)
        if step + 1 in SHOWN | {steps}:
            measure(step + 1)
    answers = [(line, *best(model, line.text)) for line in data.held_out]
    truth, said = [line.label for line in data.held_out], [label for _, label, _ in answers]
    wrong = [Mistake(line, label, p) for line, label, p in answers if line.label != label]
    return Classified(
        model,
        losses,
        moments,
        len(answers) - len(wrong),
        confusion(truth, said, model.labels),
        sorted(wrong, key=lambda mistake: -mistake.probability),
    )


def best(model: WordClassifier, text: str) -> tuple[str, float]:
    """Return the likeliest label of a text, and its probability."""
    p = model.probabilities(text)
    k = max(range(len(p)), key=p.__getitem__)
    return model.labels[k], p[k]


def _measured(
    model: WordClassifier, lines: Sequence[Labelled], decay: float, step: int
) -> Measured:
    surprises, right = [], 0
    for line in lines:
        p, truth = model.probabilities(line.text), model.labels.index(line.label)
        surprises.append(-math.log(max(p[truth], 5e-324)))
        right += max(range(len(p)), key=p.__getitem__) == truth
    entropy = math.fsum(surprises) / len(lines)
    squares = math.fsum(w.data**2 for weights in model.weights for w in weights.values())
    return Measured(step, entropy, entropy + decay / 2.0 * squares, right / len(lines))
