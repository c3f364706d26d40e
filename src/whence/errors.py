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
    r"""Write a path as a command needs it, quoted if necessary.

    What can't be printed is written as its bytes, which bash and zsh read back.

    Example:
        >>> shell_word("runs/topics-1"), shell_word("a\x1b b")
        ('runs/topics-1', "$'a\\x1b b'")
    """
    text = str(path)
    if sys.platform == "win32":
        return subprocess.list2cmdline([text])
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_in_ansi_quotes, text))}'"


def _in_ansi_quotes(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


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


def in_flops(count: float) -> str:
    """Say a number of floating-point operations as a person would.

    Example:
        >>> in_flops(26.8e9)
        '26.8 GFLOP'
    """
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,.0f} FLOP"
