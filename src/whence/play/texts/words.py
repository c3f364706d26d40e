"""Text in classes by its words: the smallest classifier that can explain itself.

A line's score for a class is the class's bias plus one weight for each of its words. Two classes
need one score, squeezed by σ; more have one each, and softmax between them.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from whence.errors import WhenceError
from whence.receipt import Receipt
from whence.scalar.functions import (
    binary_cross_entropy,
    cross_entropy,
    mean,
    softmax,
    total,
)
from whence.scalar.value import Value


class Labelled(NamedTuple):
    """A line of text with its class."""

    label: str
    text: str


def words(text: str) -> list[str]:
    """Return the different words of a line; every number is `#`, and £ $ € ! ? count as words.

    Example:
        >>> words("Win £500 now! Now!")
        ['win', '£', '#', 'now', '!']
    """
    found = re.findall(r"[£$€!?]|\d[\d.,:]*|[^\W\d_][\w']*|[^\s\w]", text.lower())
    return list(dict.fromkeys("#" if word[0].isdigit() else word for word in found))


def read_labelled(path: str | Path) -> list[Labelled]:
    """Read lines of `label, tab, text`, or of a CSV `label,text`.

    Raises:
        WhenceError: if the file cannot be read, a line has no label or no text, or all lines are of
            one class.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise WhenceError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise WhenceError(
            f"{path} is not UTF-8 text (byte {error.start}): save it in UTF-8."
        ) from None
    first = next((line for line in lines if line.strip()), "")
    delimiter = "\t" if "\t" in first else ","
    found = []
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    for number, row in enumerate(csv.reader(lines, delimiter=delimiter, quoting=quoting), start=1):
        if not any(cell.strip() for cell in row):
            continue
        label, text = row[0].strip(), delimiter.join(row[1:]).strip()
        if not (label and text):
            raise WhenceError(
                f"{path}, row {number}: a line must be a label, a tab (or a comma) and a text."
            )
        found.append(Labelled(label, text))
    check_labelled(found, str(path))
    return found


def check_labelled(lines: Sequence[Labelled], source: str) -> None:
    """Refuse lines that nothing can be learnt from.

    Raises:
        WhenceError: if they are of one class, or of nearly as many as there are lines.
    """
    classes = {line.label for line in lines}
    if len(classes) < 2:
        found = f"{len(classes)} class{'es' * (len(classes) != 1)} in {len(lines)} lines"
        raise WhenceError(f"{source} has {found}: give two or more.")
    if len(classes) > len(lines) / 2:
        raise WhenceError(
            f"{source} has {len(classes)} different labels in {len(lines)} lines; "
            "is the first column the label?"
        )


class WordClassifier:
    """Scores of classes by words, on `Value`s.

    Args:
        lines: the text to learn from; its words and labels are the model's.
        least: how often a word must occur to get a weight.

    Example:
        >>> model = WordClassifier([Labelled("spam", "win win"), Labelled("ham", "hello")])
        >>> model.labels, [w.label for w in model.parameters()]
        (['ham', 'spam'], ['bias', 'hello', 'win'])
    """

    def __init__(self, lines: Sequence[Labelled], least: int = 1) -> None:
        counts = Counter(word for line in lines for word in words(line.text))
        self.labels = sorted({line.label for line in lines})
        self.vocabulary = sorted(word for word, n in counts.items() if n >= least)
        # With two classes the score is for the second label, and the first one's is 0.
        scored = self.labels[1:] if len(self.labels) == 2 else self.labels
        prefix = "" if len(self.labels) == 2 else "{label}:"
        self.biases = [Value(0.0, label=prefix.format(label=name) + "bias") for name in scored]
        self.weights = [
            {word: Value(0.0, label=prefix.format(label=name) + word) for word in self.vocabulary}
            for name in scored
        ]

    def __call__(self, text: str | Sequence[str]) -> list[Value]:
        """Return the scores of a line or of its words: one of two classes, else one of each."""
        found = words(text) if isinstance(text, str) else text
        known = [word for word in found if word in self.weights[0]]
        return [
            total([bias, *(weights[word] for word in known)])
            for bias, weights in zip(self.biases, self.weights, strict=True)
        ]

    def parameters(self) -> list[Value]:
        """Return the biases and weights, class after class."""
        pairs = zip(self.biases, self.weights, strict=True)
        return [p for bias, weights in pairs for p in (bias, *weights.values())]

    def probabilities(self, text: str) -> list[float]:
        """Return the probability of each label."""
        scores = self(text)
        if len(scores) == 1:
            p = scores[0].sigmoid().data
            return [1.0 - p, p]
        return [p.data for p in softmax(scores)]

    def why(self, text: str, label: str) -> Receipt:
        """Return the receipt of a label's score: the bias and the weights of the words.

        Two classes have one score between them, for the second label.
        """
        k = self.labels.index(label)
        scores = self(text)
        score = scores[k] if len(scores) > 1 else scores[0]
        score.label = f"score for {label if len(scores) > 1 else self.labels[1]}"
        return score.why()


def classification_loss(decay: float = 0.0):
    """Return a loss: the mean cross-entropy of lines, plus decay/2 · Σ weight².

    The second part keeps weights of rare words small; biases are left free.

    Args:
        decay: how strong that is. 1 / (C · lines) is scikit-learn's C.
    """

    def loss(model: WordClassifier, lines: Sequence[Labelled]) -> Value:
        losses = []
        for line in lines:
            scores, k = model(line.text), model.labels.index(line.label)
            single = len(scores) == 1
            losses.append(
                binary_cross_entropy(scores[0], k) if single else cross_entropy(scores, k)
            )
        error = mean(losses)
        if not decay:
            return error
        squares = total(w * w for weights in model.weights for w in weights.values())
        return error + squares * (decay / 2.0)

    return loss


def confusion(truth: Sequence[str], said: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Return how often each label (row) was taken for each (column).

    Example:
        >>> confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])
        [[1, 1], [0, 1]]
    """
    counts = Counter(zip(truth, said, strict=True))
    return [[counts[row, column] for column in labels] for row in labels]
