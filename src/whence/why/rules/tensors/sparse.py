"""Sparse tensors, which are recorded as the dense ones they stand for."""

from __future__ import annotations

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import copy
from whence.why.rules.forms.positions import column, coordinates
from whence.why.rules.opening import Factor, Opened, Part, Rule


def put_together(call: Call, at: Index) -> Opened:
    """Open Σ over the entries k whose indices are i: v[k, …]."""
    indices, values = call["indices"], call["values"]
    n_sparse, count = indices.size
    where = coordinates(at, call.output.size)
    listed = indices.gather(np.arange(indices.numel)).reshape(n_sparse, count)
    valid = np.ones((len(at), count), dtype=bool)
    for of_entries, here in zip(listed, where[:n_sparse], strict=True):
        valid &= of_entries[None] == here[:, None]
    rest = np.zeros(len(at), dtype=np.int64)
    for size, here in zip(call.output.size[n_sparse:], where[n_sparse:], strict=True):
        rest = rest * size + here
    width = int(np.prod(call.output.size[n_sparse:], dtype=np.int64))
    entries = Factor(values, np.arange(count) * width + column(rest), "v")
    return Opened("Σ over entries k at i of v[k]", [Part("v[k]", (entries,), valid=valid)])


def masked(call: Call, at: Index) -> Opened:
    """Open x where the mask has an entry, 0 elsewhere."""
    x: Ref = call["self"]
    kept = call.output.gather(at) != 0
    part = Part("x", (Factor(x, column(at), "x"),), valid=column(kept))
    return Opened("x where the mask has an entry", [part], exact=True)


RULES: dict[str, Rule] = {
    "_sparse_coo_tensor_with_dims_and_tensors": put_together,
    "_sparse_coo_tensor_unsafe": put_together,
    "_coalesce": copy,
    "sparse_mask": masked,
}
