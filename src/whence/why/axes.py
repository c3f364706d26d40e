"""What the dimensions of a tensor run over: examples, positions, heads.

The shape of what goes in gives it away: [B, T] or [B, T, …]. From there it is followed through the
operations in their order, and through views by their strides. A matrix product that adds up over
the batch leaves none of it, so a weight's gradient is never taken for an activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from whence.why.recomputed import Recomputed
from whence.why.rules.positions import dimensions
from whence.why.storage import Memory, Ref
from whence.why.tape import Call, Op, flatten

B, T, H, OTHER = "B", "T", "H", "-"


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that a dimension, or part of one, runs over.

    Attributes:
        role: "B" for examples, "T" for positions, "H" for heads, "-" for anything else.
        size: how many of them there are.
        start: number of the first one.
    """

    role: str
    size: int
    start: int = 0


Axes = tuple[tuple[Axis, ...], ...]  # for each dimension, what it runs over, the outermost first


class Layouts:
    """Finds the axes of tensors in one part of a batch.

    Args:
        batch: number of examples.
        length: number of positions, 0 where there are none.
        ops: the operations of the part.
        parameters: memory that belongs to parameters and to the optimiser.
    """

    def __init__(self, batch: int, length: int, ops: Iterable[Op], parameters: set[Memory]):
        self.batch, self.length = batch, length
        self._ops, self._parameters = list(ops), parameters
        self._known: dict[Ref, Axes | None] = {}

    def of(self, cells: object) -> Axes | None:
        """Return the axes of a tensor, `None` where nothing is known of them."""
        self._follow()
        if isinstance(cells, Recomputed):  # scores and weights [B, H, T, S]
            axes = self._of(cells.call["query"])
            return None if axes is None else (*axes[:3], (Axis(OTHER, cells.size[3]),))
        return self._of(cells) if isinstance(cells, Ref) else None

    def _follow(self) -> None:
        """Work out the axes of everything that the operations made, once."""
        ops, self._ops = self._ops, []
        for op in ops:
            if op.alias or op.phase == "update":
                continue
            for slot, output in enumerate(op.outputs):
                if output is not None:
                    self._known[output] = self._made(op.call(slot), output)

    def _of(self, ref: Ref) -> Axes | None:
        if ref in self._known:
            return self._known[ref]
        if ref.version.stands_for is not None:
            return self._of(ref.version.stands_for)
        memory = ref.version.memory
        found = None
        for version in reversed(memory.versions[: ref.version.number + 1]):
            for region, _ in version.regions:
                axes = self._known.get(region)
                found = found or (None if axes is None else laid(ref, region, axes))
            if version.writer is None and memory not in self._parameters:
                found = found or self.by_shape(ref.size)
        if (found is None or not _in_batch(found)) and spread(ref):
            found = self.by_shape(ref.size)  # one number for all places, as from a sum
        self._known[ref] = found
        return found

    def by_shape(self, size: tuple[int, ...]) -> Axes | None:
        """Tell by the shape alone, where it is plain."""
        b, t = self.batch, self.length
        rest = tuple((Axis(OTHER, n),) for n in size)
        if t and size[:2] == (b, t):
            return ((Axis(B, b),), (Axis(T, t),), *rest[2:])
        if t and size[:1] == (b * t,) and len(size) < 3:
            return ((Axis(B, b), Axis(T, t)), *rest[1:])
        if t and size[:2] == (t, b) and len(size) < 4:
            return ((Axis(T, t),), (Axis(B, b),), *rest[2:])
        if t and size[:2] == (1, t) and len(size) < 4:
            return (rest[0], (Axis(T, t),), *rest[2:])
        if size[:1] == (b,) and len(size) < 3:
            return ((Axis(B, b),), *rest[1:])
        return None

    def _made(self, call: Call, output: Ref) -> Axes | None:
        """Tell what an operation's output runs over, by what its inputs do."""
        special = _FORMS.get(call.name)
        if special is not None:
            axes = special(self, call)
            return axes if axes is None or _fits(axes, output.size) else None
        sources = flatten(list(call.values.values()), Ref)
        known = [(s, a) for s in sources if (a := self._of(s)) is not None and _in_batch(a)]
        for source, axes in known:
            if source.size == output.size:
                return axes
        for source, axes in known:
            if source.size[:-1] == output.size[:-1] and len(source.size) > 1:
                return (*axes[:-1], (Axis(OTHER, output.size[-1]),))
        return self.by_shape(output.size) if known else None

    def product(self, call: Call, first: str, second: str) -> Axes | None:
        """Rows run over what the first factor's rows do, columns over what the second's do."""
        a, b = self._of(call[first]), self._of(call[second])
        if a is None and b is None:
            return None
        rows = _plain(call[first])[:-1] if a is None else a[:-1]
        columns = _plain(call[second])[-1] if b is None else b[-1]
        if a is None and b is not None and len(b) == 3:
            rows = (b[0], *rows[1:])
        return (*rows, columns)

    def reduction(self, call: Call) -> Axes | None:
        """What is left when some dimensions are added up."""
        axes = self._of(call["self"])
        if axes is None:
            return None
        gone = dimensions(call.get("dim"), len(axes))
        if len(call.output.size) == len(axes):
            return tuple((Axis(OTHER, 1),) if d in gone else a for d, a in enumerate(axes))
        return tuple(a for d, a in enumerate(axes) if d not in gone)

    def like(self, call: Call, name: str) -> Axes | None:
        """The same as an argument's, as far as there are as many dimensions."""
        axes = self._of(call[name])
        if axes is None:
            return None
        kept = axes[: len(call.output.size)]
        fits = zip(kept, call.output.size, strict=False)
        return tuple(a if _count(a) == n else (Axis(OTHER, n),) for a, n in fits)

    def looked_up(self, call: Call) -> Axes | None:
        """An embedding: what the tokens run over, and the vector."""
        indices: Ref = call["indices"]
        axes = self._of(indices)
        return None if axes is None else (*axes, (Axis(OTHER, call.output.size[-1]),))


