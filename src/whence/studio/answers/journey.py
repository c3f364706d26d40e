"""The lessons as a guided tour: each cell runs here, when it is reached."""

import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.lessons import Cell, Play, lessons
from whence.lessons import lesson as find

STOPS = ("prose", "question", "answer", "exercise")  # where a reader has to read
_ONE_AT_A_TIME = threading.RLock()


def journey(
    folder: Path,
    *,
    lesson: int = 0,
    cell: int = 0,
    choices: tuple[str, ...] = (),
    values: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Play a lesson up to a cell.

    Args:
        folder: the folder of runs, which isn't needed.
        lesson: its number.
        cell: the last cell that is shown.
        choices: the answers to questions, as `6:c` for cell 6.
        values: what was filled in, as `21:rate=0.05` for cell 21.

    Raises:
        WhenceError: where there is no such lesson, cell, answer or blank.

    Example:
        >>> journey(Path("runs"), lesson=1)["cells"][0]["kind"]
        'prose'
    """
    chosen = dict(_pair(text, "choices") for text in choices)
    filled: dict[int, dict[str, str]] = {}
    for text in values:
        at, rest = _pair(text, "values")
        name, _, value = rest.partition("=")
        filled.setdefault(at, {})[name] = value
    known = lessons()
    with _ONE_AT_A_TIME:
        play = _play(lesson)
        cells = play.lesson.cells
        if not 0 <= cell < len(cells):
            raise WhenceError(f"the lesson has no cell {cell}: give 0 to {len(cells) - 1}.")
        shown = [_shown(play, each, chosen, filled) for each in cells[: cell + 1]]
    return {
        "lessons": [{"n": each.n, "title": each.title, "about": each.about} for each in known],
        "lesson": lesson,
        "title": play.lesson.title,
        "cell": cell,
        "last": len(cells) - 1,
        "next": next((c.index for c in cells[cell + 1 :] if c.kind in STOPS), len(cells) - 1),
        "cells": shown,
        "seconds": [each.seconds for each in cells],
        "python": f"from whence.lessons import Play, lesson; Play(lesson({lesson})).all()",
        "shell": f"whence lesson {lesson}",
    }


def running(folder: Path, *, lesson: int = 0) -> dict[str, Any]:
    """Say which experiment of a lesson runs, since when, and how long it takes, about.

    Args:
        folder: the folder of runs, which isn't needed.
        lesson: its number.
    """
    play = _play(lesson)
    now = play.running
    cell = None if now is None else play.lesson.cells[now[0]]
    return {
        "cell": None if cell is None else cell.index,
        "since": 0.0 if now is None else time.perf_counter() - now[1],
        "takes": 0 if cell is None else cell.seconds,
        "python": f"from whence.lessons import Play, lesson; Play(lesson({lesson})).all()",
        "shell": f"whence lesson {lesson}",
    }


@lru_cache(4)
def _play(n: int) -> Play:
    return Play(find(n))


def _pair(text: str, where: str) -> tuple[int, str]:
    cell, mark, rest = text.partition(":")
    if not mark or not cell.isdecimal():
        raise WhenceError(f"{where} has {text[:40]!r}: write the cell's number, a colon, the rest.")
    return int(cell), rest


def _shown(
    play: Play, cell: Cell, chosen: dict[int, str], filled: dict[int, dict[str, str]]
) -> dict[str, Any]:
    """Run a cell that hasn't run yet, or that shows what the reader chose."""
    if cell.index not in play.outputs or cell.kind in ("question", "answer", "exercise"):
        play.run(cell.index, choice=chosen.get(cell.index, ""), values=filled.get(cell.index))
    output = play.outputs[cell.index].to_dict()
    return {
        **output,
        "source": cell.source if cell.shows_code else "",
        "choice": chosen.get(cell.index, ""),
        "blanks": [
            {
                "name": blank.name,
                "what": blank.what,
                "ends": blank.ends,
                "value": filled.get(cell.index, {}).get(blank.name, str(blank.value)),
            }
            for blank in cell.blanks
        ],
        "tried": cell.index in filled,
    }
