"""An n-gram model of sentences, counted from a text in plain words: each count can be looked up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from whence.errors import WhenceError
from whence.models.ngram.config import NGramConfig
from whence.models.ngram.model import NGram

START, END, UNKNOWN = "<START>", "<END>", "<UNK>"
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
ENDS = re.compile(r"(?<=[.!?])\s+|\n\s*\n")


def sentences(text: str, lower: bool = False, lines: bool = False) -> list[list[str]]:
    """Cut a text into sentences of words and marks; the mark that ends one isn't a word of it.

    Args:
        text: prose, or with `lines` a sentence on each line.
        lower: take "The" and "the" for the same word.
        lines: a line break ends a sentence, and nothing else does.

    Example:
        >>> sentences("I like to eat. I like pizza.")
        [['I', 'like', 'to', 'eat'], ['I', 'like', 'pizza']]
    """
    pieces = text.splitlines() if lines else ENDS.split(text)
    found = [WORD.findall(piece.lower() if lower else piece) for piece in pieces]
    if not lines:
        found = [words[:-1] if words[-1:] and words[-1] in ".!?" else words for words in found]
    return [words for words in found if words]


@dataclass(frozen=True)
class Step:
    """One factor of a sentence's probability.

    Attributes:
        context: the words before, as far back as the model looks.
        word: what is said.
        count: how often it followed them in the text.
        total: how often anything did.
        p: P(word | context).
    """

    context: tuple[str, ...]
    word: str
    count: int
    total: int
    p: float


class SentenceCounts:
    """P(word | the words before) = (count + k) / (total + k · outcomes), with start and end marks.

    The outcomes are the text's words, the end of the sentence, and with `unknown` `<UNK>`, which
    stands for any other word. The start mark is read and never said.

    Args:
        text: sentences of words.
        order: 2 looks at the word before, 3 at two, and so on.
        k: what is added to each count; 0: maximum likelihood.
        unknown: there are words besides the text's.

    Raises:
        WhenceError: no sentences, or a setting that can't be.

    Example:
        >>> counts = SentenceCounts(sentences("I like to eat. I like pizza."))
        >>> round(counts.p("I", "like"), 6), round(counts.p("like", "pizza"), 6)
        (1.0, 0.5)
        >>> smooth = SentenceCounts(sentences("I like to eat. I like pizza."), k=1)
        >>> round(smooth.p("I", "like"), 6)  # 3/8
        0.375
    """

    def __init__(
        self, text: Sequence[Sequence[str]], order: int = 2, k: float = 0.0, unknown: bool = False
    ) -> None:
        if not text:
            raise WhenceError("there are no sentences to count: give a text with words in it.")
        if k < 0:
            raise WhenceError(f"{k:g} can't be added to a count: give 0 or more.")
        self.sentences, self.order, self.k = [list(words) for words in text], order, k
        known = dict.fromkeys(word for words in self.sentences for word in words)
        self.outcomes = [*known, END, *([UNKNOWN] if unknown else [])]
        self.ids = {word: i for i, word in enumerate([START, *self.outcomes])}
        smoothing = (
            NGramConfig(order=order, smoothing="add-k", k=k)
            if k
            else NGramConfig(order=order, smoothing="mle")
        )
        stream = [self.ids[w] for words in self.sentences for w in (START, *words, END)]
        self.model = NGram(smoothing, len(self.ids), start=0).fit(np.array(stream))

    def distribution(self, *context: str) -> list[Step]:
        """P of each outcome after some words, the likeliest first; none: after the start mark.

        Raises:
            WhenceError: a word that isn't in the text, if there is no `<UNK>`.
        """
        before = self._context(context)
        ids = np.array([[self.ids[w] for w in before]], dtype=np.int64)
        p = np.exp(self.model.log_probs(ids)[0].astype(np.float64))
        counts = [self.model.count((*ids[0].tolist(), self.ids[w])) for w in self.outcomes]
        steps = [
            Step(before, w, count, sum(counts), float(p[self.ids[w]]))
            for w, count in zip(self.outcomes, counts, strict=True)
        ]
        return sorted(steps, key=lambda step: -step.p)

    def p(self, *words: str) -> float:
        """P(the last word | those before it)."""
        *context, word = words
        return next(s.p for s in self.distribution(*context) if s.word == self._known(word))

    def steps(self, words: Sequence[str]) -> list[Step]:
        """The factors of a sentence's probability, from its first word to its end."""
        said = [*words, END]
        return [
            next(s for s in self.distribution(*said[:i]) if s.word == self._known(word))
            for i, word in enumerate(said)
        ]

    def write(self, generator: np.random.Generator, longest: int = 50) -> list[str]:
        """Draw a sentence, word after word."""
        words: list[str] = []
        while len(words) < longest:
            steps = self.distribution(*words)
            p = np.array([s.p for s in steps])
            word = steps[int(generator.choice(len(p), p=p / p.sum()))].word
            if word == END:
                break
            words.append(word)
        return words

    @cached_property
    def contexts(self) -> list[tuple[str, ...]]:
        """The contexts that the text has, the most frequent first."""
        found: dict[tuple[str, ...], int] = {}
        for words in self.sentences:
            for i in range(len(words) + 1):
                context = self._context(words[:i])
                found[context] = found.get(context, 0) + 1
        return sorted(found, key=lambda context: -found[context])

    def _context(self, words: Sequence[str]) -> tuple[str, ...]:
        before = [START, *(self._known(word) for word in words if word != START)]
        return tuple(before[max(0, len(before) - self.order + 1) :]) if self.order > 1 else ()

    def _known(self, word: str) -> str:
        if word in self.ids:
            return word
        if UNKNOWN in self.ids:
            return UNKNOWN
        raise WhenceError(
            f"the text has no word {word!r}: with --unknown any other word is {UNKNOWN}."
        )
