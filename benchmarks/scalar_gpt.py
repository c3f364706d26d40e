"""What the small GPT needs to run on any scalar engine, and its text."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import micrograd.engine

from whence.models.small.gpt import SmallGPT

WINDOW = 16
ALPHABET = "\nabcdefghijklmnopqrstuvwxyz"
NAMES = Path(__file__).parents[1].parent / "shared" / "data" / "names.txt"
_FEW = "ada\nblaise\nemmy\ngeorge\nhenri\njohn\nkurt\nleonhard\nmary\nsofia\nsrinivasa\ncarl\n"


def windows(n: int) -> list[list[int]]:
    """As many windows of 17 characters of names: 16 to read and 16 to predict."""
    text = NAMES.read_text(encoding="utf-8") if NAMES.exists() else _FEW * 99
    ids = [ALPHABET.index(c) for c in text.lower() if c in ALPHABET]
    starts = random.Random(0).sample(range(len(ids) - WINDOW - 1), k=n)
    return [ids[s : s + WINDOW + 1] for s in starts]


def extended_micrograd() -> Any:
    """Micrograd's Value with exp and log, added as its own operations are written."""
    plain = micrograd.engine.Value

    def exp(self: Any) -> Any:
        out = plain(math.exp(self.data), (self,), "exp")

        def _backward() -> None:
            self.grad += out.data * out.grad

        out._backward = _backward
        return out

    def log(self: Any) -> Any:
        out = plain(math.log(self.data), (self,), "log")

        def _backward() -> None:
            self.grad += out.grad / self.data

        out._backward = _backward
        return out

    plain.exp, plain.log = exp, log  # pyright: ignore
    return plain


class Grid:
    """Rows of any engine's numbers with the spelling of a matrix, by + · ^ exp and log alone."""

    def __init__(self, rows: Sequence[Sequence[Any]], value: Any = None) -> None:
        self.rows = [[value(x) for x in row] for row in rows] if value else rows
        self.shape = len(rows), len(rows[0])

    @property
    def T(self) -> "Grid":  # noqa: N802
        """Rows and columns exchanged."""
        return Grid(list(zip(*self.rows, strict=True)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple):
            return self.rows[index[0]][index[1]]
        return Grid(self.rows[index] if isinstance(index, slice) else [self.rows[i] for i in index])

    def map(self, function: Callable[[Any], Any]) -> "Grid":
        """The function of every number."""
        return Grid([[function(v) for v in row] for row in self.rows])

    def __matmul__(self, other: "Grid") -> "Grid":
        columns = list(zip(*other.rows, strict=True))
        return Grid([[chain(row, column) for column in columns] for row in self.rows])

    def __add__(self, other: Any) -> "Grid":
        return self._paired(other, lambda a, b: a + b)

    def __mul__(self, other: Any) -> "Grid":
        return self._paired(other, lambda a, b: a * b)

    def __truediv__(self, other: Any) -> "Grid":
        return self._paired(other, lambda a, b: a / b)

    def __pow__(self, power: float) -> "Grid":
        return self.map(lambda v: v**power)

    def exp(self) -> "Grid":
        """E to the power of every number."""
        return self.map(lambda v: v.exp())

    def relu(self) -> "Grid":
        """max(x, 0) of every number."""
        return self.map(lambda v: v.relu())

    def sum(self, dim: int | None = None, keepdim: bool = True) -> Any:
        """The sum of all, or of each row."""
        sums = [sum(row[1:], row[0]) for row in self.rows]
        return sum(sums[1:], sums[0]) if dim is None else Grid([[v] for v in sums])

    def _paired(self, other: Any, formula: Callable[[Any, Any], Any]) -> "Grid":
        if not isinstance(other, Grid):
            return self.map(lambda v: formula(v, other))
        n = self.shape[1]
        pairs = [
            (a, b * n if len(b) == 1 else b) for a, b in zip(self.rows, other.rows, strict=True)
        ]
        return Grid([[formula(p, q) for p, q in zip(a, b, strict=True)] for a, b in pairs])


def chain(a: Sequence[Any], b: Sequence[Any]) -> Any:
    """A · b, written with · and + as for micrograd."""
    return sum((p * q for p, q in zip(a[1:], b[1:], strict=True)), a[0] * b[0])


def numbers_of(model: SmallGPT) -> list[Any]:
    """Every number of a model over grids."""
    return [v for grid in model.parameters() for row in grid.rows for v in row]
