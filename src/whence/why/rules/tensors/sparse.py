"""Sparse tensors, which are recorded as the dense ones they stand for."""

from __future__ import annotations

import numpy as np

from whence.errors import WhenceError
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import copy
from whence.why.rules.forms.positions import column, coordinates
from whence.why.rules.opening import Factor, Opened, Part, Rule
from whence.why.rules.tensors.shape import constant


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


def entries(call: Call, at: Index) -> Opened:
    """Open the element of the dense tensor that an entry stands for, or what it was put in as."""
    dense: Ref = call["self"]
    listed = call.op.remember("entries", lambda: None)
    if listed is not None:
        rest = dense.size[len(listed) :]
        entry, inside = np.divmod(at, int(np.prod(rest, dtype=np.int64)))
        lead = np.ravel_multi_index(tuple(listed.numpy()[:, entry]), dense.size[: len(listed)])
        source = Factor(dense, column(lead * int(np.prod(rest, dtype=np.int64)) + inside), "x")
        return Opened("x where the entry lies", [Part("x", (source,))], exact=True)
    writer = dense.version.writer
    if writer is None or writer.name not in RULES or "values" not in (of := writer.call(0).values):
        raise WhenceError(
            f"The entries that {call.op.name} read lie in one place several times, and what they "
            "were put in as isn't known: they cannot be opened."
        )
    put_in = Factor(of["values"], column(at), "v")
    return Opened("v, as it was put in", [Part("v", (put_in,))], exact=True)


RULES: dict[str, Rule] = {
    "_sparse_coo_tensor_with_dims_and_tensors": put_together,
    "_sparse_coo_tensor_unsafe": put_together,
    "_coalesce": copy,
    "sparse_mask": masked,
    "_values": entries,
    "values": entries,
    "_indices": constant("where the entries lie"),
    "indices": constant("where the entries lie"),
}
