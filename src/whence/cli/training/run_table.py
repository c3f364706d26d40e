"""The list of runs: a table where it fits, else a few lines for each run."""

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, chop_cells
from rich.padding import Padding
from rich.text import Text

from whence.cli.terminal import Console
from whence.errors import in_bytes
from whence.visible import one_line

HEADS = ("run", "state", "model", "text", "steps", "bits/byte", "disk")
TEXT, NUMBERS = HEADS.index("text"), 2  # the column that may be cut, and how many end in numbers
LEAST = 10  # characters of a text's name


def print_runs(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a list of runs; in a terminal, so that no line is wider than it is.

    Args:
        rows: what `whence runs --json` gives of each.
        console: where to print.
    """
    cells = [_cells(row) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(HEADS, *cells, strict=True)]
    if console.is_terminal:
        over = sum(widths) + 2 * (len(widths) - 1) - console.width
        widths[TEXT] -= max(0, over)
        if over > 0 and widths[TEXT] < LEAST:
            for row, cell in zip(rows, cells, strict=True):
                console.print(cell[0], soft_wrap=True)  # whole, so that it can be copied
                console.print(Padding(Text(_facts(row, cell)), (0, 0, 0, 2)))
            return
    for cell in [[*HEADS], *cells]:
        cell[TEXT] = _cut(cell[TEXT], widths[TEXT])
        line = "  ".join(map(_aligned, range(len(HEADS)), cell, widths)).rstrip()
        console.print(Text(line, "bold" if cell[0] is HEADS[0] else ""), soft_wrap=True)


def _aligned(column: int, text: str, width: int) -> str:
    room = " " * (width - cell_len(text))
    return room + text if column >= len(HEADS) - NUMBERS else text + room


def _cells(row: dict[str, Any]) -> list[str]:
    best = row["bits_per_byte"]
    return [
        one_line(row["path"]),
        row["state"],
        row["model"],
        one_line(row["text"]),
        _steps(row["done"], row["steps"]),
        f"{best:.4f}" if best is not None else "–",
        in_bytes(row["disk"]),
    ]


def _steps(done: int, steps: int) -> str:
    return "–" if not steps else f"{done:,}" if done == steps else f"{done:,} of {steps:,}"


def _facts(row: dict[str, Any], cells: list[str]) -> str:
    _, state, model, text, steps, best, disk = cells
    facts = [state, f"{model} on {text}" if model else "", f"step {steps}" if row["steps"] else ""]
    facts += [f"{best} bits/byte" if row["bits_per_byte"] is not None else "", disk]
    return " · ".join(fact for fact in facts if fact)


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else chop_cells(text, width - 1)[0] + "…"
