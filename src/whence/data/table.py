"""Tables of numbers from CSV files, with errors that name the row and the column."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from whence.errors import WhenceError


@dataclass(frozen=True)
class Table:
    """Features and targets with their names.

    Attributes:
        features: the names of the feature columns.
        target: the name of the column that is predicted.
        rows: the features, one list a row.
        targets: the target of each row.
    """

    features: list[str]
    target: str
    rows: list[list[float]]
    targets: list[float]


def table_of(names: tuple[str, ...], rows: list[tuple[float, ...]]) -> Table:
    """Return a table whose last column is the target.

    Example:
        >>> table_of(("x", "y"), [(1.0, 2.0)]).targets
        [2.0]
    """
    return Table(
        list(names[:-1]), names[-1], [list(row[:-1]) for row in rows], [row[-1] for row in rows]
    )


def read_table(path: str | Path, target: str | None = None) -> Table:
    """Read a CSV of numbers; the first line may hold names, and the delimiter may be , ; or tab.

    Args:
        path: the file.
        target: the column to predict, the last one unless named.

    Raises:
        WhenceError: if the file cannot be read, has no numbers, fewer than two columns, a cell that
            isn't a number or a row of another length; the sentence names row and column.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise WhenceError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise WhenceError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as CSV in UTF-8."
        ) from None
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise WhenceError(f"{path} is empty: give a CSV with at least two columns of numbers.")
    delimiter = max(",;\t", key=first.count)
    cells = [
        (number, [cell.strip() for cell in row])
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter), start=1)
        if any(cell.strip() for cell in row)
    ]
    names = cells[0][1]
    if any(_number(cell) is None for cell in names):
        cells = cells[1:]
    else:
        names = [f"column {i + 1}" for i in range(len(names))]
    if len(names) < 2:
        raise WhenceError(
            f"{path} has one column: a fit needs at least two, a feature and a target."
        )
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise WhenceError(f"{path} has two columns called {twice!r}: give each its own name.")
    if len(cells) < 2:
        rows = "no row" if not cells else "one row"
        raise WhenceError(f"{path} has {rows} of numbers: a fit needs two or more.")
    numbers = [_checked(path, number, row, names) for number, row in cells]
    at = _position(path, names, target)
    return Table(
        features=[name for i, name in enumerate(names) if i != at],
        target=names[at],
        rows=[[x for i, x in enumerate(row) if i != at] for row in numbers],
        targets=[row[at] for row in numbers],
    )


def _number(cell: str) -> float | None:
    try:
        x = float(cell)
    except ValueError:
        return None
    return x if math.isfinite(x) else None


def _checked(path: Path, number: int, row: list[str], names: list[str]) -> list[float]:
    if len(row) != len(names):
        raise WhenceError(
            f"{path}, row {number} has {len(row)} cells, and the first line has {len(names)}."
        )
    numbers = []
    for name, cell in zip(names, row, strict=True):
        x = _number(cell)
        if x is None:
            what = f"{cell!r} isn't a number" if cell else "the cell is empty"
            raise WhenceError(f"{path}, row {number}, column {name!r}: {what}; fill or remove it.")
        numbers.append(x)
    return numbers


def _position(path: Path, names: list[str], target: str | None) -> int:
    if target is None:
        return len(names) - 1
    if target not in names:
        raise WhenceError(f"{path} has no column {target!r}; it has {', '.join(names)}.")
    return names.index(target)
