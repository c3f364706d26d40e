"""Sorting, the largest of several, counting and looking up."""

from __future__ import annotations

import numpy as np

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.forms.picks import moves, picked, recounted
from whence.why.rules.forms.positions import column, coordinates, position, reduced
from whence.why.rules.forms.rerun import linear
from whence.why.rules.opening import Factor, Opened, Part, Rule


def _along(call: Call, at: Index) -> Index:
    """Where the element is that the operation's second output points to, along a dimension."""
    size, places = call["self"].size, call.outputs[1]
    assert places is not None
    found = places.gather(at).astype(np.int64)
    dim = call.get("dim")
    if dim is None or not size:
        return found
    dim %= len(size)
    where = coordinates(at, call.output.size)
    if len(where) < len(size):
        where.insert(dim, found)
    else:
        where[dim] = found
    return position(where, size)


def middle(call: Call, at: Index) -> Opened:
    """Open the median of all elements, or of those along a dimension."""
    if call.get("dim") is not None:
        return picked("the middle one", place=_along)(call, at)
    x = call["self"]
    values = x.gather(np.arange(x.numel))
    place = int(np.flatnonzero(values == call.output.gather(at[:1])[0])[0])
    factor = Factor(x, np.full((len(at), 1), place), "x")
    return Opened("the middle one of x", [Part("x", (factor,))], roundings=0, exact=True)


def sorted_(call: Call, at: Index) -> Opened:
    """Open the element that is here when sorted, or where it was."""
    return picked("x, in order", place=_along)(call, at)


def _best(words: str) -> Rule:
    return picked(words, place=_along)


def same_place(call: Call, at: Index) -> Opened:
    """Open one end of the range of the elements along a dimension (aminmax)."""
    x = call["self"]
    dim = call.get("dim")
    dims = list(range(len(x.size))) if dim is None else [dim % max(len(x.size), 1)]
    across = reduced(at, x, dims, call.output.size)
    values = x.gather(across.reshape(-1)).reshape(across.shape)
    best = values.argmax(1) if call.slot else values.argmin(1)
    factor = Factor(x, np.take_along_axis(across, column(best), 1), "x")
    return Opened("maxₖ x[k]" if call.slot else "minₖ x[k]", [Part("x", (factor,))], exact=True)


RULES: dict[str, Rule] = {
    "sort": sorted_,
    "topk": _best("x, the largest ones"),
    "kthvalue": _best("x, the k-th smallest"),
    "median": middle,
    "nanmedian": middle,
    "mode": _best("x, the most frequent"),
    "cummax": _best("max of x so far"),
    "cummin": _best("min of x so far"),
    "aminmax": same_place,
    "value_selecting_reduction_backward": linear("g where it was picked", "grad"),
    "argsort": recounted("where: x, in order", "self"),
    "nonzero": recounted("where x isn't 0", "self"),
    "count_nonzero": recounted("how many aren't 0", "self"),
    "bincount": recounted("how many there are of each number", "self"),
    "histc": recounted("how many fall into each bin", "self"),
    "bucketize": recounted("the bin it falls into", "self"),
    "searchsorted": recounted("the place it belongs at", "self", "sorted_sequence"),
    "isin": recounted("whether it is among the others", "elements", "test_elements"),
    "_unique2": recounted("each number once", "self"),
    "unique_dim": recounted("each row once", "self"),
    "unique_consecutive": recounted("each run once", "self"),
    "_is_all_true": recounted("whether all hold", "self"),
    "_is_any_true": recounted("whether any holds", "self"),
    "equal": recounted("whether all are equal", "self", "other"),
    "repeat_interleave": recounted("each place as often as it is repeated", "repeats"),
    "one_hot": recounted("1 at its class, else 0", "self"),
    "take": moves("x at the index", "self"),
    "masked_select": moves("x where the mask holds", "self"),
}
