"""How a page gets in: an address that works once, and a secret that is kept where it was opened."""

import contextlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from whence.errors import WhenceError
from whence.visible import escape

OPENER = ".studio.html"


class Door:
    """The codes that still let a page in, and the secret that a page is given for one.

    All of it is rebuilt at each start, and none of it is written to a file. The page keeps the
    secret in its browser's storage for this address and port and sends it in a header, so that no
    other port of this machine is ever handed it, as it would be a cookie.

    Example:
        >>> door = Door()
        >>> code = door.code()
        >>> secret = door.enter(code)
        >>> door.knows(secret), door.enter(code)
        (True, None)
    """

    def __init__(self):
        self._secret = secrets.token_urlsafe(32)
        self._codes: set[str] = set()

    def code(self) -> str:
        """Return a new code, good for one page."""
        made = secrets.token_urlsafe(32)
        self._codes.add(made)
        return made

    def enter(self, code: str) -> str | None:
        """Return the secret for a code, which is then used up; None for an invalid code."""
        good = [each for each in self._codes if _same(each, code)]
        self._codes.difference_update(good)
        return self._secret if good else None

    def knows(self, secret: str) -> bool:
        """Tell whether a page holds the secret."""
        return _same(self._secret, secret)


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode("utf-8", "surrogatepass"))


def write_opener(folder: Path, address: str) -> Path:
    """Write a page that leads to an address, readable by its owner alone, and return its path.

    A browser is started with this path, since every user of a machine can read the arguments of
    every process; an address there could be used by another user before the browser gets to it.

    Args:
        folder: the folder of runs.
        address: where the page leads.

    Raises:
        WhenceError: where no such file can be had: the folder can't be written, or its file system
            lets others read what is kept from them.
    """
    path = folder / OPENER
    page = f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}">\n'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            if not is_private(os.fstat(file.fileno())):
                path.unlink()
                raise WhenceError(f"{path} can be read by others: open the address by hand.")
            file.write(page)
    except OSError as error:
        raise WhenceError(
            f"{path} can't be written ({error.strerror or error}): open the address by hand."
        ) from error
    return path


def remove_opener(folder: Path) -> None:
    """Remove the page again."""
    with contextlib.suppress(OSError):
        (folder / OPENER).unlink()


def is_private(found: os.stat_result) -> bool:
    """Tell whether a file is a regular one of this user's that nobody else may read or write.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     is_private(os.stat(file.name))
        True
    """
    if os.name == "nt":  # a file there is its owner's alone by where it lies
        return stat.S_ISREG(found.st_mode)
    mine = found.st_uid == os.geteuid() and found.st_nlink == 1
    return stat.S_ISREG(found.st_mode) and mine and not found.st_mode & 0o077
