"""The one kind of error that a person is meant to read."""

import shlex
import subprocess
import sys
from pathlib import Path


class WhenceError(Exception):
    """Bad input, told in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and exits with code 2; from Python it is raised as it is.

    Example:
        >>> raise WhenceError("notes.txt is empty: give a file with text in it.")
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: notes.txt is empty: give a file with text in it.
    """


def shell_word(path: Path | str) -> str:
    """Write a path as it must stand in a command, quoted where it needs to be.

    Example:
        >>> shell_word("runs/topics-1")
        'runs/topics-1'
    """
    if sys.platform == "win32":
        return subprocess.list2cmdline([str(path)])
    return shlex.quote(str(path))


def in_bytes(count: int) -> str:
    """Say a number of bytes as a person would.

    Example:
        >>> in_bytes(1_234_567)
        '1.2 MB'
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
