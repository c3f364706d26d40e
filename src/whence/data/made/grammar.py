"""A source of text whose entropy is known exactly: a probabilistic context-free grammar.

Text is a sequence of stories, each derived again from the same symbol. Because every string has one
derivation, the entropy of a story is the entropy of its derivation, and that is the solution of a
linear system: no model of any kind can write the text down in fewer bits per byte on average.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from whence.data.permutation import hash64
from whence.errors import WhenceError

_MASK = (1 << 64) - 1
_GOLDEN, _M1, _M2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BLOCK = 4096  # random numbers drawn at a time
_SYMBOL = re.compile(r"<([^<>]*)>")


@dataclass(frozen=True)
class _Alternative:
    """One way to rewrite a symbol: pieces of text and indices of symbols, in order."""

    items: tuple[str | int, ...]
    bits: float  # −log₂ of its probability


class Grammar:
    """A probabilistic context-free grammar that writes text and knows its entropy.

    Each symbol has alternatives with integer weights; `<name>` in an alternative stands for a
    symbol, all else for itself. P(alternative) = weight / Σ weights of its symbol. A text is story
    after story, each derived from the start symbol by independent choices.

    A choice must show in the text at once: among the pieces of text that a symbol's alternatives
    can begin with, no one may begin another of a different alternative. From this it follows, by
    induction over the choices from left to right, that each text has at most one derivation. The
    constructor checks it, so a `Grammar` is never ambiguous.

    Args:
        rules: for each symbol, its alternatives and their weights.
        start: the symbol of a whole story.

    Raises:
        WhenceError: a rule is empty, has a weight below 1, text that isn't ASCII, an unknown or
            left-recursive symbol, alternatives that can't be told apart at their beginning, or
            stories that grow without end.

    Example:
        >>> coins = Grammar({"toss": {"heads. ": 1, "tails. ": 1}}, start="toss")
        >>> coins.entropy_rate()  # one bit for seven bytes
        0.14285714285714285
        >>> coins.log2_probability("heads. tails. he")
        -3.0

    Source: Grenander (1976), Pattern synthesis, and Soule (1974), Entropies of probabilistic
    grammars, for the linear system.
    """

    def __init__(self, rules: Mapping[str, Mapping[str, int]], start: str):
        self.names = list(rules)
        number = {name: i for i, name in enumerate(self.names)}
        if start not in number:
            raise WhenceError(f"The grammar has no rule for its start symbol <{start}>.")
        self.start = number[start]
        self._alternatives: list[list[_Alternative]] = []
        self._weights: list[list[int]] = []
        for name, alternatives in rules.items():
            weights = list(alternatives.values())
            if not weights or min(weights) < 1:
                raise WhenceError(f"<{name}> needs alternatives, each with a weight of at least 1.")
            self._weights.append(weights)
            self._alternatives.append(
                [
                    _Alternative(_items(name, text, number), math.log2(sum(weights) / weight))
                    for text, weight in alternatives.items()
                ]
            )
        self._beginnings = self._all_beginnings()
        self._bits, self._bytes = self._expectations()

    def entropy_rate(self) -> float:
        """Entropy of the text in bits per byte: H(story) / E[bytes of a story].

        With p the probabilities of a symbol's alternatives, h = −Σ p log₂ p + Σ p·(h of the
        symbols in them), and the expected bytes likewise: two linear systems with one matrix.
        """
        return float(self._bits[self.start] / self._bytes[self.start])

    def bits_per_story(self) -> float:
        """Entropy of one story, bits."""
        return float(self._bits[self.start])

    def bytes_per_story(self) -> float:
        """Expected length of one story, bytes."""
        return float(self._bytes[self.start])

    def text(self, n_bytes: int, seed: int) -> str:
        """The first `n_bytes` bytes of the text of this seed; its last story is cut off.

        The choices come from SplitMix64 by integer arithmetic, so the text of a seed is the same
        on every machine and with every version of any library, and a longer text continues a
        shorter one.

        Raises:
            WhenceError: `n_bytes` is negative.

        Example:
            >>> Grammar({"toss": {"heads. ": 1, "tails. ": 1}}, start="toss").text(18, seed=1)
            'heads. tails. tail'
        """
        return "".join(self.stream(n_bytes, seed))

    def stream(self, n_bytes: int, seed: int) -> Iterator[str]:
        """The same text in pieces of some kilobytes, for texts longer than memory."""
        if n_bytes < 0:
            raise WhenceError(f"n_bytes is {n_bytes}: a text has 0 bytes or more.")
        numbers = _random_numbers(seed)
        cumulative = [list(accumulate(weights)) for weights in self._weights]
        reversed_items = [[a.items[::-1] for a in each] for each in self._alternatives]
        stack: list[str | int] = []
        piece: list[str] = []
        size = 0
        while n_bytes > 0:
            item = stack.pop() if stack else self.start
            if isinstance(item, str):
                piece.append(item)
                size += len(item)
                if size >= min(n_bytes, 1 << 14):
                    yield "".join(piece)[:n_bytes]
                    n_bytes -= min(size, n_bytes)
                    piece, size = [], 0
            else:
                bounds = cumulative[item]
                draw = next(numbers) * bounds[-1] >> 64
                chosen = 0
                while bounds[chosen] <= draw:
                    chosen += 1
                stack.extend(reversed_items[item][chosen])

    def log2_probability(self, text: str) -> float:
        """Log₂ of the probability that the source's text begins with `text`; −inf if it can't.

        The text may stop anywhere; the ways in which its last piece could go on are added up.
        log2_probability(a + b) − log2_probability(a) is what b costs a reader who knows the
        grammar and has read a: the best that any model can do on that very text.

        Example:
            >>> Grammar({"toss": {"heads. ": 3, "tails. ": 1}}, start="toss").log2_probability("t")
            -2.0
        """
        bits, at, end = 0.0, 0, len(text)
        stack: list[str | int] = []
        while at < end:
            item = stack.pop() if stack else self.start
            if isinstance(item, str):
                if not text.startswith(item, at):
                    return -bits if item.startswith(text[at:]) else -math.inf
                at += len(item)
                continue
            pattern, alternative_of = self._readers[item]
            found = pattern.match(text, at)
            if found is None:
                tail = text[at:]
                p = sum(
                    2.0 ** -(self._alternatives[item][a].bits) * chance
                    for piece, (a, chance) in self._beginnings[item].items()
                    if piece.startswith(tail)
                )
                return math.log2(p) - bits if p else -math.inf
            alternative = self._alternatives[item][alternative_of[found[0]]]
            bits += alternative.bits
            stack.extend(alternative.items[::-1])
        return -bits

    @cached_property
    def _readers(self) -> list[tuple[re.Pattern[str], dict[str, int]]]:
        """For each symbol: what it can begin with, and which alternative that tells."""
        return [
            (
                re.compile("|".join(map(re.escape, beginnings))),
                {piece: alternative for piece, (alternative, _) in beginnings.items()},
            )
            for beginnings in self._beginnings
        ]

    def _all_beginnings(self) -> list[dict[str, tuple[int, float]]]:
        """For each symbol and each piece it can begin with: the alternative, P(piece | it)."""
        found: dict[int, dict[str, tuple[int, float]]] = {}

        def beginnings(symbol: int, above: tuple[int, ...]) -> dict[str, tuple[int, float]]:
            if symbol in above:
                raise WhenceError(f"<{self.names[symbol]}> can begin with itself: it never ends.")
            if symbol not in found:
                mine: dict[str, tuple[int, float]] = {}
                for a, alternative in enumerate(self._alternatives[symbol]):
                    first = alternative.items[0]
                    if isinstance(first, str):
                        pieces = {first: 1.0}
                    else:
                        pieces = {
                            piece: 2.0 ** -self._alternatives[first][inner].bits * chance
                            for piece, (inner, chance) in beginnings(
                                first, (*above, symbol)
                            ).items()
                        }
                    self._check_apart(symbol, mine, pieces)
                    mine.update({piece: (a, chance) for piece, chance in pieces.items()})
                found[symbol] = mine
            return found[symbol]

        return [beginnings(symbol, ()) for symbol in range(len(self.names))]

    def _check_apart(
        self, symbol: int, known: Mapping[str, object], pieces: Mapping[str, object]
    ) -> None:
        for piece in pieces:
            for other in known:
                if piece.startswith(other) or other.startswith(piece):
                    raise WhenceError(
                        f"Two alternatives of <{self.names[symbol]}> can't be told apart at their "
                        f"beginning: {other!r} and {piece!r}."
                    )

    def _expectations(self) -> tuple[np.ndarray, np.ndarray]:
        """Entropy and expected bytes of what each symbol derives."""
        n = len(self.names)
        uses = np.zeros((n, n))  # expected number of each symbol in one rewriting
        own = np.zeros((n, 3))  # bits of the choice itself; bytes of its own text; rewritings
        own[:, 2] = 1
        for symbol, alternatives in enumerate(self._alternatives):
            for alternative in alternatives:
                p = 2.0**-alternative.bits
                own[symbol, 0] += p * alternative.bits
                for item in alternative.items:
                    if isinstance(item, str):
                        own[symbol, 1] += p * len(item)
                    else:
                        uses[symbol, item] += p
        try:
            bits, length, rewritings = np.linalg.solve(np.eye(n) - uses, own).T
        except np.linalg.LinAlgError:
            bits = length = rewritings = np.array([math.inf])
        # I − U has a positive answer to the all-ones vector only if the expectations are finite.
        if not (np.isfinite(rewritings).all() and (rewritings > 0).all()):
            raise WhenceError("The grammar's stories grow without limit: lower a recursive weight.")
        return bits, length


def _items(name: str, text: str, number: Mapping[str, int]) -> tuple[str | int, ...]:
    items: list[str | int] = []
    for i, part in enumerate(_SYMBOL.split(text)):
        if i % 2 == 0:
            if part:
                items.append(part)
        elif part in number:
            items.append(number[part])
        else:
            raise WhenceError(f"<{name}> refers to <{part}>, which has no rule.")
    if not items or not text.isascii():
        raise WhenceError(f"<{name}> has an alternative that is empty or isn't ASCII: {text!r}.")
    return tuple(items)


def _random_numbers(seed: int) -> Iterator[int]:
    """SplitMix64: integers of 64 bits, the same everywhere."""
    state = hash64(seed, 0x67726D72)
    steps = np.arange(1, _BLOCK + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    while True:
        z = np.uint64(state) + steps
        z = (z ^ (z >> np.uint64(30))) * np.uint64(_M1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(_M2)
        yield from (z ^ (z >> np.uint64(31))).tolist()
        state = state + _BLOCK * _GOLDEN & _MASK
