"""From a command's arguments to a call, with tyro; its errors become one sentence."""

import functools
import io
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Annotated, Any, TypeVar

import tyro

from whence.errors import WhenceError

T = TypeVar("T")

# What a command reads: files, folders, `-` or built-in texts, as many as there are.
Texts = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT ...]")]

# A learning rate has one name with every command; the short ones are understood.
_RATE = tyro.conf.arg(aliases=("--rate", "--lr"))
Rate = Annotated[float, _RATE]
RateOrNone = Annotated[float | None, _RATE]

# How tyro names what a flag takes, and how we do.
KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "text"}


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


def without(words: Sequence[str], *flags: str) -> list[str]:
    """Leave flags out of a command's words, each with its value.

    Example:
        >>> without(["a.txt", "--processes", "4", "--out=b", "--json"], "--processes", "--out")
        ['a.txt', '--json']
    """
    kept: list[str] = []
    waiting = iter(words)
    for word in waiting:
        flag, equals, _ = word.partition("=")
        if flag not in flags:
            kept.append(word)
        elif not equals:
            next(waiting, "")
    return kept


def parse(
    form: Callable[..., T],
    words: Sequence[str],
    command: str,
    shorten: Callable[[str], str] = lambda text: text,
    **options: Any,
) -> T:
    """Read words as tyro does, with its refusals as one sentence.

    Args:
        form: a dataclass or a function.
        words: the words after the command.
        command: such as `whence train`, for messages.
        shorten: chooses what is shown of a help text.
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
    help_text = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    try:
        with redirect_stderr(told), redirect_stdout(help_text):
            return tyro.cli(form, args=words, prog=command, **options)
    except SystemExit as end:
        if not end.code:
            told_help = in_our_words(help_text.buffer.getvalue().decode("utf-8"))
            print(wrapped(shorten(told_help)), end="")
            raise
        raise WhenceError(sentence(told.getvalue(), command)) from None


# How tyro writes what a flag takes and what stands without it, and how we do.
_NOTATION = (
    (r"\{None\}\|", ""),
    (r"\{?\[STR \[STR \.\.\.\]\]\}?", "TEXT ..."),
    (r"\{?\[(INT|FLOAT|PATH) \[\1 \.\.\.\]\]\}?", r"\1 ..."),
    (r"\bSTR\b", "TEXT"),
    (r" ?\(default: (?:None|)\)", ""),
)


def in_our_words(text: str) -> str:
    r"""Write a help text in our notation rather than tyro's, its boxes still straight.

    Example:
        >>> in_our_words("│ --out {None}|PATH   │")
        '│ --out PATH          │\n'
    """
    # One that was broken there stands whole in the next line.
    text = re.sub(r"\(default:\s*(│\n│\s*)(?=[^│]*\))", r"\1(default: ", text)
    lines = []
    width = 0  # of the box
    for line in text.splitlines():
        width = len(line) if line.startswith("╭") or not width else width
        told = line
        for pattern, ours in _NOTATION:
            told = _replaced(told, pattern, ours)
        if told.startswith("│"):
            told = f"{told.removesuffix('│').rstrip():<{width - 1}}│"
        if told.strip("│ ") or not line.strip("│ "):
            lines.append(told)
    return "\n".join(lines) + "\n"


def _replaced(line: str, pattern: str, ours: str) -> str:
    """Replace in a line; the next gap takes up what that made longer or shorter."""
    while (found := re.search(pattern, line)) is not None:
        new = found.expand(ours)
        before, after = line[: found.start()] + new, line[found.end() :]
        grown = len(new) - len(found[0])
        if gap := re.search(r" {2,}", after):
            spaces = " " * max(len(gap[0]) - grown, 1)
            after = after[: gap.start()] + spaces + after[gap.end() :]
        line = before + after
    return line


def wrapped(text: str) -> str:
    """Break the long lines of a help text between words: those outside of boxes.

    Example:
        >>> len(wrapped("many words " * 20).splitlines()[0]) <= 100
        True
    """
    width = min(shutil.get_terminal_size().columns, 100)
    lines = text.splitlines()
    return "".join(f"{line if line[:1] in '╭│╰' else _folded(line, width)}\n" for line in lines)


def _folded(line: str, width: int) -> str:
    """Break a line between words; of a row `  --flag KIND  what it does`, under what it does."""
    row = re.match(r"  --.*?  +(?=\S)|  +", line)
    under = " " * (row.end() if row and row.end() < 0.7 * width else 0)
    return textwrap.fill(line, width, break_on_hyphens=False, subsequent_indent=under)


def sentence(box: str, command: str) -> str:
    r"""Say in one sentence what a box of tyro's says.

    Args:
        box: what tyro printed.
        command: such as `whence train`.

    Example:
        >>> sentence("- Error ----\nUnrecognized options: --stepz", "whence train")
        "--stepz isn't a flag of 'whence train': 'whence train --help' lists them."
    """
    plain = box.translate({ord(border): " " for border in "│╭╮╰╯"}).replace("─", "-")
    title, *blocks = (" ".join(block.split()) for block in re.split(r"(?<=\s)-{4,}", plain))
    message, text = (blocks or [title])[0], " ".join(blocks)
    if found := re.match(r"Unrecognized (?:or misplaced )?options: ([^\s,]+)", message):
        word = found[1]
        if not word.startswith("-"):
            return f"{word!r} is one argument too many: '{command} --help' says what it takes."
        near = re.search(r"Perhaps you meant: .*?(--[^\s,]+)", text)
        hint = f"did you mean {near[1]}?" if near else f"'{command} --help' lists them."
        return f"{word} isn't a flag of '{command}': {hint}"
    if found := re.match(r"Error parsing (\S+): (.*)", message):
        given = re.findall(r"'([^']*)'", found[2])
        kind = re.search(rf"{re.escape(found[1])} (?:\{{None\}}\|)?(\{{?\[)?([A-Z]+)\b", text)
        if given and kind and kind[2] in KINDS:
            several = ", or several" if kind[1] else ""
            return f"{found[1]} is {given[-1]!r}: give {KINDS[kind[2]]}{several}."
    if found := re.match(
        r"invalid choice (.*) for argument '(.*)'\. Expected one of \((.*)\)", message
    ):
        choices = ", ".join(re.findall(r"'([^']*)'", found[3]))
        return f"{found[2]} is {found[1]}: choose from {choices}."
    if found := re.match(r"Missing value for argument '([^']*)'", message):
        return f"{found[1]} needs a value: '{command} --help' says which."
    if found := re.match(r"Missing from [^:]*: (.*)", message):
        wanted = re.findall(r"((?:--\S+ )?\S+) (.*?)\.? \(required\)", in_our_words(found[1]))
        each = (
            " and ".join(f"{name} ({what})" for name, what in wanted)
            or in_our_words(found[1]).strip()
        )
        return f"'{command}' needs {each}: '{command} --help' says more."
    flag = re.search(r"--[a-z][\w.-]*", text)
    what = flag[0] if flag else "these arguments"
    return f"'{command}' can't read {what}: '{command} --help' says what it takes."
