"""A GPT written with + · ^ exp ln and lists alone, so that any scalar engine can train it."""

import math
import random
from pathlib import Path
from typing import Any

import micrograd.engine

from whence.scalar import dot, pick
from whence.scalar.value import Value

WINDOW, WIDTH, HEADS = 16, 16, 4
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


class GPT:
    """One layer, RMS norm, causal attention of 4 heads, relu MLP of four times the width."""

    def __init__(self, value: Any, whole_rows: bool = False) -> None:
        # A product of rows as one node (whence.scalar.dot), or as a chain of · and +.
        self.row = dot if whole_rows else chain
        draw = random.Random(42)

        def matrix(rows: int, columns: int, size: float = 0.2) -> list[list[Any]]:
            return [[value(draw.gauss(0, size)) for _ in range(columns)] for _ in range(rows)]

        self.tokens, self.positions = matrix(27, WIDTH), matrix(WINDOW, WIDTH)
        self.q, self.k, self.v, self.out = (matrix(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = matrix(4 * WIDTH, WIDTH), matrix(WIDTH, 4 * WIDTH)
        self.head = matrix(27, WIDTH)

    def parameters(self) -> list[Any]:
        """Every number, matrix after matrix."""
        groups = (self.tokens, self.positions, self.q, self.k, self.v, self.out)
        groups = (*groups, self.up, self.down, self.head)
        return [p for group in groups for row in group for p in row]


def chain(a: list[Any], b: list[Any]) -> Any:
    """A · b, written with · and + as for micrograd."""
    return sum((p * q for p, q in zip(a[1:], b[1:], strict=True)), a[0] * b[0])


def linear(model: GPT, W: list[list[Any]], x: list[Any]) -> list[Any]:
    return [model.row(row, x) for row in W]


def norm(x: list[Any]) -> list[Any]:
    scale = (sum((xi * xi for xi in x[1:]), x[0] * x[0]) * (1 / len(x)) + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def softmax(scores: list[Any]) -> list[Any]:
    powers = [s.exp() for s in scores]
    whole = sum(powers[1:], powers[0]) ** -1
    return [p * whole for p in powers]


def chosen(table: list[list[Any]], token: Any) -> list[Any]:
    """A row of a table; a token that is a Value may be another one at the next replay."""
    if isinstance(token, Value):
        return [pick([row[i] for row in table], token) for i in range(WIDTH)]
    return table[token]


def next_character_loss(model: GPT, ids: Any) -> Any:
    """The mean of −ln p(next character) over a window."""
    keys: list[list[Any]] = []
    values: list[list[Any]] = []
    losses = []
    size = WIDTH // HEADS
    for t in range(WINDOW):
        x = [a + b for a, b in zip(chosen(model.tokens, ids[t]), model.positions[t], strict=True)]
        h = norm(x)
        q = linear(model, model.q, h)
        keys.append(linear(model, model.k, h))
        values.append(linear(model, model.v, h))
        read: list[Any] = []
        for j in range(0, WIDTH, size):
            part = slice(j, j + size)
            scores = [model.row(q[part], key[part]) * size**-0.5 for key in keys]
            weights = softmax(scores)
            read += [model.row(weights, [v[i] for v in values]) for i in range(j, j + size)]
        x = [a + b for a, b in zip(x, linear(model, model.out, read), strict=True)]
        hidden = [u.relu() for u in linear(model, model.up, norm(x))]
        x = [a + b for a, b in zip(x, linear(model, model.down, hidden), strict=True)]
        p = softmax(linear(model, model.head, norm(x)))
        target = ids[t + 1]
        right = pick(p, target) if isinstance(target, Value) else p[target]
        losses.append(right.log() * -1.0)
    return sum(losses[1:], losses[0]) * (1 / WINDOW)
