"""What a lesson says and asks: prose with computed numbers, a question, its answer, an exercise.

Each function returns an object that a notebook shows by itself, as Markdown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whence.errors import WhenceError
from whence.lessons.svg import SUPERSCRIPT, Picture

LETTERS = "abcdef"
FIGURE = re.compile(r"[-−]?\d|–$")  # what a figure begins with, or that there is none
POWER = re.compile(r"(?<=\d)e([+-]?)0*(\d+)(?!\w)")  # as in 7.8e-05
BLOCK_LINK = re.compile(r"\[([^\]]+)\]\(#([\w-]+)\)")


@dataclass(frozen=True)
class Said:
    """Prose in Markdown whose numbers a run has filled in.

    A link `[the error](#error)` is a word that lights up the picture's block `error`.

    Example:
        >>> Said("Look at [the error](#error).")._repr_markdown_()
        'Look at [the error](#error).'
    """

    markdown: str

    def __str__(self) -> str:
        return plain(self.markdown)

    def _repr_markdown_(self) -> str:
        return self.markdown


def in_print(text: str) -> str:
    """Write negative numbers and powers of ten as print does, but leave code as it is.

    Example:
        >>> in_print("from -1 by `x = -1`, a-1, to 7.8e-05")
        'from −1 by `x = -1`, a-1, to 7.8·10⁻⁵'
    """
    parts = text.split("`")
    parts[::2] = [re.sub(r"(?<![\w-])-(?=\d)", "−", POWER.sub(_power, part)) for part in parts[::2]]
    return "`".join(parts)


def _power(found: re.Match[str]) -> str:
    """e-05 as ·10⁻⁵."""
    return "·10" + f"{found[1].replace('+', '')}{found[2]}".translate(SUPERSCRIPT)


def plain(markdown: str) -> str:
    """Return Markdown without its links to blocks.

    Example:
        >>> plain("Look at [the error](#error).")
        'Look at the error.'
    """
    return BLOCK_LINK.sub(r"\1", markdown)


def bold_words(markdown: str) -> str:
    """Return Markdown whose words that light up a block are bold, for where nothing lights up.

    Example:
        >>> bold_words("Look at [the error](#error).")
        'Look at **the error**.'
    """
    return BLOCK_LINK.sub(r"**\1**", markdown)


def blocks_in(markdown: str) -> dict[str, str]:
    """Return the words that light up a block, with the block of each.

    Example:
        >>> blocks_in("Look at [the error](#error).")
        {'the error': 'error'}
    """
    return dict(BLOCK_LINK.findall(markdown))


def say(markdown: str) -> Said:
    """Say something with the run's numbers in it.

    Example:
        >>> print(say(f"The loss is {0.25:.2f}."))
        The loss is 0.25.
    """
    lines = [
        line.strip() if line.strip().startswith("|") else line for line in markdown.split("\n")
    ]
    return Said(in_print("\n".join(lines).strip()))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as Markdown, for use in what is said; figures are aligned right.

    Example:
        >>> print(table(["x", "y"], [["one", 2.5]]))
        | x | y |
        |---|---:|
        | one | 2.5 |

    Args:
        columns: their names.
        rows: of numbers or words.
    """
    cells = [list(map(_cell, columns)), *(list(map(_cell, row)) for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    sides = [
        "---:" if all(map(FIGURE.match, column)) else "---"
        for column in zip(*cells[1:], strict=True)
    ]
    return "\n".join([lines[0], "|" + "|".join(sides) + "|", *lines[1:]])


def _cell(x: Any) -> str:
    return (f"{x:.6g}" if isinstance(x, float) else str(x)).replace("|", "\\|")


@dataclass
class Question:
    """A question to be answered before the experiment.

    Attributes:
        text: what is asked.
        choices: the answers to choose from.
        mine: the letter of the learner's choice, or "" as long as there is none.

    Example:
        >>> Question("Does it rise?", ("yes", "no")).letters
        ['a', 'b']
    """

    text: str
    choices: tuple[str, ...]
    mine: str = ""

    def choose(self, letter: str) -> None:
        """Take the learner's choice.

        Raises:
            WhenceError: where it is none of the letters.
        """
        letter = letter.strip().lower()
        if letter and letter not in self.letters:
            known = ", ".join(self.letters)
            raise WhenceError(f"{letter!r} isn't an answer: choose one of {known}.")
        self.mine = letter

    @property
    def letters(self) -> list[str]:
        """The letters of the choices."""
        return list(LETTERS[: len(self.choices)])

    @property
    def markdown(self) -> str:
        """The question with its choices, as Markdown."""
        lines = [f"- {a}) {b}" for a, b in zip(self.letters, self.choices, strict=True)]
        return "\n".join([f"**Predict first.** {self.text}", "", *lines])

    def __str__(self) -> str:
        return plain(self.markdown)

    def _repr_markdown_(self) -> str:
        how = "" if self.mine else "\n\n*Put your letter between the quotes of `mine` and run on.*"
        return self.markdown + how


def ask(text: str, *choices: str, mine: str = "") -> Question:
    """Ask for a prediction.

    Args:
        text: the question.
        *choices: two to six answers.
        mine: the letter of the learner's choice.

    Raises:
        WhenceError: where `mine` isn't a letter of a choice.

    Example:
        >>> ask("Does it rise?", "yes", "no", mine="b").letters
        ['a', 'b']
    """
    question = Question(in_print(text), tuple(map(in_print, choices)))
    question.choose(mine)
    return question


@dataclass(frozen=True)
class Answer:
    """What the experiment answers to a question, beside what was predicted.

    Attributes:
        question: what was asked.
        letter: of the right choice.
        why: what the experiment showed.

    Example:
        >>> Answer(Question("Does it rise?", ("yes", "no"), "a"), "b", "It fell.").right
        False
    """

    question: Question
    letter: str
    why: str

    @property
    def right(self) -> bool | None:
        """Whether the prediction was right; None without one."""
        return self.question.mine == self.letter if self.question.mine else None

    @property
    def markdown(self) -> str:
        """The answer as Markdown."""
        mine, choices = self.question.mine, self.question.choices
        told = {
            True: "**You predicted right:** ",
            False: f"You predicted {mine}). **It is ",
            None: "**It is ",
        }
        it = f"{self.letter}) {choices[LETTERS.index(self.letter)]}"
        start = f"{told[self.right]}{it}." + ("" if self.right else "**")
        return f"{start}\n\n{self.why.strip()}"

    def __str__(self) -> str:
        return plain(self.markdown)

    def _repr_markdown_(self) -> str:
        return self.markdown


def reveal(question: Question, letter: str, why: str) -> Answer:
    """Give the answer that the experiment found.

    Args:
        question: what was asked.
        letter: of the right choice, worked out from the run's numbers.
        why: what was seen, with the numbers.

    Example:
        >>> print(reveal(ask("Does it rise?", "yes", "no", mine="a"), "b", "It fell to 0.1."))
        You predicted a). **It is b) no.**
        <BLANKLINE>
        It fell to 0.1.
    """
    return Answer(question, letter, in_print(why))


@dataclass(frozen=True)
class Checked:
    """Whether an exercise is solved, a sentence on it, and a picture of what was tried.

    Attributes:
        right: whether it is solved.
        why: the sentence.
        picture: of what was tried.

    Example:
        >>> Checked(False, "Count again.").markdown
        '✗ **Not yet.** Count again.'
    """

    right: bool
    why: str
    picture: Picture | None = None

    @property
    def markdown(self) -> str:
        """The verdict and the sentence, as Markdown."""
        return f"{'✓ **Right.**' if self.right else '✗ **Not yet.**'} {self.why}"

    def __str__(self) -> str:
        return plain(self.markdown)

    def _repr_markdown_(self) -> str:
        return self.markdown


def check(right: Any, why: str, hint: str, picture: Picture | None = None) -> Checked:
    """Judge an exercise.

    Args:
        right: whether it is solved.
        why: what to say if it is.
        hint: what to say if it isn't: what came out, and where to look.
        picture: what came of the value; it is redrawn as the value is moved.

    Example:
        >>> print(check(1 + 1 == 2, "Two.", "Count again."))
        ✓ **Right.** Two.
    """
    return Checked(bool(right), in_print((why if right else hint).strip()), picture)
