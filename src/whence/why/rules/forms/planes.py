"""Operations that treat every channel's plane alike, so that one small plane tells how."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.again import counting, padded, run
from whence.why.rules.forms.positions import chosen, column
from whence.why.rules.forms.rounding import accuracy, narrow
from whence.why.rules.opening import Factor, Opened, Part, Rule


def planar(words: str, source: str, *, inner: float = 4, sums_narrowly: bool = False) -> Rule:
    """Make the rule of an operation that adds up numbers of one plane, by their places alone.

    It is run on one plane and differentiated; every other plane has the same slopes.

    Args:
        words: the operation in symbols.
        source: the input, [N, C, …] or [C, …], as is the output.
        inner: how many roundings the kernel makes in a slope.
        sums_narrowly: it adds up in the type of its output, where that is narrower than float32.
    """

    def opened(call: Call, at: Index) -> Opened:
        x, rank = call[source], dimensions_of(call)
        lead, place = np.divmod(at, math.prod(call.output.size[-rank:]))
        known, which = np.unique(place, return_inverse=True)
        rows = _rows(call, source, rank, known)
        places, slopes, valid = padded(rows)
        where = column(lead) * math.prod(x.size[-rank:]) + places[which]
        valid, own = valid[which], narrow(call)
        part = Part(words, (Factor(x, where, "x" if source == "self" else "g"),), slopes[which])
        part.valid = valid
        count = np.minimum(valid.sum(1), 3 * np.sqrt(valid.sum(1))) if sums_narrowly else 1.0
        return Opened(words, [part], 4, inner=inner * accuracy(call) + own * count)

    return opened


def dimensions_of(call: Call) -> int:
    """How many dimensions a plane has, by the operation's name (`avg_pool2d`)."""
    return int(next(c for c in call.name if c.isdigit()))


def _rows(call: Call, source: str, rank: int, places: Index) -> list[tuple[Index, np.ndarray]]:
    """The places that count for each place of a plane, and their slopes."""
    given: dict[str, Any] = {}
    for name, value in call.values.items():
        if isinstance(value, Ref):  # what it holds doesn't matter, only its shape does
            given[name] = torch.zeros((1, 1, *value.size[-rank:]), dtype=torch.float64)
        elif isinstance(value, list | tuple) and len(value) > rank and "size" in name:
            given[name] = [1, 1, *value[-rank:]]
        else:
            given[name] = value
    plane = given[source].requires_grad_()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        made = run(call, given)[0]
    assert made is not None
    flat = made.reshape(-1)
    return [
        counting(torch.autograd.grad(flat[int(p)], plane, retain_graph=True)[0]) for p in places
    ]


def unpooled(call: Call, at: Index) -> Opened:
    """Open Σ of the gradients of the windows in which this element was the largest."""
    gradient, rank = call["grad_output"], dimensions_of(call)
    lead, place = np.divmod(at, math.prod(call.output.size[-rank:]))
    many = math.prod(gradient.size[-rank:])
    windows = column(lead) * many + np.arange(many)
    winners = call["indices"].gather(windows.reshape(-1)).reshape(windows.shape)
    places, valid = chosen(winners == column(place))
    arriving = Factor(gradient, column(lead) * many + places, "g")
    count = np.minimum(valid.sum(1), 3 * np.sqrt(valid.sum(1)))
    part = Part("g", (arriving,), valid=valid)
    return Opened("Σ of g where it was the largest", [part], inner=narrow(call) * count)
