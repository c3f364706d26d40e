"""From text to ids on disk: cut into tokens once, split by position."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from whence.data.files import second_name, written_whole
from whence.data.texts import reading
from whence.data.texts.kept import LEAST, digest, fetch, keep
from whence.data.texts.parallel import encoded
from whence.data.texts.shards import SCHEMA, Dataset, open_dataset
from whence.data.texts.sources import Source
from whence.data.texts.telling import Preparing, tell_nobody
from whence.data.texts.unfinished import LONG, OFTEN, Progress, Unfinished, unfinished
from whence.data.tokenizers import Tokenizer, train_tokenizer
from whence.errors import WhenceError

MARK = reading.MARK.decode()
LONGEST_WORD = 1000  # characters that are looked back over for the start of a word


def prepare(
    source: Source,
    kind: str,
    vocab_size: int | None,
    validation: float,
    folder: Path,
    tokenizer: Tokenizer | None = None,
    validation_source: Source | None = None,
    each: Preparing = tell_nobody,
    ended: bool = False,
) -> Dataset:
    """Tokenise a text once into a folder: tokenizer.json, tokens.bin and, last, tokens.json.

    The text is split by position, in the same place for every tokenizer so that their bits per byte
    can be compared: of n characters the first int((1 − validation)·n) are for training; with words
    a few less where that would cut one in two. The two sides are tokenised apart. Characters are
    collected from the whole text; words and bpe are
    learnt from the training side only, so that validation measures what was never seen. Memory
    stays at some megabytes (words and bpe: what a table of the different words takes). What was cut
    before on this machine is taken from there (`whence.data.texts.kept`), if it takes a while.

    Args:
        source: the text.
        kind: the kind of tokenizer to train, as in `train_tokenizer`.
        vocab_size: its size, None for the default.
        validation: share of the characters to keep for validation, 0 ≤ validation < 1.
        folder: where to write; made if need be. Files of the same names are replaced.
        tokenizer: use this one instead of training one (for a second text of the same model).
        validation_source: validate on this text, and train on all of the first.
        each: called now and then with how far it is.
        ended: the sources mark where documents end: an end token goes there.

    Returns:
        The dataset, opened from the folder.

    Raises:
        WhenceError: the share is out of range, the folder can't be written, the text changed
            meanwhile, or a given tokenizer doesn't know a character.

    Example:
        >>> import tempfile
        >>> from whence.data.texts.sources import text_source
        >>> source = text_source("count", lambda: ["one two three four "] * 10)
        >>> dataset = prepare(source, "chars", None, 0.1, Path(tempfile.mkdtemp()))
        >>> len(dataset.train), len(dataset.validation)
        (171, 19)
    """
    if not 0 <= validation < 1:
        raise WhenceError(
            f"validation = {validation} isn't a share: give 0 (none) or more, and less than 1."
        )
    folder = Path(folder)
    texts = [text for text in (source, validation_source) if text is not None]
    share = validation if validation_source is None else None
    cutter = _digest_of(tokenizer) if tokenizer else [kind, vocab_size, version("tokenizers")]
    name = digest([text.sha256 for text in texts], share, kind, cutter, ended)
    large = source.n_bytes >= LEAST
    counts = fetch(name, folder) if large else None
    if counts is None:
        with unfinished(name) if source.n_bytes >= LONG else nullcontext() as begun:
            options = (each, ended, begun)
            counts = _cut(texts, kind, vocab_size, validation, folder, tokenizer, *options)
        if large:
            keep(name, folder, counts)
    record = {
        "schema": SCHEMA,
        "source": source.name,
        "sha256": source.sha256,
        **counts,
        **({"files": [list(f) for f in source.files]} if len(source.files) > 1 else {}),
        **({"validation_source": validation_source.name} if validation_source else {}),
    }
    with written_whole(folder / "tokens.json") as file:
        file.write((json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))
    return open_dataset(folder)


def _cut(
    texts: list[Source],
    kind: str,
    vocab_size: int | None,
    validation: float,
    folder: Path,
    tokenizer: Tokenizer | None,
    each: Preparing,
    ended: bool,
    begun: Unfinished | None,
) -> dict:
    """Write tokens.bin and tokenizer.json, and return what is to be noted of them."""
    source, total = texts[0], sum(text.n_chars for text in texts)
    split_at = source.n_chars if len(texts) > 1 else int((1 - validation) * source.n_chars)
    if kind == "words" and split_at < source.n_chars:
        split_at = _word_start(source.chunks(), split_at)

    def chunks(what: str) -> Iterator[str]:
        done = 0
        for chunk in (chunk for text in texts for chunk in text.chunks()):
            each(what, done, total)
            yield chunk
            done += len(chunk)

    tokenizer = tokenizer or (begun.tokenizer() if begun else None)
    if tokenizer is None:
        learnt = total if kind == "chars" else split_at

        def read() -> Iterator[str]:
            return (c.replace(MARK, "") for c in _head(chunks("learning the tokens"), learnt))

        tokenizer = train_tokenizer(kind, read, vocab_size, ended)
    if ended and not tokenizer.ends:
        raise WhenceError(
            "this tokenizer has no token that ends a document: leave out --data.documents."
        )
    encode = partial(_with_ends, tokenizer) if ended else tokenizer.encode
    if begun:
        tokenizer.save(begun.folder / "tokenizer.json")
    done = begun.progress() if begun else Progress()
    dtype = tokenizer.dtype.newbyteorder("<")
    n_tokens, n_bytes = list(done.n_tokens), list(done.n_bytes)
    noted = done.size
    pieces = islice(_sides(chunks("cutting the text into tokens"), split_at), done.pieces, None)
    workers = None if tokenizer.kind == "bpe" else 1  # the others hold the interpreter as they work
    with ExitStack() as stack:
        if begun:
            file = stack.enter_context(begun.tokens.open("ab"))
        else:
            file = stack.enter_context(written_whole(folder / "tokens.bin"))
        for side, chunk, ids in encoded(pieces, encode, workers):
            raw = ids.astype(dtype, copy=False).tobytes()
            file.write(raw)
            n_tokens[side] += len(raw) // dtype.itemsize
            n_bytes[side] += len(chunk.replace(MARK, "").encode("utf-8"))
            size = dtype.itemsize * sum(n_tokens)
            done = Progress(done.pieces + 1, size, tuple(n_tokens), tuple(n_bytes))
            if begun and size - noted >= OFTEN:
                file.flush()
                os.fsync(file.fileno())
                begun.note(done)
                noted = size
        folder.mkdir(parents=True, exist_ok=True)
        # From here on older files count as incomplete: they are never read beside newer ones.
        (folder / "tokens.json").unlink(missing_ok=True)
        tokenizer.save(folder / "tokenizer.json")
    if begun:
        second_name(begun.tokens, folder / "tokens.bin")
        begun.remove()
    with (folder / "tokens.bin").open("rb") as made:
        found = hashlib.file_digest(made, "sha256").hexdigest()
    return {
        "tokens_sha256": found,
        "dtype": tokenizer.dtype.name,
        "count": sum(n_tokens),
        "split": n_tokens[0],
        "n_bytes_train": n_bytes[0],
        "n_bytes_validation": n_bytes[1],
    }


def _with_ends(tokenizer: Tokenizer, chunk: str) -> np.ndarray:
    """Encode a piece of text, with an end token at the end of each document."""
    end = np.array(tokenizer.ends[:1], dtype=tokenizer.dtype)
    ids = [np.empty(0, dtype=tokenizer.dtype)]
    for number, document in enumerate(chunk.split(MARK)):
        ids += [end] if number else []
        ids += [tokenizer.encode(document)] if document else []
    return np.concatenate(ids)


def _digest_of(tokenizer: Tokenizer) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()


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
