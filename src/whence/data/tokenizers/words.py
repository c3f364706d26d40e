r"""Words: like characters, but a token is a whole word, with the space before it if there is one.

A piece of text is a word with its inner apostrophes (`don't`), a single mark of punctuation, each
with at most one space before it, or a run of white space up to the next piece. Pieces beyond the
most frequent ones are unknown: first their space is split off, then what is left is `<UNK>`, so
only the unknown word itself is lost and all white space stays.
"""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from whence.data.tokenizers.vocabulary import Vocabulary
from whence.errors import WhenceError

UNKNOWN_ID = 0
UNKNOWN = "<UNK>"  # no piece of text is spelt so: a mark of punctuation is a piece of its own
PIECE = re.compile(r" ?\w+(?:['’]\w+)*| ?[^\w\s]|\s+(?= \S)|\s+")
DEFAULT_SIZE = 8192


class WordTokenizer(Vocabulary):
    """Each frequent word is a token, id 0 is `<UNK>`.

    Args:
        pieces: the known pieces, by id from 1 on.
        end: add a token that ends a document.

    Example:
        >>> tokenizer = WordTokenizer([" ", "I", " like", " pizza", "."])
        >>> tokenizer.decode(tokenizer.encode("I like sushi."))
        'I like <UNK>.'
    """

    kind = "words"

    def __init__(self, pieces: Iterable[str], end: bool = False):
        self.pieces = list(pieces)
        super().__init__([piece.encode("utf-8") for piece in [UNKNOWN, *self.pieces]], end)
        self._id_of = {piece: number for number, piece in enumerate(self.pieces, start=1)}

    @property
    def longest(self) -> int | None:
        """None: an unknown word of any length is one token."""
        return None

    def encode(self, text: str) -> np.ndarray:
        """Cut text into pieces and look each up; what isn't known becomes `<UNK>` (id 0)."""
        pieces = PIECE.findall(text)
        ids = list(map(self._id_of.get, pieces))
        if None in ids:
            ids = [number for piece in pieces for number in self._finer(piece)]
        return np.array(ids, dtype=self.dtype)

    def _finer(self, piece: str) -> list[int]:
        """Look a piece up; if it is unknown, its characters (white space) or space and word."""
        known = self._id_of
        if piece in known:
            return [known[piece]]
        if piece.isspace():
            return [known.get(char, 0) for char in piece]
        if piece[0] == " ":
            return [known.get(" ", 0), known.get(piece[1:], 0)]
        return [0]

    def _record(self) -> dict:
        return {"pieces": self.pieces}


def train_words(texts: Iterable[str], vocab_size: int | None, end: bool = False) -> WordTokenizer:
    """Count the pieces of a stream of text and keep the most frequent ones.

    The single white-space characters that occur are always kept, so that only words can be unknown.

    Args:
        texts: the stream.
        vocab_size: at most so many tokens, `<UNK>` included; 8192 if None.
        end: one of them ends a document.

    Raises:
        WhenceError: `vocab_size` is too small for `<UNK>`, the white space and one word.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(PIECE.findall(text))
    spaces = {" ", *(char for piece in counts if piece.isspace() for char in piece)}
    room = (vocab_size or DEFAULT_SIZE) - 1 - len(spaces) - end
    if room < 1:
        raise WhenceError(
            f"A words vocabulary of {vocab_size} is too small: the text needs at least "
            f"{len(spaces) + 2} (<UNK>, its {len(spaces)} kinds of white space, one word)."
        )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    frequent = [piece for piece, _ in ranked if piece not in spaces]
    return WordTokenizer([*sorted(spaces), *frequent[:room]], end)
