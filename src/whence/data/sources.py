"""Where training text comes from: a file, a folder, several of them, standard input, or built in.

A source is read as a stream, as often as needed, in pieces that fit in memory. Nothing in the text
is changed: Windows newlines, tabs and a leading byte-order mark stay what they are.
"""

import codecs
import difflib
import hashlib
import os
import stat
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from whence.errors import WhenceError

BLOCK = 1 << 20  # bytes read at a time
SPOOL_IN_MEMORY = 64 << 20  # standard input beyond this goes to a temporary file


@dataclass(frozen=True)
class Source:
    """Text that can be read again and again without ever being held whole in memory.

    Attributes:
        name: what to call it to a person: the path, "standard input" or the built-in name.
        sha256: of the text's UTF-8 bytes, in hexadecimal.
        n_bytes: how many UTF-8 bytes the text has.
        n_chars: how many characters.
        skipped: files of a folder that were left out because they aren't UTF-8 text.

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
    _blocks: Callable[[], Iterator[bytes]] = field(repr=False, compare=False, kw_only=True)

    def chunks(self) -> Iterator[str]:
        """Read the text from its start in pieces of about a megabyte.

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


def _last_safe_cut(text: str) -> int:
    """The last place between a character and a space or newline after it; 0 says wait for more."""
    end = len(text)
    while end > 0:
        end = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))
        end = len(text[: max(end, 0)].rstrip())  # jumps over a whole run of white space
        if end and text[end] in " \n":
            return end
    return len(text) if len(text) >= BLOCK else 0


def open_source(source: str | Sequence[str]) -> Source:
    """Open training text and check all of it: one pass, in bounded memory.

    Args:
        source: the path of a file; of a folder (all UTF-8 text files in it and its subfolders,
            sorted by path, hidden ones left out, joined by a newline); "-" for standard input;
            "topics" for the Python language reference inside every Python (`./topics` would be a
            file of that name); or a sequence of those, joined by a newline.

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
    parts = [part for name in names for part in _parts(name)]
    opened = _checked(", ".join(_title(name) for name in names), parts)
    if opened.n_bytes == 0:
        if any(Path(name).is_dir() for name in names if name not in BUILT_IN):
            raise WhenceError(
                f"{opened.name} holds no text: put UTF-8 text files (such as .txt) in that folder."
            )
        raise WhenceError(f"{opened.name} is empty: give a file with text in it.")
    return opened


def text_source(name: str, texts: Callable[[], Iterable[str]]) -> Source:
    """Make a source of text that a program makes, for built-in corpora and for tests.

    Args:
        name: what to call it.
        texts: a function that starts the same stream of pieces of text anew at each call.

    Raises:
        WhenceError: the stream is empty.

    Example:
        >>> source = text_source("greetings", lambda: ["hello ", "hello"])
        >>> source.n_bytes, list(source.chunks())
        (11, ['hello', ' hello'])
    """
    opened = _checked(name, [_Part(name, lambda: (text.encode("utf-8") for text in texts()))])
    if opened.n_bytes == 0:
        raise WhenceError(f"{name} is empty: give some text.")
    return opened


@dataclass(frozen=True)
class _Part:
    """One file's worth of bytes; an optional one (found in a folder) may be left out."""

    name: str
    blocks: Callable[[], Iterator[bytes]]
    optional: bool = False


class _NotTextError(WhenceError):
    """The bytes are no UTF-8 text: in a folder the file is passed over."""


def _title(name: str) -> str:
    return "standard input" if name == "-" else name


