"""Writing elements to where an index or a mask says, and adding up what meets there."""

from __future__ import annotations

import math

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.picks import by_slot, moves, recounted
from whence.why.rules.forms.positions import chosen, column, column_values, coordinates, position
from whence.why.rules.forms.rerun import computed, linear
from whence.why.rules.forms.rounding import own_unit
from whence.why.rules.opening import Factor, Opened, Part, Rule


def _arriving(call: Call, at: Index) -> tuple[Factor, np.ndarray]:
    """The elements of the source that are sent to each place, [m, w], and which there are."""
    x, index = call["self"], call["index"]
    source: Ref = call["src"] if "src" in call.values else call["source"]
    dim = call["dim"] % max(len(x.size), 1)
    where = [column(c) for c in coordinates(at, x.size)]
    target = where[dim]
    if call.name == "index_reduce":  # one index for each slice
        picks = index.gather(np.arange(index.numel)).reshape(1, -1)
        places, valid = chosen(picks == target)
        where[dim] = places
        return Factor(source, position(where, source.size), "v"), valid
    where[dim] = np.arange(index.size[dim]).reshape(1, -1)
    inside = np.ones((len(at), 1), dtype=bool)
    for c, n in zip(where, index.size, strict=True):
        inside = inside & (c < n)
    safe = [np.minimum(c, n - 1) for c, n in zip(where, index.size, strict=True)]
    across = np.broadcast_to(position(safe, index.size), (len(at), index.size[dim]))
    found = index.gather(across.reshape(-1)).reshape(across.shape)
    places, valid = chosen((found == target) & inside)
    safe[dim] = places
    return Factor(source, np.broadcast_to(position(safe, source.size), places.shape), "v"), valid


def reduce(call: Call, at: Index) -> Opened:
    """Open the sum, mean, product or extreme of what is sent to each place."""
    how, own = call["reduce"], call.get("include_self", True)
    arriving, valid = _arriving(call, at)
    x = Factor(call["self"], column(at), "x")
    count = valid.sum(1, keepdims=True)
    kept = np.broadcast_to(np.asarray(own) | (count == 0), count.shape)
    unit = own_unit(call)
    if how in ("sum", "mean"):
        over = np.maximum(count + kept, 1) if how == "mean" else 1.0
        parts = [
            Part("x", (x,), 1 / over, valid=kept),
            Part("v", (arriving,), 1 / over, valid=valid),
        ]
        return Opened(f"{how} of the values sent here", parts, 4, unit=unit)
    values = np.concatenate([x.values, np.broadcast_to(arriving.values, valid.shape)], 1)
    there = np.concatenate([kept, valid], 1)
    if how == "prod":
        value = np.where(there, values, 1.0).prod(1)
        part = Part("Π v", value=column_values(value), shared=(x, arriving))
        return Opened("product of the values sent here", [part], values.shape[1] + 2, unit=unit)
    worst = -math.inf if how == "amax" else math.inf
    known = np.where(there, values, worst)
    best = known.max(1) if how == "amax" else known.min(1)
    part = Part(how[1:], value=column_values(best), shared=(x, arriving))
    return Opened(f"{how[1:]} of the values sent here", [part], exact=True)


RULES: dict[str, Rule] = {
    "scatter_reduce": reduce,
    "index_reduce": reduce,
    "masked_scatter": moves("the next value where the mask holds, else x", "self", "source"),
    "masked_scatter_backward": moves("g where the mask holds", "grad_output"),
    "index_copy": moves("the slice put here, else x", "self", "source"),
    "index_fill": moves("the value put here, else x", "self", fill="value"),
    "put": linear("x, or the values put here", "self", "source"),
    "select_scatter": moves("the slice put here, else x", "self", "src"),
    "slice_scatter": moves("the slice put here, else x", "self", "src"),
    "diagonal_scatter": moves("the diagonal put here, else x", "self", "src"),
    "as_strided_scatter": moves("the part put here, else x", "self", "src"),
    "diag_embed": moves("x on the diagonal, else 0", "self"),
    "diagonal_copy": moves("x on the diagonal", "self"),
    "diagonal_backward": moves("g on the diagonal, else 0", "grad_output"),
    "block_diag": moves("x in its block, else 0", "tensors"),
    "rot90": moves("x, turned", "self"),
    "_pack_padded_sequence": by_slot(
        moves("x, one step of all examples after another", "input"),
        recounted("how many examples reach this step", "lengths"),
    ),
    "_pack_padded_sequence_backward": moves("g, examples apart again", "grad"),
    "unfold_backward": linear("Σ of the windows it lies in", "grad_in"),
    "segment_reduce": computed("the segment's elements, reduced", "data"),
    "_segment_reduce_backward": computed("g to the elements of its segment", "grad"),
    "trace": linear("Σ of the diagonal", "self"),
    "cartesian_prod": moves("x, paired", "tensors"),
}
