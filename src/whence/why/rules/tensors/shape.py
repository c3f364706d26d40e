"""Operations that only move elements: joining, padding, flipping, picking a part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.given import constant, sampled
from whence.why.rules.forms.positions import column, column_values, coordinates, position
from whence.why.rules.opening import Factor, Opened, Part, Rule


def moved(formula: str, source: Ref, where: Index, inside: np.ndarray | None = None) -> Opened:
    """Say that each element is one of `source`, or 0 where it is not `inside`."""
    at = column(where if inside is None else np.where(inside, where, 0))
    valid = None if inside is None else column(inside)
    part = Part("x", (Factor(source, at, "x"),), valid=valid)
    return Opened(formula, [part], roundings=0, exact=True)


def cat(call: Call, at: Index) -> Opened:
    """Open the element of the one tensor, among those joined, that lies here."""
    tensors = [t for t in call["tensors"] if t.numel]
    size = call.output.size
    dim = call["dim"] % len(size)
    where = coordinates(at, size)
    parts, start = [], 0
    for tensor in tensors:
        end = start + tensor.size[dim]
        inside = (where[dim] >= start) & (where[dim] < end)
        if inside.any():
            here = [np.where(inside, c - start if d == dim else c, 0) for d, c in enumerate(where)]
            factor = Factor(tensor, column(position(here, tensor.size)))
            parts.append(Part("x", (factor,), valid=column(inside)))
        start = end
    return Opened("x, joined", parts, roundings=0, exact=True)


def stack(call: Call, at: Index) -> Opened:
    """Open the element of the one tensor, among those stacked, that lies here."""
    size = call.output.size
    dim = call["dim"] % len(size)
    where = coordinates(at, size)
    which = where.pop(dim)
    parts = []
    for number in np.unique(which):
        tensor = call["tensors"][int(number)]
        inside = which == number
        factor = Factor(tensor, column(position(where, tensor.size)))
        parts.append(Part("x", (factor,), valid=column(inside)))
    return Opened("x, stacked", parts, roundings=0, exact=True)


def slice_backward(call: Call, at: Index) -> Opened:
    """Open the gradient of a slice: that of the slice inside it, 0 outside."""
    where = coordinates(at, call.output.size)
    gradient, dim, step = call["grad_output"], call["dim"], call["step"]
    length = call.output.size[dim]
    start = min(max(call["start"] + (length if call["start"] < 0 else 0), 0), length)
    place, off = np.divmod(where[dim] - start, step)
    inside = (place >= 0) & (off == 0) & (place < gradient.size[dim])
    where[dim] = np.where(inside, place, 0)
    return moved("g inside the slice, 0 outside", gradient, position(where, gradient.size), inside)


def select_backward(call: Call, at: Index) -> Opened:
    """Open the gradient of one index: that of the picked slice there, 0 elsewhere."""
    where = coordinates(at, call.output.size)
    gradient, dim, index = call["grad_output"], call["dim"], call["index"]
    inside = where.pop(dim) == index % call.output.size[dim]
    return moved("g where picked, 0 elsewhere", gradient, position(where, gradient.size), inside)


def pad(call: Call, at: Index) -> Opened:
    """Open a padded tensor: the element inside, the fill value outside."""
    source: Ref = call["self"]
    where = coordinates(at, call.output.size)
    inside = np.ones(len(at), dtype=bool)
    before = call["pad"][::2]
    for d, lead in zip(range(len(where) - 1, -1, -1), before, strict=False):
        where[d] = where[d] - lead
        inside &= (where[d] >= 0) & (where[d] < source.size[d])
    where = [np.where(inside, c, 0) for c in where]
    opened = moved("x inside, the fill value outside", source, position(where, source.size), inside)
    if call["value"]:
        fill = np.where(inside, 0.0, float(call["value"]))
        opened.parts = [*opened.parts, Part("fill", value=column_values(fill))]
    return opened


def triangle(call: Call, at: Index) -> Opened:
    """Open tril or triu: the element on its side of the diagonal, 0 on the other."""
    where = coordinates(at, call.output.size)
    over = where[-1] - where[-2] - call["diagonal"]
    inside = over <= 0 if call.name == "tril" else over >= 0
    return moved("x on its side of the diagonal, else 0", call["self"], at, inside)


def flip(call: Call, at: Index) -> Opened:
    """Open the mirrored tensor."""
    source: Ref = call["self"]
    dims = [d % len(source.size) for d in call["dims"]]
    where = coordinates(at, source.size)
    where = [source.size[d] - 1 - c if d in dims else c for d, c in enumerate(where)]
    return moved("x, mirrored", source, position(where, source.size))


def roll(call: Call, at: Index) -> Opened:
    """Open the shifted tensor."""
    source: Ref = call["self"]
    shifts, dims = call["shifts"], call["dims"]
    if not dims:
        return moved("x, shifted", source, (at - shifts[0]) % source.numel)
    where = coordinates(at, source.size)
    for shift, dim in zip(shifts, dims, strict=True):
        where[dim] = (where[dim] - shift) % source.size[dim]
    return moved("x, shifted", source, position(where, source.size))


def repeat(call: Call, at: Index) -> Opened:
    """Open the repeated tensor."""
    source: Ref = call["self"]
    where = coordinates(at, call.output.size)[len(call.output.size) - len(source.size) :]
    where = [c % n for c, n in zip(where, source.size, strict=True)]
    return moved("x, repeated", source, np.broadcast_to(position(where, source.size), at.shape))


def filled(call: Call, at: Index) -> Opened:
    """Open a tensor filled with one number."""
    name = (
        "fill_value" if "fill_value" in call.values else "value" if "value" in call.values else "s"
    )
    value = call[name]
    if isinstance(value, Ref):
        part = Part("v", (Factor(value, np.zeros((len(at), 1), dtype=np.int64)),))
        return Opened("v", [part], roundings=0)
    part = Part(f"{value}", value=np.full((len(at), 1), float(value)))
    return Opened(f"{value}", [part], roundings=0)


def ones(call: Call, at: Index) -> Opened:
    """Open a tensor of ones."""
    return Opened("1", [Part("1", value=np.ones((len(at), 1)))], exact=True)


def zeros(call: Call, at: Index) -> Opened:
    """Open a tensor of zeros."""
    return Opened("0", [Part("0", value=np.zeros((len(at), 1)))], exact=True)


def sequence(call: Call, at: Index) -> Opened:
    """Open start + i·step (arange)."""
    start, step = float(call.get("start") or 0), float(call.get("step") or 1)
    return Opened("start + i·step", [Part("start + i·step", value=column(at) * step + start)], 2)


def _names(words: str) -> Sequence[str]:
    return words.split()


RULES: dict[str, Rule] = {
    "cat": cat,
    "stack": stack,
    "slice_backward": slice_backward,
    "select_backward": select_backward,
    "constant_pad_nd": pad,
    "tril": triangle,
    "triu": triangle,
    "flip": flip,
    "roll": roll,
    "repeat": repeat,
    "arange": sequence,
    "linspace": constant("evenly spaced numbers"),
    "resize": constant("memory that nothing was written to yet"),
    "resize_as": constant("memory that nothing was written to yet"),
    "eye": constant("1 on the diagonal, else 0"),
    "tril_indices": constant("indices of a triangle"),
    "triu_indices": constant("indices of a triangle"),
    **dict.fromkeys(_names("zero zeros zeros_like new_zeros _efficientzerotensor"), zeros),
    **dict.fromkeys(_names("ones ones_like new_ones"), ones),
    **dict.fromkeys(_names("fill full full_like new_full scalar_tensor"), filled),
    **dict.fromkeys(
        _names(
            "rand randn randint randperm rand_like randn_like randint_like bernoulli normal "
            "uniform exponential random multinomial geometric cauchy log_normal poisson "
            "binomial _standard_gamma _sample_dirichlet"
        ),
        sampled,
    ),
}
