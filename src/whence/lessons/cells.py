"""Lessons as lists of cells, read from scripts in percent format."""

import ast
import difflib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from whence.errors import WhenceError
from whence.lessons.talk import blocks_in

Kind = Literal["prose", "question", "code", "answer", "picture", "exercise"]
KINDS: dict[str, Kind] = {
    "say": "prose",
    "ask": "question",
    "reveal": "answer",
    "check": "exercise",
    "curves": "picture",
    "bars": "picture",
    "grid": "picture",
    "flow": "picture",
    "moving": "picture",
    "descent": "picture",
    "passing": "picture",
}
YOUR_TURN = "# your turn"
_RANGE = re.compile(r"(.*), (-?[\d.]+) to (-?[\d.]+)$")  # `the rate, 0.001 to 0.2`
_TAKES = re.compile(r"takes (\d+) s")


@dataclass(frozen=True)
class Blank:
    """A value that the learner fills in: a line `name = value  # your turn: what it is`.

    With `, 0.001 to 0.2` after that, the value can be moved between these two.

    Attributes:
        name: of the variable.
        value: what is there at first.
        what: what is to be filled in.
        ends: the smallest and the largest value of a slider; none: it is typed.

    Example:
        >>> exercise = next(c for c in lesson(0).cells if c.kind == "exercise")
        >>> exercise.blanks
        [Blank(name='rate', value=0.02, what='the rate')]
    """

    name: str
    value: float | str
    what: str
    ends: tuple[float, float] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson.

    Attributes:
        index: its place, from 0.
        kind: prose, question, code, answer (to the question), picture or exercise.
        source: Markdown, or Python.
        markdown: whether `source` is Markdown, which needs no run.
        seconds: how long it takes, about: `# %% takes 12 s`; 0: no time to speak of.

    Example:
        >>> lesson(0).cells[0].kind
        'prose'
    """

    index: int
    kind: Kind
    source: str
    markdown: bool
    seconds: int = 0

    @property
    def shows_code(self) -> bool:
        """Whether a reader should see the source: it is the experiment, or the exercise."""
        return self.kind in ("code", "exercise")

    @cached_property
    def blanks(self) -> list[Blank]:
        """The values that the learner fills in."""
        if self.kind != "exercise":
            return []
        lines = self.source.split("\n")
        found = []
        for node in ast.parse(self.source).body:
            text = lines[node.lineno - 1]
            if isinstance(node, ast.Assign) and YOUR_TURN in text:
                what = text.split(YOUR_TURN, 1)[1].lstrip(": ")
                name = ast.unparse(node.targets[0])
                ends = _RANGE.match(what)
                between = (float(ends[2]), float(ends[3])) if ends else None
                value = ast.literal_eval(node.value)
                found.append(Blank(name, value, ends[1] if ends else what, between))
        return found

    @property
    def words(self) -> dict[str, str]:
        """Words of the prose that light up a block of a picture, with the block of each."""
        return blocks_in(self.source)


@dataclass(frozen=True)
class Lesson:
    """A lesson: its number, its title and its cells.

    Example:
        >>> lesson(1).title
        'A line'

    Attributes:
        n: its number.
        title: what it is called.
        about: its first sentence.
        path: its script.
        cells: in order.
    """

    n: int
    title: str
    about: str
    path: Path
    cells: list[Cell]


def folder() -> Path:
    """Where the scripts are: inside the installed package, or at the root of the repository."""
    inside = Path(__file__).parent / "scripts"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "lessons"


def lessons() -> list[Lesson]:
    """Return all lessons in order.

    Example:
        >>> [found.n for found in lessons()][:2]
        [0, 1]
    """
    return [read(path) for path in sorted(folder().glob("[0-9][0-9]_*.py"))]


def lesson(n: int | str) -> Lesson:
    """Return a lesson by its number, or by a word of its title.

    Raises:
        WhenceError: where there is none.

    Example:
        >>> lesson(0).title
        'What learning is'
    """
    known = lessons()
    for found in known:
        if str(found.n) == str(n):
            return found
    named = [found for found in known if str(n).lower() in found.title.lower()]
    if len(named) == 1:
        return named[0]
    titles = {found.title.lower(): found for found in known}
    close = difflib.get_close_matches(str(n).lower(), titles, n=1, cutoff=0.5)
    hint = (
        f"did you mean {titles[close[0]].n}, {titles[close[0]].title!r}?"
        if close
        else (f"there are 0 to {known[-1].n}; 'whence journey --list' lists them.")
    )
    raise WhenceError(f"there is no lesson {str(n)!r}: {hint}")


def read(path: Path) -> Lesson:
    """Read a script in percent format.

    Raises:
        WhenceError: where its first cell isn't Markdown with a title.
    """
    cells: list[Cell] = []
    for part in re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        mark, _, body = part.partition("\n")
        markdown = "[markdown]" in mark
        source = _uncomment(body) if markdown else body.strip("\n")
        kind = "prose" if markdown else _kind(source)
        takes = _TAKES.search(mark)
        seconds = int(takes[1]) if takes else 0
        cells.append(Cell(len(cells), kind, source, markdown, seconds))
    title = re.match(r"# (\d+) · (.+)\n+(.*)", cells[0].source) if cells else None
    if title is None:
        raise WhenceError(
            f"{path} isn't a lesson: it must begin with '# %% [markdown]' and a title."
        )
    return Lesson(int(title[1]), title[2], title[3], path, cells)


def _uncomment(body: str) -> str:
    return "\n".join(re.sub("^# ?", "", line) for line in body.split("\n")).strip()


def _kind(source: str) -> Kind:
    """What a cell is follows from its last call; a bare name stands for what it was set to."""
    body = ast.parse(source).body
    last: Any = body[-1] if body else None
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Name):
        name = last.value.id
        last = next(
            (n for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name),
            last,
        )
    call = getattr(last, "value", None)
    return KINDS.get(ast.unparse(call.func), "code") if isinstance(call, ast.Call) else "code"
