"""`whence journey` and `whence lesson`: lessons played in a terminal."""

import sys
from typing import Annotated

import tyro
from rich.markdown import Markdown
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.lessons import Cell, Lesson, Output, Play, lessons
from whence.lessons import lesson as find
from whence.lessons.talk import bold_words

WIDTH = 96


def lesson(
    which: tyro.conf.Positional[str],
    *,
    yes: bool = False,
    json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Play one lesson: predict, run the experiment, see the numbers, try the exercise.

    Args:
        which: its number, or a word of its title.
        yes: run without waiting for answers.
        json: print one JSON line for each cell, without waiting.
    """
    found = find(which)
    if json:
        for output in Play(found).all():
            print(strict(output.to_dict()))
        return
    _play(found, _console(), wait=not yes and sys.stdin.isatty() and sys.stdout.isatty())


def journey(
    *,
    first: Annotated[int, tyro.conf.arg(name="from")] = 0,
    list: Annotated[bool, tyro.conf.arg(name="list")] = False,
    yes: bool = False,
) -> None:
    """Go through all lessons, from what learning is to a GPT. Nothing is remembered between calls.

    Args:
        first: the lesson to begin with.
        list: only list the lessons.
        yes: run without waiting for answers.
    """
    known = lessons()
    console = _console()
    rest = ": from one dial to a GPT, every number computed as you go\n"
    console.print(Text.assemble(("The journey", "bold"), rest))
    for found in known:
        console.print(f"  {found.n:>2}  {found.title}")
    if list:
        console.print(
            "\nplay one with 'whence lesson N', or all from N on with 'whence journey --from N'"
        )
        return
    if not 0 <= first <= known[-1].n:
        raise WhenceError(f"there is no lesson {first}: they are 0 to {known[-1].n}.")
    wait = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    for found in (found for found in known if found.n >= first):
        if wait and not _goes_on(console, found):
            console.print(f"to go on later: whence journey --from {found.n}")
            return
        _play(found, console, wait)


def _console() -> Console:
    console = Console()
    console.width = min(console.width, WIDTH)
    return console


def _goes_on(console: Console, found: Lesson) -> bool:
    said = console.input(Text(f"\nEnter for lesson {found.n}, {found.title}; q to stop: ", "dim"))
    return said.strip().lower() not in ("q", "quit")


def _play(found: Lesson, console: Console, wait: bool) -> None:
    play = Play(found)
    for cell in found.cells:
        if cell.shows_code:
            code = Syntax(cell.source, "python", theme="ansi_dark", word_wrap=True)
            console.print(Padding(code, (1, 2, 0, 2)))
        output = play.run(cell.index)
        _show(output, console)
        if wait and cell.kind == "question":
            _predict(play, cell, console)
        if wait and cell.kind == "exercise":
            _exercise(play, cell, console)
        if wait and cell.kind in ("picture", "answer"):
            console.input(Text("Enter to go on ", "dim"))


def _show(output: Output, console: Console) -> None:
    if output.markdown:
        console.print(Padding(Markdown(bold_words(output.markdown)), (1, 0, 0, 0)))
    elif output.text:
        console.print(Padding(output.text, (1, 2, 0, 2)), style="cyan")


def _predict(play: Play, cell: Cell, console: Console) -> None:
    while True:
        said = console.input(Text.assemble(("your letter", "bold"), " (Enter to skip): "))
        try:
            play.run(cell.index, choice=said)
            return
        except WhenceError as error:
            console.print(str(error), style="yellow")


def _exercise(play: Play, cell: Cell, console: Console) -> None:
    """Ask for the blanks until they are right, or the learner has had enough."""
    while True:
        values = {}
        for blank in cell.blanks:
            said = console.input(
                Text.assemble((blank.name, "bold"), f", {blank.what} (Enter to go on): ")
            )
            if not said.strip():
                return
            values[blank.name] = said
        try:
            output = play.run(cell.index, values=values)
        except WhenceError as error:
            console.print(str(error), style="yellow")
            continue
        _show(output, console)
        if output.right:
            return
