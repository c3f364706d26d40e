"""Where in the training text a token of a batch is: which line, or which pair."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from whence.data import Dataset, Part
from whence.data.labels import LabelledPart
from whence.data.tokenizers import Tokenizer

BLOCK = 1 << 20  # tokens whose line breaks are counted at a time


class Lines:
    r"""Counts the line breaks before each place of a text's tokens.

    Args:
        tokens: 1-D ids.
        tokenizer: what they mean.

    Example:
        >>> from whence.data import train_tokenizer
        >>> text = "one\ntwo\nthree"
        >>> tokenizer = train_tokenizer("chars", lambda: [text])
        >>> Lines(tokenizer.encode(text), tokenizer).at(np.array([0, 4, 8]))
        array([1, 2, 3])
    """

    def __init__(self, tokens: np.ndarray, tokenizer: Tokenizer):
        self.tokens = tokens
        one = range(tokenizer.vocab_size)
        self.breaks = np.array([tokenizer.decode_bytes([i]).count(b"\n") for i in one])
        self._before = [0]  # line breaks before each block, as far as they were needed

    def at(self, places: np.ndarray) -> np.ndarray:
        """Say on which line each place lies; the first is 1."""
        return np.array([self._line(int(place)) for place in places])

    def window(self, start: int, length: int) -> np.ndarray:
        """Say on which line each token of a window lies."""
        inside = np.cumsum(self.breaks[self.tokens[start : start + length]])
        return self._line(start) + np.concatenate([[0], inside[:-1]])

    def _line(self, place: int) -> int:
        block = place // BLOCK
        while len(self._before) <= block:
            end = len(self._before) * BLOCK
            self._before.append(self._before[-1] + self._count(end - BLOCK, end))
        return 1 + self._before[block] + self._count(block * BLOCK, place)

    def _count(self, start: int, stop: int) -> int:
        return int(self.breaks[self.tokens[start:stop]].sum())


def places(
    dataset: Dataset, parts: Sequence[Part | LabelledPart], each: str = ""
) -> Callable[[int, int], str]:
    """Say for (example, position) of a batch where in the training text that token is.

    Args:
        dataset: the text.
        parts: the parts of the batch; examples are counted over all of them.
        each: what the examples are where they are whole lines, such as "pair", and `starts` holds
            their numbers.

    Returns:
        A function that gives such as `line 812 of topics`.

    Example:
        >>> places(Run.open("runs/mine").dataset, [part])(0, 5)  # doctest: +SKIP
        'line 812 of topics'
    """
    name = Path(dataset.source).name
    starts = [int(start) for part in parts for start in part.starts]
    if each:
        return lambda row, position: f"{each} {starts[row]:,} of {name}"
    starts_on = [line for _, line in dataset.files]
    lines, length = Lines(dataset.train, dataset.tokenizer), parts[0].inputs.shape[1]
    known: dict[int, np.ndarray] = {}

    def where(row: int, position: int) -> str:
        if row not in known:
            known[row] = lines.window(starts[row], length)
        line = int(known[row][position])
        if not starts_on:
            return f"line {line:,} of {name}"
        file, begins = dataset.files[max(bisect_right(starts_on, line) - 1, 0)]
        return f"line {line - begins + 1:,} of {Path(file).name}"

    return where
