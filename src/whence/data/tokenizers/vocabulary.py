"""What all tokenizers share: a table that says which bytes each id stands for.

A tokenizer is such a table and a way of cutting text into its entries. Only the cutting differs,
and each file beside this one adds one idea to it: bytes, chars, words, bpe.
"""

import difflib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from whence.data.files import written_whole
from whence.errors import WhenceError

SCHEMA = 1  # of our tokenizer.json
END = "<|end|>"  # how the token that ends a document is shown; typed by a person it is text


def show(raw: bytes) -> str:
    r"""Write a token's bytes so that a person can read and type them.

    Printable characters stand for themselves, a newline is ``\n``, a backslash ``\\``, other
    control characters ``\x07`` or ``\u200b``, and bytes that are no whole character ``\xe2``.
    Different bytes are always shown differently.

    Example:
        >>> print(show(b" the"), show(b"\n"), show("é".encode()), show("é".encode()[:1]))
         the \n é \xc3
    """
    text = raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if char in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Vocabulary:
    """The ids of a tokenizer and the bytes they stand for; `encode` is what its children add.

    Args:
        table: the bytes of each token, by id.
        end: add a last token that ends a document.

    Attributes:
        vocab_size: number of tokens.
        dtype: the smallest of uint8, uint16 and uint32 that holds every id.
        beginning: ids that come before each text; of a tokenizer trained here, none.
        ends: ids after which nothing follows: of a tokenizer trained here, the token that ends a
            document, where it has one. It stands for no bytes.

    Example:
        >>> Vocabulary([b"a", b"b"]).decode([1, 0, 1])
        'bab'
    """

    kind: str
    beginning: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    def __init__(self, table: Sequence[bytes], end: bool = False):
        self.table = [*table, *([b""] if end else [])]
        self.ends = (len(self.table) - 1,) if end else ()
        self.vocab_size = len(self.table)
        self.dtype = np.min_scalar_type(max(self.vocab_size - 1, 0))
        self._lengths = np.array([len(raw) for raw in self.table], dtype=np.int64)

    def decode(self, ids) -> str:
        """Join the tokens' bytes and read them as UTF-8; half a character is shown as �.

        Raises:
            WhenceError: an id isn't in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids) -> bytes:
        """Join the tokens' bytes, for those who write half characters as they come.

        Raises:
            WhenceError: an id isn't in the vocabulary.
        """
        table = self.table
        return b"".join([table[number] for number in self._known(ids).tolist()])

    def n_bytes(self, ids) -> int:
        """Count the UTF-8 bytes that these ids stand for (`<UNK>` counts as written).

        Raises:
            WhenceError: an id isn't in the vocabulary.
        """
        ids = self._known(ids)
        blocks = (ids[start : start + (1 << 20)] for start in range(0, ids.size, 1 << 20))
        return sum(int(self._lengths[block].sum()) for block in blocks)

    def token(self, id: int) -> str:
        r"""Show the token of an id to a person (a newline as ``\n``).

        Raises:
            WhenceError: the id isn't in the vocabulary.
        """
        return self._shown(int(self._known([id])[0]))

    def _shown(self, id: int) -> str:
        return show(self.table[id]) if self.table[id] or id not in self.ends else END

    def id(self, token: str) -> int:
        """Find the id of a token, written as `token` shows it or as it is in the text.

        Raises:
            WhenceError: there is no such token; the nearest ones are named.
        """
        shown = self._ids_by_name
        found = shown.get(token)
        if found is None:
            found = shown.get(show(token.encode("utf-8", "surrogatepass")))
        if found is None:
            near = difflib.get_close_matches(token, shown, n=3, cutoff=0.5)
            hint = f" The nearest: {', '.join(map(repr, near))}." if near else ""
            raise WhenceError(f"{token!r} isn't a token of this {self.kind} tokenizer.{hint}")
        return found

    def encode(self, text: str) -> np.ndarray:
        """Cut text into tokens: a 1-D array of ids."""
        raise NotImplementedError  # each kind cuts in its own way; the bytes of ids are common

    def save(self, path: Path) -> None:
        """Write the tokenizer as JSON with its schema version, whole or not at all.

        Raises:
            WhenceError: the file can't be written.
        """
        end = {"end": True} if self.ends else {}
        record = {"schema": SCHEMA, "kind": self.kind, **self._record(), **end}
        with written_whole(Path(path)) as file:
            file.write((json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8"))

    def _record(self) -> dict:
        """What the file holds beside the kind."""
        return {}

    @property
    def longest(self) -> int | None:
        """The most bytes of text that a token stands for; None where one may stand for any text."""
        return int(self._lengths.max(initial=0)) or None

    @property
    def lost(self) -> bytes:
        """Bytes of a text that no token stands for, and that are left out."""
        return b""

    @cached_property
    def _ids_by_name(self) -> dict[str, int]:
        return {self._shown(number): number for number in range(self.vocab_size)}

    def _known(self, ids) -> np.ndarray:
        known = np.asarray(ids).reshape(-1)
        if known.size == 0:
            return known.astype(self.dtype)
        low, high = int(known.min()), int(known.max())
        if low < 0 or high >= self.vocab_size:
            raise WhenceError(
                f"Token {low if low < 0 else high} isn't in the vocabulary, "
                f"whose ids are 0 … {self.vocab_size - 1}."
            )
        return known
