"""Sparse tensors, which are recorded as the dense ones they stand for."""

from __future__ import annotations

import numpy as np

from whence.errors import WhenceError
from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import copy
from whence.why.rules.forms.entries import PUTS_TOGETHER, entries_at
from whence.why.rules.forms.positions import column
from whence.why.rules.opening import Factor, Opened, Part, Rule
from whence.why.rules.tensors.shape import constant


def put_together(call: Call, at: Index) -> Opened:
    """Open Σ over the entries k whose indices are i: v[k, …]."""
    places, valid = entries_at(call, at)
    entries = Factor(call["values"], places, "v")
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
    **dict.fromkeys(PUTS_TOGETHER, put_together),
    "_coalesce": copy,
    "sparse_mask": masked,
    "_values": entries,
    "values": entries,
    "_indices": constant("where the entries lie"),
    "indices": constant("where the entries lie"),
}
