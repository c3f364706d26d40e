"""Where training text comes from: a file, a folder, several of them, standard input, or built in.

A source is read as a stream, as often as needed, in pieces that fit in memory. Unless it is opened
with `normalize`, nothing in the text is changed.
"""

import codecs
import difflib
import hashlib
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whence.data.made.dates import dates
from whence.data.texts.reading import (
    Changing,
    NotTextError,
    Piece,
    documents,
    file_blocks,
    files_in,
    jsonl_texts,
    normalized,
    parquet_texts,
    spooled,
    text_only,
    unreadable,
)
from whence.errors import WhenceError

LONGEST = 1 << 20  # characters to look for a place to cut in


@dataclass(frozen=True)
class Source:
    """Text that can be read again and again without ever being held whole in memory.

    Attributes:
        name: what to call it to a person: the path, "standard input" or the built-in name.
        sha256: of the text's UTF-8 bytes, in hexadecimal.
        n_bytes: how many UTF-8 bytes the text has.
        n_chars: how many characters.
        skipped: files of a folder that were left out because they aren't UTF-8 text.
        repeated: files that were named or linked to again, and are read once.
        files: name of each file, and the line of the whole text that it begins on, from 1.

    Example:
        >>> source = open_source("topics")
        >>> "".join(source.chunks()).count("while") > 10
        True
    """

    name: str
    sha256: str
    n_bytes: int
    n_chars: int
    skipped: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    files: tuple[tuple[str, int], ...] = ()
    _blocks: Callable[[], Iterator[bytes]] = field(repr=False, compare=False, kw_only=True)

    def chunks(self) -> Iterator[str]:
        """Read the text from its start in pieces of some 64 KiB.

        A piece ends between a character and the space or newline after it, which no tokenizer here
        ever joins into one token: pieces encoded one by one give the tokens of the whole. Only
        text without a single such place in a megabyte is cut elsewhere, between two characters.

        Yields:
            The text, in order; `"".join(source.chunks())` is all of it.

        Raises:
            WhenceError: the text is no longer the one that was opened.
        """
        digest = hashlib.sha256()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        for block in self._blocks():
            digest.update(block)
            rest += decoder.decode(block)
            cut = _last_safe_cut(rest)
            if cut:
                yield rest[:cut]
                rest = rest[cut:]
        if digest.hexdigest() != self.sha256:
            raise WhenceError(
                f"{self.name} changed while it was being read: start again when it is complete."
            )
        if rest:
            yield rest

    def lines(self) -> Iterator[tuple[int, str]]:
        """Give each line and its number in the whole text, from 1, without its line break."""
        number, rest = 1, ""
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split("\n")
            yield from enumerate(whole, start=number)
            number += len(whole)
        if rest:
            yield number, rest

    def place(self, number: int) -> str:
        r"""Say in which file, and on which of its lines, a line of the whole text is.

        Example:
            >>> text_source("pairs", lambda: ["a\tb"]).place(1)
            'line 1 of pairs'
        """
        before = [(name, first) for name, first in self.files if first <= number]
        name, first = before[-1] if before else (self.name, 1)
        return f"line {number - first + 1:,} of {name}"


def _last_safe_cut(text: str) -> int:
    """The last place between a character and a space or newline after it; 0 says wait for more."""
    end = len(text)
    while end > 0:
        end = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))
        end = len(text[: max(end, 0)].rstrip())  # jumps over a whole run of white space
        if end and text[end] in " \n":
            return end
    return len(text) if len(text) >= LONGEST else 0


def open_source(
    source: str | Sequence[str],
    normalize: bool = False,
    field: str | None = None,
    ended: bool = False,
) -> Source:
    """Open training text and check all of it: one pass, in bounded memory.

    Args:
        source: the path of a file; of a folder (all UTF-8 text files in it and its subfolders,
            sorted by path, hidden ones left out, joined by a newline); "-" for standard input;
            "topics" for the Python language reference inside every Python (`./topics` would be a
            file of that name); "dates" for pairs of written and ISO dates; "stories" for a million
            bytes of made-up stories whose entropy rate is known; or a sequence of those, joined by
            a newline. A file that comes again, by its name or by a link, is read once.
        normalize: drop byte-order marks, and read every kind of line break as a newline.
        field: of each line of .jsonl files and each row of .parquet files, read this field's text;
            none: of Parquet `text`, and lines of JSON as they are.
        ended: mark where each file ends, each row of a .parquet file, and with `field` each line of
            a .jsonl file, so that an end token can go there.

    Returns:
        The source, with the size and sha256 of its text.

    Raises:
        WhenceError: it is missing, empty, unreadable, binary, not UTF-8 (with the byte offset), or
            a folder without text.

    Example:
        >>> open_source("topics").n_bytes > 400_000
        True
    """
    names = [source] if isinstance(source, str) else list(source)
    if not names or "" in names:
        raise WhenceError(f"No text was named: {_HINT}.")
    parts, repeated = _once([part for name in names for part in _parts(name, field)])
    opened = _checked(", ".join(_title(name) for name in names), parts, normalize, repeated, ended)
    if opened.n_bytes == 0:
        if any(Path(name).is_dir() for name in names if name not in BUILT_IN):
            raise WhenceError(
                f"{opened.name} contains no text: put UTF-8 text files (such as .txt) in that "
                "folder."
            )
        raise WhenceError(f"{opened.name} is empty: give a file with text in it.")
    return opened


