"""Characters: like bytes, but the table is learnt, the sorted characters of the text itself.

A token is now always a whole character, and the vocabulary is as small as the text allows; the
price is that a character the text never had can't be written at all.
"""

import sys
from collections.abc import Iterable

import numpy as np

from whence.data.tokenizers.vocabulary import Vocabulary
from whence.errors import WhenceError


class CharTokenizer(Vocabulary):
    """Each character is a token; ids follow the order of code points.

    Args:
        chars: the characters of the vocabulary; they are sorted, each once.
        end: add a token that ends a document.

    Example:
        >>> tokenizer = CharTokenizer("hello")
        >>> tokenizer.encode("hole").tolist(), tokenizer.vocab_size
        ([1, 3, 2, 0], 4)
    """

    kind = "chars"

    def __init__(self, chars: Iterable[str], end: bool = False):
        self.chars = "".join(sorted(set(chars)))
        super().__init__([char.encode("utf-8") for char in self.chars], end)
        # One more entry than the highest code point: the place of every character beyond it.
        codes = _code_points(self.chars)
        self._id_of = np.zeros(int(codes.max(initial=0)) + 2, dtype=self.dtype)
        self._id_of[codes] = np.arange(len(self.chars))
        self._is_known = np.zeros(self._id_of.size, dtype=bool)
        self._is_known[codes] = True

    def encode(self, text: str) -> np.ndarray:
        """Look each character up.

        Raises:
            WhenceError: a character isn't in the vocabulary; it is named with its place.
        """
        codes = _code_points(text)
        known = self._is_known.take(codes, mode="clip")
        if not known.all():
            raise self._unknown(text, int(np.argmin(known)))
        return self._id_of.take(codes, mode="clip")

    def split_unknown(self, text: str) -> tuple[str, str]:
        """Return the characters of a text that are in the vocabulary, and those that aren't.

        Example:
            >>> CharTokenizer("hello").split_unknown("hole!?")
            ('hole', '!?')
        """
        known = self._is_known.take(_code_points(text), mode="clip")
        if known.all():
            return text, ""
        pairs = list(zip(text, known.tolist(), strict=True))
        return "".join(c for c, k in pairs if k), "".join(c for c, k in pairs if not k)

    def _unknown(self, text: str, offset: int) -> WhenceError:
        line = text.count("\n", 0, offset) + 1
        column = offset - (text.rfind("\n", 0, offset) + 1) + 1
        return WhenceError(
            f"The character {text[offset]!r} (U+{ord(text[offset]):04X}) at offset {offset}, "
            f"line {line}, column {column} isn't among the {len(self.chars)} characters this "
            "tokenizer was made from: leave it out, or train with bytes or bpe, "
            "which know every character."
        )

    def _record(self) -> dict:
        return {"chars": self.chars}


def _code_points(text: str) -> np.ndarray:
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def train_chars(texts: Iterable[str], end: bool = False) -> CharTokenizer:
    """Collect the characters of a stream of text."""
    seen = np.zeros(sys.maxunicode + 1, dtype=bool)
    for text in texts:
        seen[_code_points(text)] = True
    return CharTokenizer(map(chr, np.flatnonzero(seen)), end)
