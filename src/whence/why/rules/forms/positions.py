"""Where elements lie: the positions that rules are written with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from whence.errors import WhenceError
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.opening import Factor


def column(at: Index) -> Index:
    """[m] → [m, 1]: one position, or truth, for each element opened."""
    return np.asarray(at).reshape(-1, 1)


def column_values(values: np.ndarray) -> np.ndarray:
    """[m] → [m, 1], one value for each element opened."""
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def coordinates(at: Index, size: Sequence[int]) -> list[np.ndarray]:
    """Split logical positions into one index for each dimension."""
    if not size:
        return []
    return list(np.unravel_index(np.asarray(at, dtype=np.int64), tuple(size)))


def position(coordinates: Sequence[Any], size: Sequence[int]) -> Index:
    """Join one index for each dimension into logical positions; they broadcast."""
    flat: Any = np.int64(0)
    for i, n in zip(coordinates, size, strict=True):
        flat = flat * n + i
    return np.asarray(flat, dtype=np.int64)


def broadcast(at: Index, out: Sequence[int], ref: Ref) -> Index:
    """Tell which element of `ref` was broadcast to each output position."""
    if tuple(out) == ref.size:
        return np.asarray(at, dtype=np.int64)
    where = coordinates(at, out)[len(out) - len(ref.size) :]
    kept = [i if n > 1 else np.zeros_like(i) for i, n in zip(where, ref.size, strict=True)]
    flat = position(kept, ref.size)
    return flat if flat.ndim else np.full(np.shape(at), int(flat))


# What arguments are called in formulas.
_SYMBOLS = {
    "self": "x", "src": "x", "other": "y", "tensor1": "y", "tensor2": "z", "end": "y",
    "weight": "w", "grad_output": "g", "output": "y", "target": "y", "value": "v", "mask": "m",
    "condition": "c", "exponent": "y",
}  # fmt: skip


def operand(call: Call, name: str, at: Index) -> Factor | float:
    """Return an elementwise operation's argument at the output's positions, or its number."""
    value = call.get(name)
    if isinstance(value, Ref):
        at = column(broadcast(at, call.output.size, value))
        return Factor(value, at, _SYMBOLS.get(name, ""))
    if value is None:
        raise WhenceError(
            f"{call.op.func} read a tensor that isn't recorded, such as a sparse one: its numbers "
            "cannot be opened."
        )
    if isinstance(value, complex):
        return cast(float, value)  # what is done with it here, NumPy does with either
    return float(value)


def dimensions(dim: Any, rank: int) -> list[int]:
    """Spell the dimensions of a reduction as a sorted list; nothing given means all."""
    if dim is None or dim == []:
        return list(range(rank))
    dims = [dim] if isinstance(dim, int) else list(dim)
    return sorted(d % rank if rank else 0 for d in dims)


def reduced(at: Index, source: Ref, dims: Sequence[int], out: Sequence[int]) -> Index:
    """Return, for each output element, the input elements that were reduced to it.

    Args:
        at: [m], positions in the output.
        source: the input.
        dims: the dimensions that were reduced.
        out: shape of the output, with or without those dimensions.

    Returns:
        [m, n] positions in the input.
    """
    rank = len(source.size)
    kept = [d for d in range(rank) if d not in dims]
    where = coordinates(at, out)
    if len(out) == rank:
        where = [where[d] for d in kept]
    many = math.prod(source.size[d] for d in dims)
    inner = np.indices([source.size[d] for d in dims]).reshape(len(dims), many)
    full: list[Any] = [0] * rank
    for d, i in zip(kept, where, strict=True):
        full[d] = column(i)
    for d, i in zip(dims, inner, strict=True):
        full[d] = i.reshape(1, -1)
    flat = position(full, source.size) if rank else np.zeros((1, 1), dtype=np.int64)
    return np.broadcast_to(flat, (len(at), flat.shape[1]))


def chosen(hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List the hits of each row.

    Args:
        hits: [m, n], which of n candidates belong to each of m elements.

    Returns:
        [m, w] candidates and [m, w] which of them are meant, w the largest number of hits.
    """
    width = max(int(hits.sum(1).max(initial=0)), 1)
    order = np.argsort(~hits, axis=1, kind="stable")[:, :width]
    return order, np.take_along_axis(hits, order, 1)
