"""A piece of a tensor that a page can draw: never more than 128 × 128 numbers at once."""

import math
from typing import Any

import numpy as np
import torch

from whence.errors import WhenceError
from whence.why import Number, Numbers, Trace
from whence.why.recording.storage import Ref

MOST = 128
TOKENS, WIDE = 64, 48  # of the flow: rows, and numbers of each


def tile(
    t: Trace,
    numbers: Numbers,
    lead: int = 0,
    row: int = 0,
    column: int = 0,
    most: int = MOST,
) -> dict[str, Any]:
    """Cut one tile out of a tensor, seen as matrices: the last two dimensions, for each `lead`.

    Args:
        t: the trace.
        numbers: the tensor.
        lead: which matrix, counted over the dimensions before the last two.
        row: a row that must be in it.
        column: a column that must be in it.
        most: rows and columns, at most.

    Raises:
        WhenceError: there is no such matrix.
    """
    name = numbers.name
    before, rows, columns = matrices(numbers.shape)
    leads = math.prod(before)
    if not (0 <= lead < max(1, leads) and 0 <= row < max(1, rows) and 0 <= column < columns):
        raise WhenceError(f"{name} has shape {list(numbers.shape)}: there is no such place in it.")
    most = max(1, min(most, MOST))
    top, left = row // most * most, column // most * most
    i = np.arange(top, min(rows, top + most))
    j = np.arange(left, min(columns, left + most))
    at = (lead * rows + i[:, None]) * columns + j
    values = numbers.ref.gather(at.reshape(-1)).reshape(at.shape)
    wide = numbers.ref.dtype in (torch.float64, torch.int64)
    return {
        "name": name,
        "opens": name in t or name.rpartition(".")[0] in t,
        "shape": list(numbers.shape),
        "dtype": str(numbers.ref.dtype).removeprefix("torch."),
        "leads": leads,
        "lead": lead,
        "index": [int(n) for n in np.unravel_index(lead, before)] if before else [],
        "rows": rows,
        "columns": columns,
        "first": lead * rows * columns,
        "top": top,
        "left": left,
        "values": values.astype(np.float64 if wide else np.float32),
        "row_labels": _labels(t, numbers, at[:, :1]),
        "column_labels": _vocabulary(t, numbers, j),
    }


def ribbon(t: Trace, numbers: Numbers, example: int, most: int = MOST) -> dict[str, Any] | None:
    """Cut the tile of an activation whose rows are the tokens of one example.

    Args:
        t: the trace.
        numbers: an activation [B, T, …].
        example: which of the B.
        most: rows and columns, at most.

    Returns:
        As `tile`; `None` where its first two dimensions aren't examples and positions.
    """
    shape, part = numbers.shape, t.labels.part_of(numbers.ref)
    if len(shape) < 3 or part is None or shape[0] != part.layouts.examples or not numbers.ref.numel:
        return None
    labels = _read(t, numbers, min(example, shape[0] - 1), min(shape[1], most))
    ids = t.labels.ids_of(numbers.ref)
    length = 0 if ids is None else ids.shape[1]
    if labels is None and (t.labels.decode is not None or shape[1] != length):
        return None
    rows, columns = shape[1], math.prod(shape[2:])
    first = min(example, shape[0] - 1) * rows * columns
    i, j = np.arange(min(rows, most)), np.arange(min(columns, most))
    at = first + i[:, None] * columns + j
    return {
        "name": numbers.name,
        "opens": True,
        "shape": list(shape),
        "dtype": str(numbers.ref.dtype).removeprefix("torch."),
        "leads": 1,
        "lead": 0,
        "index": [],
        "rows": rows,
        "columns": columns,
        "first": first,
        "top": 0,
        "left": 0,
        "values": numbers.ref.gather(at.reshape(-1)).reshape(at.shape).astype(np.float32),
        "row_labels": labels,
        "column_labels": _vocabulary(t, numbers, j),
    }


def matrices(shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
    """See a shape as matrices: (the dimensions before, rows, columns).

    Example:
        >>> matrices((2, 3, 4, 5)), matrices((7,)), matrices(())
        (((2, 3), 4, 5), ((), 1, 7), ((), 1, 1))
    """
    full = (1,) * max(0, 2 - len(shape)) + tuple(shape)
    return full[:-2], full[-2], full[-1]


def place_of(number: Number) -> dict[str, int]:
    """Say in which matrix, row and column of its tensor a number is."""
    _, rows, columns = matrices(number.ref.size)
    rest, column = divmod(number.at, columns)
    lead, row = divmod(rest, rows)
    return {"lead": lead, "row": row, "column": column}


def _labels(t: Trace, numbers: Numbers, at: np.ndarray) -> list[str] | None:
    """The token that each row stands for, where rows are positions."""
    place = t.labels.place(numbers.ref, at.reshape(-1))
    if place.token is None or len(place.token) != len(at) or t.labels.decode is None:
        return None
    if len(at) > 1 and place.position is not None and len(np.unique(place.position)) == 1:
        return None
    return [t.labels.decode(int(token)) for token in place.token]


def _read(t: Trace, numbers: Numbers, example: int, rows: int) -> list[str] | None:
    """The token that was looked up for each row: in the embedding before, of as many rows."""
    decode, shape = t.labels.decode, numbers.shape
    ids = None
    for op in t.ops:
        if op.ordinal > numbers.ref.ordinal:
            break
        if op.phase == "forward" and op.name == "embedding":
            read = op.args[1]
            if isinstance(read, Ref) and read.size == shape[:2]:
                ids = read
    if decode is None:
        return None
    if ids is None:
        tokens = t.labels.ids_of(numbers.ref)
        if tokens is None or tokens.shape[1] != shape[1]:
            return None
        return [decode(int(token)) for token in tokens[example, :rows]]
    return [decode(int(token)) for token in ids.gather(example * shape[1] + np.arange(rows))]


def _vocabulary(t: Trace, numbers: Numbers, columns: np.ndarray) -> list[str] | None:
    """The token of each column, where the columns are the vocabulary."""
    base = numbers.name.removesuffix(".grad").partition("#")[0]
    if base not in ("logits", "output", "head") or t.labels.decode is None:
        return None
    sizes = {op.args[0].size[0] for op in t.ops if op.name == "embedding"}
    if numbers.shape[-1] not in sizes:  # the columns are classes
        return None
    return [t.labels.decode(int(token)) for token in columns]
