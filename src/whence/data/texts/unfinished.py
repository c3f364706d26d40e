"""Tokens of a long text that is being tokenised, kept so that a kill loses little."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from whence.data.files import written_whole
from whence.data.texts.kept import kept_folder
from whence.data.tokenizers import Tokenizer, load_tokenizer
from whence.errors import WhenceError

LONG = 64 << 20  # bytes of text below which beginning again takes no time
OFTEN = 16 << 20  # bytes of tokens between two notes of how far it is
WEEK = 7 * 86_400  # seconds after which what nobody goes on with is swept away


@dataclass
class Progress:
    """How far a text is cut.

    Attributes:
        pieces: how many of the text's pieces are.
        size: bytes of tokens.bin that belong to them.
        n_tokens: of the training and of the validation side.
        n_bytes: of text, likewise.
    """

    pieces: int = 0
    size: int = 0
    n_tokens: tuple[int, ...] = (0, 0)
    n_bytes: tuple[int, ...] = (0, 0)


class Unfinished:
    """A folder for what is cut so far: tokenizer.json, tokens.bin and progress.json.

    Args:
        folder: made if need be.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.tokens = folder / "tokens.bin"

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer that was learnt before; None where there is none."""
        try:
            return load_tokenizer(self.folder / "tokenizer.json")
        except WhenceError:
            return None

    def progress(self) -> Progress:
        """How far it is; tokens.bin is truncated to that, since a kill may have left more."""
        try:
            noted = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
            sides = (tuple(map(int, noted[name])) for name in ("n_tokens", "n_bytes"))
            found = Progress(int(noted["pieces"]), int(noted["size"]), *sides)
            with self.tokens.open("rb+") as file:
                if file.seek(0, 2) < found.size:
                    raise ValueError("tokens are missing")
                file.truncate(found.size)
            return found
        except (OSError, ValueError, TypeError, KeyError):
            self.tokens.unlink(missing_ok=True)
            return Progress()

    def note(self, progress: Progress) -> None:
        """Note how far it is; what tokens.bin holds is on the disk."""
        with written_whole(self.folder / "progress.json") as file:
            file.write(json.dumps(asdict(progress)).encode())

    def remove(self) -> None:
        """Remove all of it: the text is cut."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def unfinished(name: str) -> Iterator[Unfinished | None]:
    """Lock the unfinished tokens of a text for this process alone.

    Args:
        name: as of `whence.data.texts.kept.digest`.

    Yields:
        None where another process is cutting the same text, or the folder can't be written.
    """
    home = kept_folder()
    folder = home / f".{name}.cutting"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / f".{name}.lock")
        lock.acquire(blocking=False)
    except (OSError, Timeout):
        yield None
        return
    try:
        for other in home.glob(".*.cutting"):
            with suppress(OSError):
                if other != folder and time.time() - other.stat().st_mtime > WEEK:
                    shutil.rmtree(other, ignore_errors=True)
        yield Unfinished(folder)
    finally:
        lock.release()
        if not folder.exists():
            with suppress(OSError):
                (home / f".{name}.lock").unlink()
