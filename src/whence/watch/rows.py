"""Which rows of a data set a batch is made of, found by what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any

from torch import Tensor


class Rows:
    """Finds the rows of a data set in a batch by their token ids, padded or not.

    A row of the data set is a mapping with a column of ids, such as `input_ids`, or several that
    are put together, as a prompt and its answer are. The data set is read once, when it is asked.

    Args:
        data: the data set: it has a length, and rows by number.
        key: what the batch calls its ids.

    Example:
        >>> import torch
        >>> rows = Rows([{"input_ids": [1, 2]}, {"prompt": [3], "answer": [4, 5]}])
        >>> rows({"input_ids": torch.tensor([[3, 4, 5, 0], [1, 2, 0, 0], [9, 9, 9, 9]])})
        [1, 0, None]
    """

    def __init__(self, data: Any, key: str = "input_ids"):
        self._data, self._key = data, key
        self._known: dict[tuple[int, ...], int] | None = None

    def __call__(self, batch: Any) -> list[int | None] | None:
        """Return the number of the row that each row of the batch is; none for one that isn't."""
        ids = batch.get(self._key) if isinstance(batch, Mapping) else batch
        if not isinstance(ids, Tensor) or ids.dim() != 2:
            return None
        mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
        return [
            self._find(row, None if mask is None or mask.dim() != 2 else mask[i].tolist())
            for i, row in enumerate(ids.tolist())
        ]

    def _find(self, row: list[int], mask: list[int] | None) -> int | None:
        known = self._read()
        if mask is not None and len(mask) == len(row):
            kept = tuple(t for t, m in zip(row, mask, strict=True) if m)
            if kept in known:
                return known[kept]
        tries = [tuple(row)]
        for pad in {row[0], row[-1]}:
            end, start = len(row), 0
            while end and row[end - 1] == pad:
                end -= 1
            while start < end and row[start] == pad:
                start += 1
            # The padding's token may end the row itself: try each cut.
            tries += [tuple(row[:e]) for e in range(end, len(row))]
            tries += [tuple(row[s:]) for s in range(1, start + 1)]
        return next((known[one] for one in tries if one in known), None)

    def _read(self) -> dict[tuple[int, ...], int]:
        if self._known is None:
            self._known = {}
            for number in range(len(self._data)):
                for ids in _sequences(self._data[number]):
                    self._known.setdefault(ids, number)
        return self._known


def _sequences(row: Any) -> list[tuple[int, ...]]:
    """List the sequences of ids that a row holds, and those of two of its columns together."""
    columns: Any = [row]
    if isinstance(row, Mapping):
        columns = row.values()
    elif isinstance(row, tuple):
        columns = row
    found = []
    for column in columns:
        values = column.tolist() if isinstance(column, Tensor) else column
        whole = isinstance(values, list | tuple) and all(type(v) is int for v in values)
        if whole and len(values):
            found.append(tuple(values))
    return found + [a + b for a, b in permutations(found, 2)]


Source = Callable[[Any], Any]
