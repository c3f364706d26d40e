"""From the words of a command to a call, with tyro; what it refuses is said in one sentence."""

import functools
import io
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Annotated, Any, TypeVar

import tyro

from whence.errors import WhenceError

T = TypeVar("T")

# What a command reads: files, folders, `-` or built-in texts, as many as there are.
Texts = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT ...]")]

# How tyro names what a flag takes, and how we do.
KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a text"}


def call(function: Callable[..., Any], words: Sequence[str], command: str) -> Any:
    """Call a function with what the words say, its parameters being the flags.

    Args:
        function: its signature and docstring say what it takes.
        words: the words after the command.
        command: such as `whence generate`, for messages.

    Raises:
        WhenceError: for words that don't fit.

    Example:
        >>> def double(*, number: int) -> int:
        ...     return 2 * number
        >>> call(double, ["--number", "4"], "double")
        8
    """

    # The words are read first and the function is called after, with the terminal to itself.
    @functools.wraps(function)
    def later(*args: Any, **options: Any) -> Callable[[], Any]:
        return functools.partial(function, *args, **options)

    return parse(later, words, command)()


def parse(form: Callable[..., T], words: Sequence[str], command: str, **options: Any) -> T:
    """Read words as tyro does, with its refusals as one sentence.

    Args:
        form: a dataclass or a function.
        words: the words after the command.
        command: such as `whence train`, for messages.
        **options: more for `tyro.cli`.

    Raises:
        WhenceError: for words that don't fit.

    Example:
        >>> from whence.train.schedules import Schedule
        >>> parse(Schedule, ["--warmup", "x"], "schedule")
        Traceback (most recent call last):
        whence.errors.WhenceError: --warmup is 'x': give a whole number.
    """
    told = io.StringIO()
    encoding = sys.stdout.encoding or "utf-8"  # it says which lines a box can be drawn of
    help_text = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)
    try:
        with redirect_stderr(told), redirect_stdout(help_text):
            return tyro.cli(form, args=words, prog=command, **options)
    except SystemExit as end:
        if not end.code:
            print(wrapped(help_text.buffer.getvalue().decode(encoding)), end="")
            raise
        raise WhenceError(sentence(told.getvalue(), command)) from None


def wrapped(text: str) -> str:
    """Break the long lines of a help text between words: those that stand in no box.

    Example:
        >>> len(wrapped("many words " * 20).splitlines()[0]) <= 100
        True
    """
    width = min(shutil.get_terminal_size().columns, 100)
    lines = text.splitlines()
    return "".join(
        f"{line if line[:1] in '╭│╰' else textwrap.fill(line, width, break_on_hyphens=False)}\n"
        for line in lines
    )


def sentence(box: str, command: str) -> str:
    r"""Say in one sentence what a box of tyro's says.

    Args:
        box: what tyro printed.
        command: such as `whence train`.

    Example:
        >>> sentence("- Error ----\nUnrecognized options: --stepz", "whence train")
        "--stepz is no flag of 'whence train': 'whence train --help' lists them."
    """
    plain = box.translate({ord(border): " " for border in "│╭╮╰╯"}).replace("─", "-")
    title, *blocks = (" ".join(block.split()) for block in re.split(r"(?<=\s)-{4,}", plain))
    message, text = (blocks or [title])[0], " ".join(blocks)
    if found := re.match(r"Unrecognized (?:or misplaced )?options: ([^\s,]+)", message):
        word = found[1]
        if not word.startswith("-"):
            return f"{word!r} is one word too many: '{command} --help' says what it takes."
        near = re.search(r"Perhaps you meant: .*?(--[^\s,]+)", text)
        hint = f"did you mean {near[1]}?" if near else f"'{command} --help' lists them."
        return f"{word} is no flag of '{command}': {hint}"
    if found := re.match(r"Error parsing (\S+): (.*)", message):
        given = re.findall(r"'([^']*)'", found[2])
        kind = re.search(rf"{re.escape(found[1])} (?:\{{None\}}\|)?([A-Z]+)\b", text)
        if given and kind and kind[1] in KINDS:
            return f"{found[1]} is {given[-1]!r}: give {KINDS[kind[1]]}."
    if found := re.match(
        r"invalid choice (.*) for argument '(.*)'\. Expected one of \((.*)\)", message
    ):
        choices = ", ".join(re.findall(r"'([^']*)'", found[3]))
        return f"{found[2]} is {found[1]}: choose from {choices}."
    if found := re.match(r"Missing value for argument '([^']*)'", message):
        return f"{found[1]} needs a value: '{command} --help' says which."
    if found := re.match(r"Missing from [^:]*: (.*)", message):
        wanted = re.findall(r"((?:--\S+ )?\S+) (.*?)\.? \(required\)", found[1])
        each = " and ".join(f"{name} ({what})" for name, what in wanted) or found[1]
        return f"'{command}' needs {each}: '{command} --help' says more."
    return f"{message.rstrip('.') or 'the words do not fit'}: see '{command} --help'."