def _nothing(layouts: Layouts, call: Call) -> Axes | None:
    return None


def _norm_backward(layouts: Layouts, call: Call) -> Axes | None:
    return layouts.like(call, "input") if call.slot == 0 else None


def _attention_backward(layouts: Layouts, call: Call) -> Axes | None:
    return layouts.like(call, ("query", "key", "value")[call.slot])


def _rnn(layouts: Layouts, call: Call) -> Axes | None:
    return layouts.like(call, "input") if call.slot == 0 else None


_FORMS: dict[str, Callable[[Layouts, Call], Axes | None]] = {
    "mm": lambda layouts, call: layouts.product(call, "self", "mat2"),
    "bmm": lambda layouts, call: layouts.product(call, "self", "mat2"),
    "addmm": lambda layouts, call: layouts.product(call, "mat1", "mat2"),
    "baddbmm": lambda layouts, call: layouts.product(call, "batch1", "batch2"),
    "linear": lambda layouts, call: layouts.like(call, "input"),
    "embedding": Layouts.looked_up,
    "embedding_dense_backward": _nothing,
    "sum": Layouts.reduction,
    "mean": Layouts.reduction,
    "amax": Layouts.reduction,
    "var": Layouts.reduction,
    "native_layer_norm_backward": _norm_backward,
    "_fused_rms_norm_backward": _norm_backward,
    "_scaled_dot_product_flash_attention_for_cpu": lambda layouts, call: layouts.like(
        call, "query"
    ),
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "mkldnn_rnn_layer": _rnn,
    "mkldnn_rnn_layer_backward": _rnn,
}


def spread(ref: Ref) -> bool:
    """Whether one number in memory stands for several elements."""
    return any(not stride and size > 1 for size, stride in zip(ref.size, ref.stride, strict=True))


def _count(several: tuple[Axis, ...]) -> int:
    return math.prod(axis.size for axis in several)


def _fits(axes: Axes, size: tuple[int, ...]) -> bool:
    return tuple(_count(a) for a in axes) == size


def _in_batch(axes: Axes) -> bool:
    return any(axis.role in (B, T) for several in axes for axis in several)


def _plain(ref: Ref) -> Axes:
    return tuple((Axis(OTHER, n),) for n in ref.size)


def laid(ref: Ref, known: Ref, axes: Axes) -> Axes | None:
    """Carry the axes of one view over to another of the same memory, by their strides."""
    atoms: list[tuple[int, Axis]] = []  # (stride, axis)
    for dim, several in enumerate(axes):
        stride = known.stride[dim]
        for axis in reversed(several):
            atoms.append((stride, axis))
            stride *= axis.size
    result = []
    for size, stride in zip(ref.size, ref.stride, strict=True):
        here = _covered(size, stride, atoms, ref.offset - known.offset)
        if here is None:
            return None
        result.append(here)
    # An axis that was cut in two: heads, and the places in a head.
    cut = [d for d, several in enumerate(result) if several[0].role == "cut"]
    widest = max((ref.stride[d] for d in cut), default=0)
    for d in cut:
        role = H if len(cut) == 2 and ref.stride[d] == widest else OTHER
        result[d] = (Axis(role, ref.size[d]),)
    return tuple(result)


def _covered(
    size: int, stride: int, atoms: list[tuple[int, Axis]], offset: int
) -> tuple[Axis, ...] | None:
    """Find the axes that one dimension of a view runs over."""
    if size == 1 or stride == 0:
        return (Axis(OTHER, size),)
    inside = sorted((a for a in atoms if stride <= a[0] < stride * size), key=lambda a: -a[0])
    if inside and inside[-1][0] == stride:
        (step, outer), *inner = inside
        several, rest = divmod(size, math.prod(axis.size for _, axis in inner))
        if not rest and several == outer.size:
            return tuple(axis for _, axis in inside)
        if not rest and several < outer.size and outer.role != OTHER:  # a slice
            # Heads are counted within queries, keys or values, which may lie side by side.
            start = 0 if outer.role == H else outer.start + offset // step % outer.size
            return (Axis(outer.role, several, start), *(axis for _, axis in inner))
    for low, axis in atoms:
        if axis.role == OTHER and low <= stride and stride * size <= low * axis.size:
            return (Axis("cut", size),)
    return None