def _parts(name: str) -> list[_Part]:
    if name in BUILT_IN:
        texts = BUILT_IN[name]
        return [_Part(name, lambda: (text.encode("utf-8") for text in texts()))]
    if name == "-":
        return [_spooled("standard input", sys.stdin.buffer)]
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return [_Part(str(file), _reader(file), optional=True) for file in _files_in(path)]
        if not stat.S_ISREG(mode):  # a pipe can be read once only
            with path.open("rb") as file:
                return [_spooled(name, file)]
    except (FileNotFoundError, NotADirectoryError) as error:
        near = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f" Did you mean the built-in text {near[0]!r}?" if near else ""
        raise WhenceError(
            f"{name!r} doesn't exist: give a text file, a folder, '-' for standard input "
            f"or a built-in text ({', '.join(map(repr, BUILT_IN))}).{hint}"
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    return [_Part(name, _reader(path))]


def _files_in(folder: Path) -> list[Path]:
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(root, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.is_file()]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _reader(path: Path) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                yield from iter(lambda: file.read(BLOCK), b"")
        except OSError as error:
            raise _unreadable(str(path), error) from error

    return blocks


def _unreadable(name: str, error: Exception) -> WhenceError:
    reason = error.strerror if isinstance(error, OSError) else error
    return WhenceError(f"{name} can't be read ({reason}): check its name and its permissions.")


def _spooled(name: str, stream: BinaryIO) -> _Part:
    """Keep what can be read only once: in memory, or in a temporary file when it is large."""
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY)  # noqa: SIM115
    for block in iter(lambda: stream.read(BLOCK), b""):
        spool.write(block)

    def blocks() -> Iterator[bytes]:
        position = 0
        while True:
            spool.seek(position)
            block = spool.read(BLOCK)
            if not block:
                return
            position += len(block)
            yield block

    weakref.finalize(blocks, spool.close)
    return _Part(name, blocks)


def _checked(name: str, parts: list[_Part]) -> Source:
    """Check and hash all parts, leaving out those of a folder that hold no text."""
    digest = hashlib.sha256()
    n_bytes = n_chars = 0
    kept: list[_Part] = []
    skipped: list[str] = []
    for part in parts:
        attempt = digest.copy()
        if kept:
            attempt.update(b"\n")
        try:
            size = length = 0
            for block, characters in _text_only(part):
                attempt.update(block)
                size += len(block)
                length += characters
        except _NotTextError:
            if not part.optional:
                raise
            skipped.append(part.name)
            continue
        if size == 0:
            if part.optional or len(parts) == 1:
                continue
            raise WhenceError(f"{part.name} is empty: give a file with text in it.")
        n_bytes += size + (1 if kept else 0)
        n_chars += length + (1 if kept else 0)
        digest = attempt
        kept.append(part)

    def blocks() -> Iterator[bytes]:
        for index, part in enumerate(kept):
            if index:
                yield b"\n"
            yield from part.blocks()

    return Source(name, digest.hexdigest(), n_bytes, n_chars, tuple(skipped), _blocks=blocks)


def _text_only(part: _Part) -> Iterator[tuple[bytes, int]]:
    """Pass on the blocks of a part and their characters; raise at a byte that isn't text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    for block in part.blocks():
        if position == 0 and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise _NotTextError(f"{part.name} is UTF-16 text: save it as UTF-8.")
        if (nul := block.find(b"\0")) >= 0:
            raise _NotTextError(
                f"{part.name} is binary, not text (a zero byte at offset {position + nul}): "
                "give a UTF-8 text file."
            )
        characters = _decode(decoder, block, part.name, position)
        position += len(block)
        yield block, characters
    _decode(decoder, b"", part.name, position, final=True)


def _decode(
    decoder: codecs.IncrementalDecoder, block: bytes, name: str, position: int, final: bool = False
) -> int:
    pending = len(decoder.getstate()[0])
    try:
        return len(decoder.decode(block, final))
    except UnicodeDecodeError as error:
        raise _NotTextError(
            f"{name} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset "
            f"{position - pending + error.start} can't be read ({error.reason}); "
            "save the file as UTF-8."
        ) from error


def _topics() -> Iterator[str]:
    from pydoc_data.topics import topics  # half a megabyte: read only when asked for

    for key in sorted(topics):
        yield topics[key]
        yield "\n\n"


# Built-in texts: a name, and a function that starts the stream of its pieces.
BUILT_IN: dict[str, Callable[[], Iterable[str]]] = {"topics": _topics}
