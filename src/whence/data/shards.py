"""Text as ids on disk: tokenised once, mapped into memory, split by position."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from whence.data.files import is_hollow, written_whole
from whence.data.parallel import encoded
from whence.data.sources import Source
from whence.data.tokenizers import Tokenizer, load_tokenizer, train_tokenizer
from whence.errors import WhenceError

SCHEMA = 1  # of tokens.json
LONGEST_WORD = 1000  # characters that are looked back over for the start of a word
LARGEST = 64 << 20  # bytes of tokens.json, which names every file of the text


@dataclass(frozen=True)
class Dataset:
    """Tokens of a text, its first part to train on and its last part to validate on.

    Attributes:
        train: ids of the training part, mapped from disk, read-only.
        validation: ids of the validation part; empty if none was split off.
        tokenizer: what the ids mean.
        source: the name of the text.
        sha256: of the text's UTF-8 bytes.
        n_bytes_train: UTF-8 bytes of text behind `train`.
        n_bytes_validation: UTF-8 bytes of text behind `validation` (unknown words at their true
            length), the denominator of bits per byte.
        tokens_sha256: of tokens.bin.
        files: of a text of several files, the name of each and the line that it begins on.
    """

    train: np.ndarray
    validation: np.ndarray
    tokenizer: Tokenizer
    source: str
    sha256: str
    n_bytes_train: int
    n_bytes_validation: int
    tokens_sha256: str
    files: tuple[tuple[str, int], ...] = ()

    def bytes_behind(self, tokens: np.ndarray) -> int:
        """Say how many UTF-8 bytes of the validation text its tokens stand for.

        Exact where a token says what it stands for; for words, unknown ones count as long as they
        are on the average.
        """
        return round(self.tokenizer.n_bytes(tokens) * self._stretch)

    @cached_property
    def _stretch(self) -> float:
        told = self.tokenizer.n_bytes(self.validation)
        return self.n_bytes_validation / told if told else 1.0


def prepare(
    source: Source,
    kind: str,
    vocab_size: int | None,
    validation: float,
    folder: Path,
    tokenizer: Tokenizer | None = None,
    validation_source: Source | None = None,
) -> Dataset:
    """Tokenise a text once into a folder: tokenizer.json, tokens.bin and, last, tokens.json.

    The text is split by position, in the same place for every tokenizer so that their bits per byte
    can be compared: of n characters the first int((1 − validation)·n) are for training; with words
    a few less where that would cut one in two. The two sides are tokenised apart. Characters are
    collected from the whole text; words and bpe are
    learnt from the training side only, so that validation measures what was never seen. Memory
    stays at some megabytes (words and bpe: what a table of the different words takes).

    Args:
        source: the text.
        kind: the kind of tokenizer to train, as in `train_tokenizer`.
        vocab_size: its size, None for the default.
        validation: share of the characters to keep for validation, 0 ≤ validation < 1.
        folder: where to write; made if need be. Files of the same names are replaced.
        tokenizer: use this one instead of training one (for a second text of the same model).
        validation_source: validate on this text, and train on all of the first.

    Returns:
        The dataset, opened from the folder.

    Raises:
        WhenceError: the share is out of range, the folder can't be written, the text changed
            meanwhile, or a given tokenizer doesn't know a character.

    Example:
        >>> import tempfile
        >>> from whence.data.sources import text_source
        >>> source = text_source("count", lambda: ["one two three four "] * 10)
        >>> dataset = prepare(source, "chars", None, 0.1, Path(tempfile.mkdtemp()))
        >>> len(dataset.train), len(dataset.validation)
        (171, 19)
    """
    if not 0 <= validation < 1:
        raise WhenceError(
            f"validation = {validation} is no share: give 0 (none) or more, and less than 1."
        )
    folder = Path(folder)
    apart = validation_source is not None
    split_at = source.n_chars if apart else int((1 - validation) * source.n_chars)
    if kind == "words" and split_at < source.n_chars:
        split_at = _word_start(source.chunks(), split_at)

    def chunks() -> Iterator[str]:
        yield from source.chunks()
        if validation_source is not None:
            yield from validation_source.chunks()

    if tokenizer is None:
        learnt = source.n_chars if kind == "chars" else split_at
        if apart and kind == "chars":
            learnt += validation_source.n_chars
        tokenizer = train_tokenizer(kind, lambda: _head(chunks(), learnt), vocab_size)
    dtype = tokenizer.dtype.newbyteorder("<")
    digest = hashlib.sha256()
    n_tokens, n_bytes = [0, 0], [0, 0]  # of the training and of the validation side
    with written_whole(folder / "tokens.bin") as file:
        workers = None if kind == "bpe" else 1  # the others hold the interpreter as they work
        pieces = _sides(chunks(), split_at)
        for side, chunk, ids in encoded(pieces, tokenizer.encode, workers):
            raw = ids.astype(dtype, copy=False).tobytes()
            file.write(raw)
            digest.update(raw)
            n_tokens[side] += len(raw) // dtype.itemsize
            n_bytes[side] += len(chunk.encode("utf-8"))
        # From here on older files count as incomplete: they are never read beside newer ones.
        (folder / "tokens.json").unlink(missing_ok=True)
        tokenizer.save(folder / "tokenizer.json")
    record = {
        "schema": SCHEMA,
        "source": source.name,
        "sha256": source.sha256,
        "tokens_sha256": digest.hexdigest(),
        "dtype": tokenizer.dtype.name,
        "count": sum(n_tokens),
        "split": n_tokens[0],
        "n_bytes_train": n_bytes[0],
        "n_bytes_validation": n_bytes[1],
        **({"files": [list(f) for f in source.files]} if len(source.files) > 1 else {}),
        **({"validation_source": validation_source.name} if validation_source else {}),
    }
    with written_whole(folder / "tokens.json") as file:
        file.write((json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))
    return open_dataset(folder)


def open_dataset(folder: Path, verify: bool = False) -> Dataset:
    """Open what `prepare` wrote; the tokens stay on disk and are read as they are needed.

    Args:
        folder: the folder given to `prepare`.
        verify: also read all of tokens.bin and compare its sha256.

    Returns:
        The dataset.

    Raises:
        WhenceError: a file is missing, damaged, of the wrong size or of a newer version.
    """
    folder = Path(folder)
    path, tokens = folder / "tokens.json", folder / "tokens.bin"
    record = _record(path)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    dtype = np.dtype(record["dtype"]).newbyteorder("<")
    expected = record["count"] * dtype.itemsize
    if tokenizer.dtype != np.dtype(record["dtype"]):
        raise WhenceError(f"{folder / 'tokenizer.json'} doesn't belong to {tokens}: restore it.")
    try:
        _check(tokens, expected, record["tokens_sha256"] if verify else None)
        # A plain view of the map: the subclass np.memmap makes every indexing slower.
        ids = np.asarray(np.memmap(tokens, dtype=dtype, mode="r"))
    except OSError as error:
        why = error.strerror or error
        raise WhenceError(f"{tokens} can't be read ({why}): restore it.") from error
    return Dataset(
        train=ids[: record["split"]],
        validation=ids[record["split"] :],
        tokenizer=tokenizer,
        source=record["source"],
        sha256=record["sha256"],
        n_bytes_train=record["n_bytes_train"],
        n_bytes_validation=record["n_bytes_validation"],
        tokens_sha256=record["tokens_sha256"],
        files=tuple((name, line) for name, line in record["files"]),
    )


_FIELDS = {
    "source": str,
    "sha256": str,
    "tokens_sha256": str,
    "dtype": str,
    "count": int,
    "split": int,
    "n_bytes_train": int,
    "n_bytes_validation": int,
}


def _check(tokens: Path, size: int, sha256: str | None) -> None:
    """Check the size of tokens.bin, and where it is given its sha256."""
    found = tokens.stat()
    advice = "Restore it, or prepare the text again."
    if found.st_size != size:
        raise WhenceError(
            f"{tokens} is damaged: it has {found.st_size} bytes instead of {size}. {advice}"
        )
    if sha256 is None:
        return
    if is_hollow(found):
        raise WhenceError(f"{tokens} is damaged: of its bytes few are on the disk. {advice}")
    with tokens.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise WhenceError(
            f"{tokens} is damaged: its sha256 is {digest} instead of {sha256}. {advice}"
        )


def _record(path: Path) -> dict:
    try:
        if path.stat().st_size > LARGEST:
            raise WhenceError(f"{path} is damaged (too large): prepare the text again.")
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = int(record["schema"])
    except OSError as error:
        raise WhenceError(
            f"{path} can't be read ({error.strerror}): this folder holds no complete tokens."
        ) from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise WhenceError(
            f"{path} is damaged ({str(error)[:200]}): prepare the text again."
        ) from error
    if schema > SCHEMA:
        raise WhenceError(
            f"{path} was written by a newer version of Whence (schema {schema}, this one reads up "
            f"to {SCHEMA}): update Whence."
        )
    for name, kind in _FIELDS.items():
        if not isinstance(record.get(name), kind):
            raise WhenceError(f"{path} is damaged (no valid {name!r}): prepare the text again.")
    files = record.setdefault("files", [])
    if not isinstance(files, list) or not all(
        isinstance(f, list) and len(f) == 2 and isinstance(f[0], str) and isinstance(f[1], int)
        for f in files
    ):
        raise WhenceError(f"{path} is damaged (no valid 'files'): prepare the text again.")
    if record["dtype"] not in ("uint8", "uint16", "uint32") or not (
        0 <= record["split"] <= record["count"] and record["count"] > 0
    ):
        raise WhenceError(f"{path} is damaged (impossible sizes): prepare the text again.")
    return record


def _sides(chunks: Iterable[str], split_at: int) -> Iterator[tuple[int, str]]:
    """Mark each chunk as training (0) or validation (1), cutting the one that holds the split."""
    for chunk in chunks:
        before, after = chunk[:split_at], chunk[split_at:]
        split_at -= len(before)
        if before:
            yield 0, before
        if after:
            yield 1, after


def _word_start(chunks: Iterable[str], split_at: int) -> int:
    """Where the word begins that the split would cut; the split itself where it cuts none."""
    before = ""
    for side, chunk in _sides(chunks, split_at):
        if side == 0:
            before = (before + chunk)[-LONGEST_WORD:]
        elif (
            not chunk[0].isspace() and (cut := re.search(r"\s\S*$", before)) and before[-1:].strip()
        ):
            return split_at - len(before) + cut.start()
        else:
            break
    return split_at


def _head(chunks: Iterable[str], n_chars: int) -> Iterator[str]:
    """The first characters of a text."""
    for side, chunk in _sides(chunks, n_chars):
        if side == 1:
            return
        yield chunk
