"""Picking elements by index, and adding gradients back to where they were picked from."""

from __future__ import annotations

from typing import Any

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.positions import broadcast, chosen, column, coordinates, position
from whence.why.rules.forms.rounding import own_unit
from whence.why.rules.opening import Factor, Opened, Part, Rule
from whence.why.rules.tensors.shape import moved


def _integers(ref: Ref) -> np.ndarray:
    return ref.gather(np.arange(ref.numel)).astype(np.int64).reshape(ref.size)


def embedding(call: Call, at: Index) -> Opened:
    """Open w[token, j]."""
    weight: Ref = call["weight"]
    which, j = np.divmod(at, weight.size[1])
    token = call["indices"].gather(which).astype(np.int64)
    opened = moved("w[token, j]", weight, token * weight.size[1] + j)
    opened.parts[0].shared = (Factor(call["indices"], column(which)),)
    return opened


def embedding_gradient(call: Call, at: Index) -> Opened:
    """Open Σ of the gradients at every place of the token."""
    gradient: Ref = call["grad_output"]
    tokens = _integers(call["indices"]).reshape(-1)
    token, j = np.divmod(at, call.output.size[1])
    hits = tokens == column(token)
    if call["padding_idx"] >= 0:
        hits &= column(token) != call["padding_idx"]
    places, valid = chosen(hits)
    width = call.output.size[1]
    part = Part("g[n, j]", (Factor(gradient, places * width + column(j), "g"),), valid=valid)
    if call["scale_grad_by_freq"]:
        part.coefficient = 1 / np.maximum(hits.sum(1, keepdims=True), 1)
    words = "Σ over n where the token is this one of g[n, j]"
    return Opened(words, [part], unit=own_unit(call))


class _Indexed:
    """How `x[i, :, j]` lays the index tensors and the untouched dimensions out."""

    def __init__(self, size: tuple[int, ...], indices: list[Any]):
        self.size = size
        self.dims, arrays = [], []
        dim = 0
        for index in indices:
            if index is None:
                dim += 1
                continue
            values = _integers(index)
            if index.dtype.is_floating_point is False and str(index.dtype) == "torch.bool":
                for found in np.nonzero(values):
                    self.dims.append(dim)
                    arrays.append(found)
                    dim += 1
            else:
                self.dims.append(dim)
                arrays.append(np.where(values < 0, values + size[dim], values))
                dim += 1
        self.arrays = np.broadcast_arrays(*arrays)
        self.rest = [d for d in range(len(size)) if d not in self.dims]
        adjacent = self.dims == list(range(self.dims[0], self.dims[-1] + 1))
        self.front = [d for d in self.rest if adjacent and d < self.dims[0]]
        self.back = [d for d in self.rest if d not in self.front]
        self.shape = (
            *(size[d] for d in self.front),
            *self.arrays[0].shape,
            *(size[d] for d in self.back),
        )

    def source(self, at: Index) -> Index:
        """Positions in x of the elements at these positions in `x[…]`."""
        where = coordinates(at, self.shape)
        count = len(self.front)
        picked = tuple(where[count : count + self.arrays[0].ndim])
        full: list[Any] = [0] * len(self.size)
        for d, c in zip(self.front, where, strict=False):
            full[d] = c
        for d, c in zip(self.back, where[count + len(picked) :], strict=True):
            full[d] = c
        for d, array in zip(self.dims, self.arrays, strict=True):
            full[d] = array[picked]
        return position(full, self.size)

    def hits(self, at: Index) -> tuple[Index, np.ndarray]:
        """Positions in `x[…]`, [m, w], that are the elements at these positions in x."""
        where = coordinates(at, self.size)
        equal = np.ones((len(at), self.arrays[0].size), dtype=bool)
        for d, array in zip(self.dims, self.arrays, strict=True):
            equal &= array.reshape(1, -1) == column(where[d])
        places, valid = chosen(equal)
        picked = coordinates(places, self.arrays[0].shape)
        full = [
            *(column(where[d]) for d in self.front),
            *picked,
            *(column(where[d]) for d in self.back),
        ]
        return np.broadcast_to(position(full, self.shape), places.shape), valid


def index(call: Call, at: Index) -> Opened:
    """Open x[i, …]."""
    source: Ref = call["self"]
    return moved("x[i]", source, _Indexed(source.size, call["indices"]).source(at))


