"""Reading bytes and making sure that they are UTF-8 text."""

import codecs
import json
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from whence.errors import WhenceError

BLOCK = 1 << 16  # bytes read at a time; Hugging Face's trainer reads 256 pieces ahead
SPOOL_IN_MEMORY = 64 << 20  # what can be read only once goes to a temporary file beyond this


Changing = Callable[[Iterator[bytes]], Iterator[bytes]]


@dataclass(frozen=True)
class Piece:
    """One file's worth of bytes.

    Attributes:
        name: what to call it.
        blocks: starts reading it again.
        optional: it was found in a folder, and may be left out.
        file: what tells its file from every other, by whatever name; None where it is none.
        records: each of its blocks is a document of its own.
    """

    name: str
    blocks: Callable[[], Iterator[bytes]]
    optional: bool = False
    file: tuple[int, int] | None = None
    records: bool = False


class NotTextError(WhenceError):
    """The bytes are no UTF-8 text: in a folder the file is passed over."""


def files_in(folder: Path) -> list[Path]:
    """List the files of a folder and its subfolders, sorted by path, without hidden ones."""
    found: list[Path] = []

    def stop(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(root, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.is_file()]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def file_blocks(path: Path) -> Callable[[], Iterator[bytes]]:
    """Make a function that starts reading a file; WhenceError where it can't be read."""

    def blocks() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                yield from iter(lambda: file.read(BLOCK), b"")
        except OSError as error:
            raise unreadable(str(path), error) from error

    return blocks


def unreadable(name: str, error: Exception) -> WhenceError:
    """Say that a file or folder can't be read, and why."""
    reason = error.strerror if isinstance(error, OSError) else error
    return WhenceError(f"{name} can't be read ({reason}): check its name and its permissions.")


def spooled(name: str, stream: BinaryIO) -> Piece:
    """Keep what can be read only once: in memory, or in a temporary file when it is large."""
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY)  # noqa: SIM115  # read again by the piece
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
    return Piece(name, blocks)


ROWS = 256  # of a Parquet file, held at a time
BOM = b"\xef\xbb\xbf"


def normalized(blocks: Iterator[bytes]) -> Iterator[bytes]:
    r"""Drop a leading byte-order mark, and write every line break as `\n`.

    Example:
        >>> b"".join(normalized(iter([b"\xef\xbb\xbfone\r", b"\ntwo\rthree"])))
        b'one\ntwo\nthree'
    """
    first, pending = True, b""
    for block in blocks:
        block = pending + block
        if first:
            if len(block) < len(BOM) and BOM.startswith(block):
                pending = block
                continue
            block, first = block.removeprefix(BOM), False
        pending = b"\r" if block.endswith(b"\r") else b""  # its \n may begin the next block
        block = block.removesuffix(b"\r") if pending else block
        yield block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    yield pending.replace(b"\r", b"\n") if not first else pending.removeprefix(BOM)


MARK = b"\0"  # ends a document in the stream of a source; no text has this byte


def documents(part: Piece, blocks: Iterator[bytes], change: Changing) -> Iterator[bytes]:
    """Pass on a part with each document ended by a line break and a mark.

    Args:
        part: whether its blocks are documents.
        blocks: its bytes.
        change: as `normalized`.
    """
    for document in ([block] for block in blocks) if part.records else [blocks]:
        last = b"\n"
        for block in change(iter(document)):
            last = block[-1:] or last
            yield block
        yield MARK if last == b"\n" else b"\n" + MARK


def jsonl_texts(path: Path, name: str) -> Callable[[], Iterator[bytes]]:
    """Make a function that reads one field of each line of a JSON Lines file, as lines of text.

    Raises:
        WhenceError: when it is read, at the first line that isn't an object with that field.
    """

    def blocks() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield _field(line, name, f"line {number} of {path}").encode() + b"\n"
        except OSError as error:
            raise unreadable(str(path), error) from error

    return blocks


def parquet_texts(path: Path, name: str) -> Callable[[], Iterator[bytes]]:
    """Make a function that reads one column of a Parquet file, as lines of text.

    Raises:
        WhenceError: when it is read, where pyarrow is missing, or the file or the column is.
    """

    def blocks() -> Iterator[bytes]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise WhenceError(
                f"{path} is a Parquet file, which takes pyarrow to read: "
                "pip install 'whence[parquet]'."
            ) from error
        try:
            with ParquetFile(path) as file:
                known = file.schema_arrow.names
                if name not in known:
                    raise WhenceError(
                        f"{path} has no column {name!r} (it has {', '.join(known)}): name one by "
                        "--data.field."
                    )
                for batch in file.iter_batches(ROWS, columns=[name]):
                    yield from (_row(text, path, name) for text in batch.column(0).to_pylist())
        except OSError as error:
            raise unreadable(str(path), error) from error
        except ArrowException as error:
            raise WhenceError(f"{path} can't be read as a Parquet file: {error}.") from error

    return blocks


def _row(text: object, path: Path, name: str) -> bytes:
    if not isinstance(text, str | None):
        raise WhenceError(f"column {name!r} of {path} holds {type(text).__name__}s, not text.")
    return (text or "").encode() + b"\n"


def _field(line: bytes, name: str, where: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WhenceError(f"{where} is not JSON ({error}): give one object a line.") from error
    text = row.get(name) if isinstance(row, dict) else None
    if not isinstance(text, str):
        known = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise WhenceError(f"{where} has no text in a field {name!r} (it has {known}).")
    return text


def text_only(part: Piece) -> Iterator[tuple[bytes, int]]:
    """Pass on the blocks of a part and their characters; raise at a byte that isn't text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    for block in part.blocks():
        if position == 0 and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise NotTextError(f"{part.name} is UTF-16 text: save it as UTF-8.")
        if (nul := block.find(b"\0")) >= 0:
            raise NotTextError(
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
        raise NotTextError(
            f"{name} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset "
            f"{position - pending + error.start} can't be read ({error.reason}); "
            "save the file as UTF-8."
        ) from error
