"""Tokens kept on this machine: a text is cut into tokens once, however many runs learn from it.

An entry is a folder named by the digest of the text and of what cuts it. It gets its name when it
is whole, so any number of processes may read and write at once, and it is checked before it is
used: one that is damaged is removed, and the text is cut again.
"""

import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from whence.data.files import second_name

SCHEMA = 1  # to be raised where the same tokenizer would cut a text otherwise than before
LEAST = 1 << 20  # bytes of text below which cutting it again takes no time
MOST = 10 << 30  # bytes on the disk, above which the entries that were used least lately go
DAY = 86_400  # seconds after which what a killed process left is swept away
FILES = ("tokens.bin", "tokenizer.json")


def kept_folder() -> Path:
    """Return where tokens are kept: $WHENCE_CACHE, or `whence` among the user's caches."""
    if named := os.environ.get("WHENCE_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "whence"


def digest(*parts: Any) -> str:
    """Return the name of an entry: a digest of all that its tokens depend on.

    Example:
        >>> digest("a", 1) == digest("a", 1), digest("a", 1) == digest("a", 2)
        (True, False)
    """
    return hashlib.sha256(json.dumps([SCHEMA, *parts]).encode()).hexdigest()[:40]


def fetch(name: str, folder: Path) -> dict[str, Any] | None:
    """Put the files of an entry into a folder, and return what was noted of it.

    Args:
        name: as of `digest`.
        folder: where `tokens.bin` and `tokenizer.json` are wanted.

    Returns:
        What `keep` was given; None where there is no such entry, or it can't be used.
    """
    entry = kept_folder() / name
    try:
        record = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        for file in FILES:
            if _sha256(entry / file) != record["sha256"][file]:
                raise ValueError(file)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokens.json").unlink(missing_ok=True)  # older files are never read beside newer
        for file in FILES:
            second_name(entry / file, folder / file)
        os.utime(entry)  # it was used
        return dict(record["noted"])
    except FileNotFoundError:  # there is none, or another process clears it away
        return None
    except Exception:  # whatever is wrong with it, the text can be cut again
        shutil.rmtree(entry, ignore_errors=True)
        return None


def keep(name: str, folder: Path, noted: dict[str, Any]) -> None:
    """Keep the tokens of a folder for other runs; where that can't be done, nothing happens.

    Args:
        name: as of `digest`.
        folder: where `tokens.bin` and `tokenizer.json` are, whole.
        noted: what `fetch` gives back.
    """
    home = kept_folder()
    part = home / f".{name}.{secrets.token_hex(4)}.part"
    try:
        part.mkdir(parents=True)
        for file in FILES:
            second_name(folder / file, part / file)
        record = {"noted": noted, "sha256": {file: _sha256(part / file) for file in FILES}}
        (part / "entry.json").write_text(json.dumps(record), encoding="utf-8")
        part.rename(home / name)
    except Exception:  # a disk that is full, a folder that can't be written, another was first
        shutil.rmtree(part, ignore_errors=True)
    with suppress(OSError):
        _let_go(home)


def kept_bytes() -> int:
    """Return how many bytes the kept tokens take; what runs have in common with them in parts."""
    return sum(_size(entry) for entry in _entries())


def clear() -> int:
    """Remove all kept tokens, which no run needs, and return how many bytes that freed."""
    freed = kept_bytes()
    for entry in [*_entries(), *kept_folder().glob(".*.part")]:
        shutil.rmtree(entry, ignore_errors=True)
    return freed


def _entries() -> Iterator[Path]:
    yield from (path.parent for path in kept_folder().glob("*/entry.json"))


def _let_go(home: Path) -> None:
    for part in home.glob(".*.part"):
        if time.time() - part.stat().st_mtime > DAY:
            shutil.rmtree(part, ignore_errors=True)
    entries = sorted(_entries(), key=lambda entry: entry.stat().st_mtime)
    total = sum(map(_size, entries))
    for entry in entries[:-1]:
        if total <= MOST:
            break
        total -= _size(entry)
        shutil.rmtree(entry, ignore_errors=True)


def _size(entry: Path) -> int:
    found = 0
    for file in FILES:
        with suppress(OSError):
            status = (entry / file).stat()
            found += status.st_size // max(1, status.st_nlink)
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
