"""Convolution in any number of dimensions, transposed or not, in groups, and its backward pass.

    y[n,o,p] = Σ_{c,k} w[o,c,k] · x[n,c, p·stride + k·dilation − padding] + b[o]

A transposed convolution is the same product with the roles of x and y changed. A product belongs to
a pair (input place, kernel place) that meets at an output place; whichever of the three is opened,
its terms are the pairs of the other two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.positions import column, coordinates, position
from whence.why.rules.opening import UNIT, Factor, Opened, Part, Rule


@dataclass(slots=True)
class Geometry:
    """How the places of a convolution meet, one entry for each dimension of space.

    Attributes:
        near: shape of the side that strides run over: the input, or a transposed one's output.
        far: shape of the other side.
        kernel: shape of the kernel.
        groups: how many parts the channels fall into.
    """

    near: tuple[int, ...]
    far: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    @classmethod
    def of(cls, call: Call, x: Ref, y: tuple[int, ...]) -> Geometry:
        """Read it off a call, its input, and the shape of its output."""
        rank = len(call["weight"].size) - 2
        stride, padding, dilation = (
            list(call[n]) * (1 if len(call[n]) == rank else rank)
            for n in ("stride", "padding", "dilation")
        )
        there, back = (y, x.size) if call["transposed"] else (x.size, y)
        kernel = call["weight"].size[2:]
        return cls(there[-rank:], back[-rank:], kernel, stride, padding, dilation, call["groups"])

    def meet(self, far: list[Index]) -> tuple[list[Index], list[Index], np.ndarray]:
        """For places on the far side: the kernel's places, the near ones, which of these exist."""
        kernel = list(np.indices(self.kernel).reshape(len(self.kernel), 1, -1))
        near, inside = [], np.ones((1, 1), dtype=bool)
        for d, k in enumerate(kernel):
            i = column(far[d]) * self.stride[d] + k * self.dilation[d] - self.padding[d]
            inside = inside & (i >= 0) & (i < self.near[d])
            near.append(np.clip(i, 0, self.near[d] - 1))
        return kernel, near, inside

    def met(self, near: list[Index]) -> tuple[list[Index], list[Index], np.ndarray]:
        """For places on the near side: the kernel's places, the far ones, which of these exist."""
        kernel = list(np.indices(self.kernel).reshape(len(self.kernel), 1, -1))
        far, inside = [], np.ones((1, 1), dtype=bool)
        for d, k in enumerate(kernel):
            i, off = np.divmod(
                column(near[d]) + self.padding[d] - k * self.dilation[d], self.stride[d]
            )
            inside = inside & (off == 0) & (i >= 0) & (i < self.far[d])
            far.append(np.clip(i, 0, self.far[d] - 1))
        return kernel, far, inside

    def pairs(self, kernel: list[Index]) -> tuple[list[Index], list[Index], np.ndarray]:
        """For places in the kernel: each far place, the near one it meets, which of these exist."""
        far = list(np.indices(self.far).reshape(len(self.far), 1, -1))
        near, inside = [], np.ones((1, 1), dtype=bool)
        for d, i in enumerate(far):
            j = i * self.stride[d] + column(kernel[d]) * self.dilation[d] - self.padding[d]
            inside = inside & (j >= 0) & (j < self.near[d])
            near.append(np.clip(j, 0, self.near[d] - 1))
        return far, near, inside


def _crossed(channels: int, places: list[Index], inside: np.ndarray):
    """Pair every channel of a group with every place: [·, c·k]."""
    width = max(p.shape[-1] for p in places)
    c = np.repeat(np.arange(channels), width).reshape(1, -1)
    return c, [np.tile(p, (1, channels)) for p in places], np.tile(inside, (1, channels))


def _spread(x: Ref, n: Index | None, c: Index, space: list[Index]) -> Index:
    """Positions in x [N, C, …], or in one example [C, …]."""
    lead = [c] if len(x.size) == len(space) + 1 or n is None else [n, c]
    return position([*lead, *space], x.size)


def _split(at: Index, size: tuple[int, ...], rank: int) -> tuple[Index, Index, list[Index]]:
    where = coordinates(at, size)
    n = where[0] if len(size) == rank + 2 else np.zeros_like(where[0])
    return n, where[-rank - 1], where[-rank:]


