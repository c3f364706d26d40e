"""A lesson being played: its cells run one after the other, and what each shows."""

import ast
import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from whence.errors import WhenceError
from whence.lessons.cells import Blank, Cell, Kind, Lesson
from whence.lessons.film import Film
from whence.lessons.svg import Picture
from whence.lessons.talk import Answer, Checked, Question, Said, blocks_in

# Lessons seed torch's only generator, so two of them must not run in between one another.
_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True)
class Output:
    """What a cell shows.

    Attributes:
        cell: the cell's place.
        kind: the cell's kind.
        markdown: what it says.
        text: the same, and its picture, as plain text.
        svg: its picture, or "".
        frames: where the picture moves, its moments: what replaces its `g.moves`, and what is told.
        table: the numbers behind the picture, the columns' names first.
        blocks: names of the picture's blocks, each an element with that `data-block`.
        words: words of `markdown` that light up a block, with the block of each.
        numbers: the numbers that the cell computed, by name.
        choices: of a question.
        right: of an answer and an exercise: whether it is; None where nothing was chosen.

    Example:
        >>> Output(cell=0, kind="prose", markdown="A *line*.").to_dict()["markdown"]
        'A *line*.'
    """

    cell: int
    kind: Kind
    markdown: str = ""
    text: str = ""
    svg: str = ""
    frames: list[dict[str, str]] = field(default_factory=list)
    table: list[list[Any]] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)
    right: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the output as plain numbers, strings and lists, ready for JSON."""
        found = asdict(self)
        found["numbers"] = {k: v for k, v in self.numbers.items() if math.isfinite(v)}
        found["table"] = [[_finite(x) for x in row] for row in self.table]
        return {"schema": 1, **found}


class Play:
    """A lesson being played.

    Attributes:
        lesson: what is played.
        names: what its cells have computed, by name.
        outputs: what each cell that has run shows, by the cell's place.
        running: the cell that runs now, and since when (`time.perf_counter`).

    Example:
        >>> from whence.lessons import Play, lesson
        >>> play = Play(lesson(1))
        >>> question = next(c for c in play.lesson.cells if c.kind == "question")
        >>> play.run(question.index, choice="a").choices[0]
        'start'
    """

    def __init__(self, lesson: Lesson) -> None:
        self.lesson = lesson
        self.running: tuple[int, float] | None = None
        self.names: dict[str, Any] = {"__name__": f"lesson_{lesson.n:02d}"}
        self.outputs: dict[int, Output] = {}

    def run(
        self, index: int, *, choice: str = "", values: Mapping[str, Any] | None = None
    ) -> Output:
        """Run a cell, and before it those ahead of it that haven't run yet.

        Args:
            index: the cell's place.
            choice: a letter, for a question.
            values: for an exercise, what the learner put in its blanks, by name.

        Raises:
            WhenceError: a place, a letter or a value that can't be.
        """
        cells = self.lesson.cells
        if not 0 <= index < len(cells):
            raise WhenceError(f"the lesson has no cell {index}: they are 0 to {len(cells) - 1}.")
        filled = _filled(cells[index], values or {})
        with _ONE_AT_A_TIME:
            for cell in cells[:index]:
                if cell.index not in self.outputs:
                    self.outputs[cell.index] = self._run(cell)
            output = self.outputs[index] = self._run(cells[index], choice, filled)
        return output

    def all(self) -> list[Output]:
        """Run every cell that hasn't run yet, and return what all show."""
        self.run(len(self.lesson.cells) - 1)
        return [self.outputs[cell.index] for cell in self.lesson.cells]

    def _run(self, cell: Cell, choice: str = "", filled: Mapping[str, Any] | None = None) -> Output:
        if cell.markdown:
            said = Said(cell.source)
            return Output(cell.index, "prose", cell.source, str(said), words=cell.words)
        tree = ast.parse(cell.source, str(self.lesson.path))
        numbers = _assigned(tree)
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (filled or {}):
                value = (filled or {})[ast.unparse(node.targets[0])]
                node.value = ast.copy_location(ast.Constant(value), node.value)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        self.running = (cell.index, time.perf_counter())
        try:
            with _one_thread():
                shown = self._execute(cell, tree, last)
        finally:
            self.running = None
        if isinstance(shown, Question) and choice:
            shown.choose(choice)
        found = {name: self.names[name] for name in numbers}
        return _output(cell, shown, {k: float(v) for k, v in found.items() if _is_number(v)})

    def _execute(self, cell: Cell, tree: ast.Module, last: ast.stmt | None) -> Any:
        """Run a cell's statements, and return the value of its last line."""
        where = f"{self.lesson.path.name}, cell {cell.index}"
        exec(compile(tree, where, "exec"), self.names)
        if not isinstance(last, ast.Expr):
            return None
        return eval(compile(ast.Expression(last.value), where, "eval"), self.names)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: lessons are so small that a second one only slows them."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(before)


def _assigned(tree: ast.Module) -> list[str]:
    """The names that a cell's own lines set."""
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _filled(cell: Cell, values: Mapping[str, Any]) -> dict[str, Any]:
    """Check what a learner put in the blanks: plain numbers and words, of the blank's kind."""
    blanks = {blank.name: blank for blank in cell.blanks}
    for name in values:
        if name not in blanks:
            known = ", ".join(blanks) or "none"
            raise WhenceError(f"this cell has no blank {name!r} to fill in; it has: {known}.")
    return {name: read_blank(blanks[name], value) for name, value in values.items()}


def read_blank(blank: Blank, value: Any) -> float | str:
    """Read what was typed into a blank.

    Raises:
        WhenceError: where a number is wanted and it is none.

    Example:
        >>> read_blank(Blank("rate", 0.1, ""), " 0,5 ")
        0.5
    """
    if isinstance(blank.value, str):
        return str(value).strip()
    try:
        number = (
            float(value.strip().replace(",", ".").replace("−", "-"))
            if isinstance(value, str)
            else float(value)
        )
    except (TypeError, ValueError):
        raise WhenceError(f"{value!r} isn't a number: {blank.name} must be one.") from None
    if not math.isfinite(number):
        raise WhenceError(f"{blank.name} must be a finite number.")
    return number


def _output(cell: Cell, shown: Any, numbers: dict[str, float]) -> Output:
    drawn = shown.picture if isinstance(shown, Checked) else shown
    picture: dict[str, Any] = {}
    if isinstance(drawn, Picture):
        table = [list(drawn.columns), *(list(row) for row in drawn.rows)]
        picture = {"svg": drawn.svg, "table": table, "blocks": list(drawn.blocks)}
        if isinstance(drawn, Film):
            picture["frames"] = [asdict(frame) for frame in drawn.frames]
    if isinstance(shown, Picture):
        return Output(cell.index, cell.kind, text=str(shown), numbers=numbers, **picture)
    markdown = getattr(shown, "markdown", "")
    right = shown.right if isinstance(shown, Answer | Checked) else None
    choices = list(shown.choices) if isinstance(shown, Question) else []
    return Output(
        cell.index,
        cell.kind,
        markdown,
        "" if shown is None else str(shown),
        words=blocks_in(markdown),
        numbers=numbers,
        choices=choices,
        right=right,
        **picture,
    )


def _finite(x: Any) -> Any:
    return None if isinstance(x, float) and not math.isfinite(x) else x
