"""Text as ids on disk, as `cutting` in this folder writes it: mapped into memory when needed."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from whence.data.files import is_hollow
from whence.data.tokenizers import Tokenizer, load_tokenizer
from whence.errors import WhenceError

SCHEMA = 1  # of tokens.json
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
        validation_source: the name of a second text, all of which `validation` is; None where
            `validation` is the end of the first.

    Example:
        >>> from whence.data.tokenizers import train_tokenizer
        >>> ids, chars = np.array([0, 1]), train_tokenizer("chars", lambda: ["ab"])
        >>> Dataset(ids, ids[:0], chars, "ab", "", 2, 0, "").train.tolist()
        [0, 1]
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
    validation_source: str | None = None

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


def open_dataset(folder: Path, verify: bool = False) -> Dataset:
    """Open what `prepare` wrote; the tokens stay on disk and are read as they are needed.

    Args:
        folder: the folder given to `prepare`.
        verify: also read all of tokens.bin and compare its sha256.

    Returns:
        The dataset.

    Raises:
        WhenceError: a file is missing, damaged, of the wrong size or of a newer version.

    Example:
        >>> import tempfile
        >>> from whence.data import open_dataset, prepare, text_source
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cats = text_source("cats", lambda: ["a cat " * 9])
        ...     _ = prepare(cats, "chars", None, 0.1, Path(folder))
        ...     open_dataset(Path(folder)).tokenizer.vocab_size
        4
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
        validation_source=record.get("validation_source"),
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
        raise WhenceError(
            f"{tokens} is damaged: most of its bytes are missing on the disk. {advice}"
        )
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
            f"{path} can't be read ({error.strerror}): this folder has no complete tokens."
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