def text_source(name: str, texts: Callable[[], Iterable[str]]) -> Source:
    """Make a source of text that a program makes, for built-in corpora and for tests.

    Args:
        name: what to call it.
        texts: a function that starts the same stream of pieces of text again at each call.

    Raises:
        WhenceError: the stream is empty.

    Example:
        >>> source = text_source("greetings", lambda: ["hello ", "hello"])
        >>> source.n_bytes, list(source.chunks())
        (11, ['hello', ' hello'])
    """
    opened = _checked(name, [Piece(name, lambda: (text.encode("utf-8") for text in texts()))])
    if opened.n_bytes == 0:
        raise WhenceError(f"{name} is empty: give some text.")
    return opened


def _title(name: str) -> str:
    return "standard input" if name == "-" else name


def _once(parts: list[Piece]) -> tuple[list[Piece], tuple[str, ...]]:
    """Leave out each part that is the same file as one before; return the names of those."""
    seen: set[object] = set()
    kept: list[Piece] = []
    repeated: list[str] = []
    for part in parts:
        if part.file is not None and part.file in seen:
            repeated.append(part.name)
            continue
        seen.add(part.file)
        kept.append(part)
    return kept, tuple(repeated)


def _parts(name: str, field: str | None = None) -> list[Piece]:
    if name in BUILT_IN:
        texts = BUILT_IN[name]
        return [Piece(name, lambda: (text.encode("utf-8") for text in texts()))]
    if name == "-":
        return [spooled("standard input", sys.stdin.buffer)]
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return [_piece(str(f), f, field, optional=True) for f in files_in(path)]
        if not stat.S_ISREG(mode):  # a pipe can be read once only
            with path.open("rb") as file:
                return [spooled(name, file)]
    except (FileNotFoundError, NotADirectoryError) as error:
        near = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f" Did you mean the built-in text {near[0]!r}?" if near else ""
        raise WhenceError(f"{name!r} doesn't exist: {_HINT}.{hint}") from error
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error
    return [_piece(name, path, field)]


def _piece(name: str, path: Path, field: str | None, optional: bool = False) -> Piece:
    """A file as a part: the text in it, or of one field of its rows."""
    status = path.stat()
    identity = (status.st_dev, status.st_ino)
    if path.suffix == ".parquet":
        return Piece(name, parquet_texts(path, field or "text"), optional, identity, True)
    if path.suffix == ".jsonl" and field is not None:
        return Piece(name, jsonl_texts(path, field), optional, identity, True)
    return Piece(name, file_blocks(path), optional, identity)


def _checked(
    name: str,
    parts: list[Piece],
    normalize: bool = False,
    repeated: tuple[str, ...] = (),
    ended: bool = False,
) -> Source:
    """Check and hash all parts, leaving out those of a folder that contain no text."""
    change: Changing = normalized if normalize else iter
    between = b"" if ended else b"\n"

    def text_of(part: Piece, blocks: Iterator[bytes]) -> Iterator[bytes]:
        return documents(part, blocks, change) if ended else change(blocks)

    files: list[tuple[str, int]] = []
    lines = 1  # the line of the whole text that a part begins on
    digest = hashlib.sha256()
    n_bytes = n_chars = 0
    kept: list[Piece] = []
    skipped: list[str] = []
    for part in parts:
        attempt = digest.copy()
        if kept:
            attempt.update(between)
        try:
            size = length = breaks = 0
            for block in text_of(part, (raw for raw, _ in text_only(part))):
                attempt.update(block)
                size += len(block)
                length += _characters(block)
                breaks += block.count(b"\n")
        except NotTextError:
            if not part.optional:
                raise
            skipped.append(part.name)
            continue
        if size <= 2 * ended:  # no more than a line break and a mark
            if part.optional or len(parts) == 1:
                continue
            raise WhenceError(f"{part.name} is empty: give a file with text in it.")
        joined = len(between) if kept else 0
        n_bytes += size + joined
        n_chars += length + joined
        lines += joined
        files.append((part.name, lines))
        lines += breaks
        digest = attempt
        kept.append(part)

    def blocks() -> Iterator[bytes]:
        for index, part in enumerate(kept):
            if index:
                yield between
            yield from text_of(part, part.blocks())

    told = (tuple(skipped), repeated, tuple(files))
    return Source(name, digest.hexdigest(), n_bytes, n_chars, *told, _blocks=blocks)


def _characters(block: bytes) -> int:
    """Count the characters that begin in a block of UTF-8: all bytes except continuation bytes."""
    import numpy as np

    return int(np.count_nonzero((np.frombuffer(block, np.uint8) & 0xC0) != 0x80))


def _topics() -> Iterator[str]:
    from pydoc_data.topics import topics  # half a megabyte: read only when asked for

    for key in sorted(topics):
        yield topics[key]
        yield "\n\n"


def _stories() -> Iterable[str]:
    """A million bytes of stories whose entropy rate is known; always the same ones."""
    from whence.data.made.stories import stories

    return stories().stream(1_000_000, seed=0)


# Built-in texts: a name, and a function that starts the stream of its pieces.
BUILT_IN: dict[str, Callable[[], Iterable[str]]] = {
    "topics": _topics,
    "stories": _stories,
    "dates": dates,
}

_HINT = (
    "give a text file, a folder, '-' for standard input or a built-in text "
    f"({', '.join(map(repr, BUILT_IN))})"
)