def _products(
    call: Call, at: Index, out: tuple[int, ...], source: Ref, geometry: Geometry, backward: bool
) -> Part:
    """The terms of an output, or of an input's gradient: channels × kernel places."""
    w: Ref = call["weight"]
    rank = len(geometry.kernel)
    n, channel, space = _split(at, out, rank)
    transposed, groups = call["transposed"], geometry.groups
    far = transposed == backward  # which side the elements that are opened lie on
    kernel, others, inside = geometry.meet(space) if far else geometry.met(space)
    # w is [far channels, near channels / groups, …].
    each = source.size[-rank - 1] // groups
    c, both, inside = _crossed(each, [*np.broadcast_arrays(*kernel, *others)], inside)
    kernel, others = both[:rank], both[rank:]
    mine = out[-rank - 1] // groups
    group = column(channel // mine)
    read = Factor(
        source, _spread(source, column(n), group * each + c, others), "g" if backward else "x"
    )
    lead = (column(channel), c) if far else (group * each + c, column(channel % mine))
    weights = Factor(w, position([*lead, *kernel], w.size), "w")
    symbol = "w[o,c,k]·g[n,o,p]" if backward else "w[o,c,k]·x[n,c,p+k]"
    return Part(symbol, (read, weights), valid=inside)


def convolution(call: Call, at: Index) -> Opened:
    """Open Σ_{c,k} w[o,c,k]·x[n,c,p+k] + b[o]."""
    x: Ref = call["input"]
    size = call.output.size
    geometry = Geometry.of(call, x, size)
    parts = [_products(call, at, size, x, geometry, backward=False)]
    formula = "Σ w[o,c,k]·x[n,c,p+k]"
    if call["bias"] is not None:
        channel = _split(at, size, len(geometry.kernel))[1]
        parts.append(Part("b[o]", (Factor(call["bias"], column(channel), "b"),)))
        formula += " + b[o]"
    return Opened(formula, parts, roundings=4, absolute=_transformed(call, parts[0]))


def _transformed(call: Call, part: Part) -> np.ndarray:
    """A fast convolution's error is relative to the largest products, not to each."""
    unit = min(UNIT.get(call.output.dtype, 0.0), 2.0**-24)
    return 4 * unit * np.abs(part.terms()).max(1)


def convolution_backward(call: Call, at: Index) -> Opened:
    """Open the gradient of a convolution's input, weight or bias."""
    x, g = call["input"], call["grad_output"]
    geometry = Geometry.of(call, x, g.size)
    rank = len(geometry.kernel)
    if call.slot == 0:
        part = _products(call, at, x.size, g, geometry, backward=True)
        return Opened("Σ w[o,c,k]·g[n,o,p−k]", [part], 4, absolute=_transformed(call, part))
    examples = np.arange(g.size[0] if len(g.size) == rank + 2 else 1)
    many = math.prod(g.size[-rank:])
    n = np.repeat(examples, many if call.slot == 2 else math.prod(geometry.far)).reshape(1, -1)
    if call.slot == 2:
        space = [np.tile(s.reshape(1, -1), (1, len(examples))) for s in np.indices(g.size[-rank:])]
        where = _spread(g, n, column(at), space)
        return Opened("Σ g[n,o,p]", [Part("g[n,o,p]", (Factor(g, where, "g"),))], 2)
    a, b, *kernel = coordinates(at, call["weight"].size)
    far, near, inside = geometry.pairs(kernel)
    far, near = ([np.tile(s, (1, len(examples))) for s in side] for side in (far, near))
    inside = np.tile(inside, (1, len(examples)))
    high, low = (x, g) if call["transposed"] else (g, x)  # the far and the near side
    group = a // (high.size[-rank - 1] // geometry.groups)
    below = group * (low.size[-rank - 1] // geometry.groups) + b
    one = Factor(high, _spread(high, n, column(a), far), "x" if call["transposed"] else "g")
    other = Factor(low, _spread(low, n, column(below), near), "g" if call["transposed"] else "x")
    factors = (other, one) if call["transposed"] else (one, other)
    part = Part("g[n,o,p]·x[n,c,p+k]", factors, valid=inside)
    return Opened("Σ g[n,o,p]·x[n,c,p+k]", [part], 4, absolute=_transformed(call, part))


RULES: dict[str, Rule] = {
    "convolution": convolution,
    "_convolution": convolution,
    "convolution_backward": convolution_backward,
}
