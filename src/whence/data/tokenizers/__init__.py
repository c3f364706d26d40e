"""Tokenizers turn text into ids and back: five kinds behind one interface.

Read them in this order, each adds one idea: vocabulary (a table of bytes by id), bytes (the table
is given), chars (it is learnt), words (entries grow to words, and some are unknown), bpe (entries
are as long as they are frequent, and nothing is unknown), imported (the rules are read from a file
that others made).
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from whence.data.tokenizers.bpe import BPETokenizer, train_bpe
from whence.data.tokenizers.bytes import ByteTokenizer
from whence.data.tokenizers.chars import CharTokenizer, train_chars
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.data.tokenizers.vocabulary import SCHEMA
from whence.data.tokenizers.words import WordTokenizer, train_words
from whence.errors import WhenceError

LARGEST = 512 << 20  # bytes of tokenizer.json
KINDS = ("chars", "bytes", "words", "bpe")


class Tokenizer(Protocol):
    """What every tokenizer can do; the rest of the code relies on no more than this.

    Attributes:
        kind: "chars", "bytes", "words", "bpe" or "imported".
        vocab_size: number of tokens; ids are 0 … vocab_size − 1.
        dtype: the smallest of uint8, uint16 and uint32 that holds every id.
        beginning: ids that come before each text.
        ends: ids after which nothing follows.

    Example:
        >>> from whence.data.tokenizers import train_chars
        >>> tokenizer: Tokenizer = train_chars(["a cat"])
        >>> tokenizer.decode(tokenizer.encode("act"))
        'act'
    """

    kind: str
    vocab_size: int
    dtype: np.dtype
    beginning: tuple[int, ...]
    ends: tuple[int, ...]

    def encode(self, text: str) -> np.ndarray:
        """Cut text into tokens: a 1-D array of ids; WhenceError names what can't be encoded."""
        ...

    def decode(self, ids) -> str:
        """Join tokens to text."""
        ...

    def decode_bytes(self, ids) -> bytes:
        """Join tokens to UTF-8 bytes, which may end inside a character."""
        ...

    def token(self, id: int) -> str:
        """Show a token to a person."""
        ...

    def id(self, token: str) -> int:
        """Find a token's id; WhenceError names the nearest."""
        ...

    def n_bytes(self, ids) -> int:
        """Count the UTF-8 bytes that ids stand for."""
        ...

    def save(self, path: Path) -> None:
        """Write tokenizer.json."""
        ...


def train_tokenizer(
    kind: str,
    texts: Callable[[], Iterable[str]],
    vocab_size: int | None = None,
    end: bool = False,
) -> Tokenizer:
    """Learn a tokenizer from text that streams by.

    Args:
        kind: "chars" (every character of the text), "bytes" (nothing to learn), "words" (the most
            frequent ones, the rest is `<UNK>`) or "bpe" (byte-pair encoding).
        texts: a function that starts the stream of pieces of text again.
        vocab_size: for words and bpe, the number of tokens to end with at most (8192 and 4096 if
            None). Characters and bytes have the size they have.
        end: add a token that ends a document.

    Returns:
        The tokenizer.

    Raises:
        WhenceError: the kind is unknown, the size too small, or given where none can be.

    Example:
        >>> train_tokenizer("chars", lambda: ["hello"]).vocab_size
        4
    """
    if kind == "imported":
        raise WhenceError(
            "An imported tokenizer comes with its model: train from that with --from RUN, or "
            f"choose one of {', '.join(KINDS)}."
        )
    if kind not in KINDS:
        raise WhenceError(f"There is no tokenizer {kind!r}: choose one of {', '.join(KINDS)}.")
    if vocab_size is not None and kind in ("chars", "bytes"):
        raise WhenceError(f"A {kind} tokenizer takes no vocab_size: leave it out.")
    if kind == "chars":
        return train_chars(texts(), end)
    if kind == "words":
        return train_words(texts(), vocab_size, end)
    if kind == "bpe":
        return train_bpe(texts(), vocab_size, end)
    return ByteTokenizer(end)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json, our own or a byte-level BPE in Hugging Face's format.

    Args:
        path: the file.

    Returns:
        A tokenizer equal to the one that was saved.

    Raises:
        WhenceError: the file is missing, damaged, or of a newer version.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tokenizer.json"
        >>> ByteTokenizer().save(path)
        >>> load_tokenizer(path).kind
        'bytes'
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise _damaged(path, "it is too large")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WhenceError(
            f"{path} can't be read ({error.strerror}): is the run complete?"
        ) from error
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error
    try:
        record = json.loads(text)
        if "model" in record:
            return BPETokenizer(text)
        if record["schema"] > SCHEMA:
            raise WhenceError(
                f"{path} was written by a newer version of Whence (schema {record['schema']}, this "
                f"one reads up to {SCHEMA}): update Whence."
            )
        end = bool(record.get("end"))
        if record["kind"] == "chars":
            return CharTokenizer(record["chars"], end)
        if record["kind"] == "words":
            return WordTokenizer(record["pieces"], end)
        if record["kind"] == "imported":
            return ImportedTokenizer(record)
        if record["kind"] == "bytes":
            return ByteTokenizer(end)
        raise _damaged(path, f"unknown kind {record['kind']!r}")
    except WhenceError:
        raise
    except Exception as error:  # `tokenizers` raises a bare Exception for a file it can't read
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> WhenceError:
    return WhenceError(f"{path} is damaged ({str(why)[:200]}): restore it, or train again.")