def index_put(call: Call, at: Index) -> Opened:
    """Open a tensor some of whose elements were replaced, or added to."""
    x, values = call["self"], call["values"]
    layout = _Indexed(x.size, call["indices"])
    if not values.numel or 0 in layout.shape:
        return moved("x, for nothing was put anywhere", x, at)
    places, valid = layout.hits(at)
    source = broadcast(places.reshape(-1), layout.shape, values).reshape(places.shape)
    if call["accumulate"]:
        parts = [
            Part("x", (Factor(x, column(at)),)),
            Part("v", (Factor(values, source),), valid=valid),
        ]
        return Opened("x + Σ of the values put here", parts, unit=own_unit(call))
    return _replaced(x, at, values, source, valid)


def _replaced(x: Ref, at: Index, values: Ref, source: Index, valid: np.ndarray) -> Opened:
    """Say that x was replaced where there is a value; of several, the last one stays."""
    if not source.shape[1]:
        return Opened("x", [Part("x", (Factor(x, column(at)),))], roundings=0, exact=True)
    hit = np.asarray(valid.any(1, keepdims=True))
    last = np.maximum(valid.sum(1, keepdims=True) - 1, 0)
    new = np.take_along_axis(source, last, 1)
    parts = [
        Part("x", (Factor(x, column(at)),), valid=np.logical_not(hit)),
        Part("v", (Factor(values, new),), valid=hit),
    ]
    return Opened("the value put here, else x", parts, roundings=0, exact=True)


def index_select(call: Call, at: Index) -> Opened:
    """Open x[…, i[k], …]."""
    source: Ref = call["self"]
    where = coordinates(at, call.output.size)
    dim = call["dim"] % len(source.size)
    where[dim] = _integers(call["index"]).reshape(-1)[where[dim]]
    return moved("x[i[k]]", source, position(where, source.size))


def index_add(call: Call, at: Index) -> Opened:
    """Open x plus the slices added to this index."""
    x, source = call["self"], call["source"]
    where = [column(c) for c in coordinates(at, x.size)]
    dim = call["dim"] % len(x.size)
    places, valid = chosen(_integers(call["index"]).reshape(1, -1) == where[dim])
    where[dim] = places
    added = Factor(source, position(where, source.size))
    parts = [
        Part("x", (Factor(x, column(at)),)),
        Part("v", (added,), float(call["alpha"]), valid=valid),
    ]
    return Opened("x + Σ of the slices added here", parts, unit=own_unit(call))


def gather(call: Call, at: Index) -> Opened:
    """Open x at the index given for this place."""
    source, picks = call["self"], call["index"]
    dim = call["dim"] % max(len(source.size), 1)
    where = coordinates(at, picks.size)
    where[dim] = picks.gather(at).astype(np.int64)
    opened = moved("x[index]", source, position(where, source.size))
    opened.parts[0].shared = (Factor(picks, column(at)),)
    return opened


def scatter(call: Call, at: Index) -> Opened:
    """Open a tensor to whose elements others were written, or added, by index."""
    x, picks = call["self"], call["index"]
    dim = call["dim"] % max(len(x.size), 1)
    where = [column(c) for c in coordinates(at, x.size)]
    target = where[dim]
    where[dim] = np.arange(picks.size[dim]).reshape(1, -1)
    inside = np.ones((len(at), 1), dtype=bool)
    for c, n in zip(where, picks.size, strict=True):
        inside = inside & (c < n)
    safe = [np.minimum(c, n - 1) for c, n in zip(where, picks.size, strict=True)]
    across = np.broadcast_to(position(safe, picks.size), (len(at), picks.size[dim]))
    found = picks.gather(across.reshape(-1)).reshape(across.shape)
    places, valid = chosen((found == target) & inside)
    if isinstance(call.get("value"), int | float):
        hit = np.asarray(valid.any(1, keepdims=True))
        constant = np.where(hit, float(call["value"]), 0.0)
        parts = [
            Part("x", (Factor(x, column(at)),), valid=np.logical_not(hit)),
            Part("v", value=constant),
        ]
        return Opened("the value put here, else x", parts, roundings=0)
    safe[dim] = places
    source = call["src"]
    positions = np.broadcast_to(position(safe, source.size), places.shape)
    if call.name == "scatter_add":
        added = Part("v", (Factor(source, positions),), valid=valid)
        parts = [Part("x", (Factor(x, column(at)),)), added]
        return Opened("x + Σ of the values put here", parts, unit=own_unit(call))
    return _replaced(x, at, source, positions, valid)


RULES: dict[str, Rule] = {
    "embedding": embedding,
    "embedding_dense_backward": embedding_gradient,
    "index": index,
    "index_put": index_put,
    "_index_put_impl": index_put,
    "_unsafe_index": index,
    "index_select": index_select,
    "index_add": index_add,
    "gather": gather,
    "scatter": scatter,
    "scatter_add": scatter,
}
