"""What the dimensions of a tensor run over: rows and columns of token ids, heads.

It begins at the ids that an embedding looks up, [rows, columns], and is followed from there through
the operations in their order, and through views by their strides. A matrix product that adds up
over the batch leaves none of it, so a weight's gradient is never taken for an activation. What the
step was given beside the ids (targets, masks) is laid out as the ids whose shape it has, where only
one has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from whence.why.receipts.streams import Stream, ids_of, looks_like_tokens
from whence.why.recording.recomputed import Recomputed
from whence.why.recording.storage import Memory, Ref
from whence.why.recording.tape import Call, Op, flatten
from whence.why.rules.forms.positions import dimensions

B, T, H, OTHER = "B", "T", "H", "-"  # rows, columns, heads


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that a dimension, or part of one, runs over.

    Attributes:
        role: "B" for rows, "T" for columns, "H" for heads, "-" for anything else.
        size: how many of them there are.
        start: number of the first one.
        stream: the ids whose rows and columns are meant; `None` for examples without tokens.
    """

    role: str
    size: int
    start: int = 0
    stream: Stream | None = None


Axes = tuple[tuple[Axis, ...], ...]  # for each dimension, what it runs over, the outermost first


class Layouts:
    """Finds the axes of tensors in one part of a batch.

    Args:
        ops: the operations of the part.
        parameters: memory that belongs to parameters and to the optimiser.
        ids: the token ids [B, T] that went in, where they are known.
        batch: number of examples, where no tokens go in.
        recurrent: the paths of recurrent layers.
    """

    def __init__(
        self,
        ops: Iterable[Op],
        parameters: set[Memory],
        ids: np.ndarray | None,
        batch: int,
        recurrent: set[str],
    ):
        self.batch, self._recurrent = batch, recurrent
        self.streams = [] if ids is None else [Stream(ids, given=True)]
        self._ops, self._parameters = list(ops), parameters
        self._known: dict[Ref, Axes | None] = {}

    @property
    def examples(self) -> int:
        """How many examples the part holds, counted over all its streams."""
        self.follow()
        return sum(s.examples for s in self.streams if s.joined is None) or self.batch

    def of(self, cells: object) -> Axes | None:
        """Return the axes of a tensor, `None` where nothing is known of them."""
        self.follow()
        if isinstance(cells, Recomputed):  # scores and weights [B, H, T, S]
            axes = self._of(cells.call["query"])
            return None if axes is None else (*axes[:3], (Axis(OTHER, cells.size[3]),))
        return self._of(cells) if isinstance(cells, Ref) else None

    def follow(self) -> None:
        """Work out the axes of everything that the operations made, once."""
        ops, self._ops = self._ops, []
        if not ops:
            return
        for op in ops:
            if op.name == "unbind" and op.phase == "forward" and op.module in self._recurrent:
                axes = self._of(op.args[0])  # cut into steps, which are gone through one by one
                if axes is not None:
                    _vote(axes[1], axes[0])
            if op.alias or op.phase == "update":
                continue
            for slot, output in enumerate(op.outputs):
                if output is not None:
                    self._known[output] = self._made(op.call(slot), output)
        count = 0
        for stream in self.streams:
            if stream.joined is None:
                stream.first, count = count, count + stream.examples

    def axes(self, ref: Ref) -> Axes | None:
        """The same while they are being worked out."""
        return self._of(ref)

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
                found = found or self._given(ref)
        if (found is None or not _in_batch(found)) and spread(ref):
            found = self._given(ref)  # one number for all places, as from a sum
        outside = memory.versions[0].writer is None and memory not in self._parameters
        if found is not None or not outside:  # else more may be known of it later
            self._known[ref] = found
        return found

    def _given(self, ref: Ref) -> Axes | None:
        """Lay out what the step was given: ids by what stands in them, else by its shape."""
        for whole in ref.version.memory.versions[0].seen if ref.version.memory.outside else ():
            if len(whole.size) == 2 and whole is not ref and not whole.dtype.is_floating_point:
                for stream in self.streams:
                    axes = _shaped(whole.size, stream)
                    if axes is not None and _stand_there(whole, axes):
                        return laid(ref, whole, axes)
        several = [s for s in self.streams if _shaped(ref.size, s) is not None]
        if len(several) > 1 and len(ref.size) == 2 and not ref.dtype.is_floating_point:
            same = ids_of(ref)
            several = [s for s in several if np.array_equal(s.ids, same)]
        if len(several) == 1:
            return _shaped(ref.size, several[0])
        if not self.streams and ref.size[:1] == (self.batch,) and len(ref.size) < 3:
            return ((Axis(B, self.batch),), *_plain(ref)[1:])
        return None

    def _made(self, call: Call, output: Ref) -> Axes | None:
        """Tell what an operation's output runs over, by what its inputs do."""
        special = _FORMS.get(call.name)
        if special is not None:
            axes = special(self, call)
            return axes if axes is None or _fits(axes, output.size) else None
        sources = flatten(list(call.values.values()), Ref)
        known = [(s, a) for s in sources if (a := self._of(s)) is not None and _in_batch(a)]
        streams = {axis.stream for _, axes in known for several in axes for axis in several}
        streams.discard(None)
        only = streams.pop() if len(streams) == 1 else None
        joined = call.name in ("cat", "stack")
        broadcast = known and all(_broadcasts(s.size, output.size) for s, _ in known)
        if joined and only is not None and (axes := _shaped(output.size, only)) is not None:
            return axes  # its steps, put together again
        if broadcast:
            return _merged(known, output, only)
        for source, axes in known:
            if source.size[:-1] == output.size[:-1] and len(source.size) > 1:
                return (*axes[:-1], (Axis(OTHER, output.size[-1]),))
        if not streams and known and output.size[:1] == (self.batch,) and len(output.size) < 3:
            return ((Axis(B, self.batch),), *_plain(output)[1:])
        return None if only is None else _shaped(output.size, only)

    def product(self, call: Call, first: str, second: str) -> Axes | None:
        """Rows run over what the first factor's rows do, columns over what the second's do."""
        a, b = self._of(call[first]), self._of(call[second])
        if a is None and b is None:
            return None
        if a is not None and b is not None and len(a) == 3:
            _vote(a[0], a[1])
            _join(a, b)
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

    def picked(self, call: Call) -> Axes | None:
        """The same, but along the dimension in which elements are picked."""
        axes, size = self._of(call["self"]), call.output.size
        if axes is None or len(axes) != len(size):
            return None
        dim = call["dim"] % len(size)
        return tuple(
            a if d != dim and _count(a) == n else (Axis(OTHER, n),)
            for d, (a, n) in enumerate(zip(axes, size, strict=True))
        )

    def padded(self, call: Call) -> Axes | None:
        """The same, begun earlier and ended later."""
        axes = self._of(call["self"])
        if axes is None:
            return None
        result = list(axes)
        for d, (left, n) in enumerate(zip(call["pad"][::2], call.output.size[::-1], strict=False)):
            if len(result[-1 - d]) == 1:
                (axis,) = result[-1 - d]
                result[-1 - d] = (replace(axis, size=n, start=axis.start - left),)
        return tuple(result)

    def looked_up(self, call: Call) -> Axes | None:
        """An embedding: what the tokens run over, and the vector."""
        indices: Ref = call["indices"]
        axes = self._of(indices)
        rows = None if axes is None else axes[0][0].stream
        whole = axes is not None and any(axis.role == T for several in axes for axis in several)
        if axes is not None and not (whole and _stand_there(indices, axes)):
            axes = None  # other ids of the same shape, or picked from them
        if axes is None and looks_like_tokens(call, first=not self.streams):
            stream = Stream(ids_of(indices))
            self.streams.append(stream)
            if rows is not None and not whole:
                stream.join(rows)
            axes = self._known[indices] = _shaped(indices.size, stream)
        return None if axes is None else (*axes, (Axis(OTHER, call.output.size[-1]),))


def _nothing(layouts: Layouts, call: Call) -> Axes | None:
    return None


def _norm_backward(layouts: Layouts, call: Call) -> Axes | None:
    return layouts.like(call, "input") if call.slot == 0 else None


def _attention(layouts: Layouts, call: Call) -> Axes | None:
    query, key = layouts.axes(call["query"]), layouts.axes(call["key"])
    if query is not None:
        _vote(query[0], query[2])
        if key is not None:
            _join(query, key)
    return layouts.like(call, "query")


def _attention_backward(layouts: Layouts, call: Call) -> Axes | None:
    return layouts.like(call, ("query", "key", "value")[call.slot])


def _rnn(layouts: Layouts, call: Call) -> Axes | None:
    axes = layouts.axes(call["input"])
    if axes is not None and call.op.phase == "forward":
        _vote(axes[1], axes[0])  # [T, B, I]
    return layouts.like(call, "input") if call.slot == 0 else None


_FORMS: dict[str, Callable[[Layouts, Call], Axes | None]] = {
    "mm": lambda layouts, call: layouts.product(call, "self", "mat2"),
    "bmm": lambda layouts, call: layouts.product(call, "self", "mat2"),
    "addmm": lambda layouts, call: layouts.product(call, "mat1", "mat2"),
    "baddbmm": lambda layouts, call: layouts.product(call, "batch1", "batch2"),
    "linear": lambda layouts, call: layouts.like(call, "input"),
    "embedding": Layouts.looked_up,
    "embedding_dense_backward": _nothing,
    **dict.fromkeys(
        (
            "sum",
            "mean",
            "amax",
            "amin",
            "var",
            "std",
            "any",
            "all",
            "argmax",
            "argmin",
            "prod",
            "logsumexp",
            "norm",
            "linalg_vector_norm",
        ),
        Layouts.reduction,
    ),
    "native_layer_norm_backward": _norm_backward,
    "_fused_rms_norm_backward": _norm_backward,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "gather": lambda layouts, call: layouts.picked(call),
    "constant_pad_nd": lambda layouts, call: layouts.padded(call),
    "index": _nothing,
    "take": _nothing,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "mkldnn_rnn_layer": _rnn,
    "mkldnn_rnn_layer_backward": _rnn,
}


def _broadcasts(size: tuple[int, ...], out: tuple[int, ...]) -> bool:
    """Whether a shape is broadcast to another, as an operation on each element does it."""
    pairs = zip(reversed(size), reversed(out), strict=False)
    return len(size) <= len(out) and all(n in (1, m) for n, m in pairs)


def _merged(known: list[tuple[Ref, Axes]], output: Ref, only: Stream | None) -> Axes:
    """Lay a result out as its inputs are, which are broadcast to it."""
    base = next((axes for source, axes in known if source.size == output.size), None)
    merged = list(_plain(output) if base is None else base)
    for source, axes in known:
        for d in range(-1, -1 - len(axes), -1):
            same = source.size[d] == output.size[d]
            if same and not _in_batch((merged[d],)) and _in_batch((axes[d],)):
                merged[d] = axes[d]
    # One number for each row, spread over the columns.
    rows = any(len(source.size) > 1 and source.size[1] == 1 for source, _ in known)
    if rows and only is not None and output.size[:2] == only.ids.shape and base is None:
        return _shaped(output.size, only) or tuple(merged)
    return tuple(merged)


def _stand_there(indices: Ref, axes: Axes) -> bool:
    """Whether ids [rows, columns] are those of the stream that they are taken to lie in."""
    if [len(several) for several in axes] != [1, 1]:
        return True
    (row,), (column,) = axes
    if (row.role, column.role) != (B, T) or row.stream is None:
        return True
    part = row.stream.ids[row.start : row.start + row.size]
    return np.array_equal(part[:, column.start : column.start + column.size], ids_of(indices))


def _vote(apart: tuple[Axis, ...], mixed: tuple[Axis, ...]) -> None:
    """Note that an operation kept these numbers apart as examples are, and mixed those."""
    for axis in apart:
        crossed = any(m.stream is axis.stream and m.role != axis.role for m in mixed)
        if axis.stream is not None and axis.role in (B, T) and crossed:
            axis.stream.row_votes += axis.role == B
            axis.stream.column_votes += axis.role == T


def _join(a: Axes, b: Axes) -> None:
    """Note that two streams met: where a target reads its source, they share their examples."""
    first, second = (
        next((x.stream for several in axes for x in several if x.stream is not None), None)
        for axes in (a, b)
    )
    if first is not None and second is not None and first is not second:
        first.join(second)


def _shaped(size: tuple[int, ...], stream: Stream) -> Axes | None:
    """Lay a shape out as the rows and columns of ids, `None` where it isn't plain."""
    b, t = stream.ids.shape
    row, column = Axis(B, b, 0, stream), Axis(T, t, 0, stream)
    rest = tuple((Axis(OTHER, n),) for n in size)
    if size[:2] == (b, t):
        return ((row,), (column,), *rest[2:])
    if size[:1] == (b * t,) and len(size) < 3:
        return ((row, column), *rest[1:])
    if size[:2] == (t, b) and len(size) < 4:
        return ((column,), (row,), *rest[2:])
    if size[:2] == (1, t) and len(size) < 4:
        return (rest[0], (column,), *rest[2:])
    if size == (b,):
        return ((row,),)
    return None


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
    # Windows that overlap, as of unfold: each belongs to the last of its places.
    for d in range(1, len(result)):
        if ref.stride[d - 1] == ref.stride[d] and ref.size[d] > 1 < ref.size[d - 1]:
            (axis,) = result[d - 1]
            result[d - 1] = (replace(axis, start=axis.start + ref.size[d] - 1),)
            result[d] = (Axis(OTHER, ref.size[d]),)
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
            return (replace(outer, size=several, start=start), *(axis for _, axis in inner))
    if inside and not inside[-1][0] % stride:  # whole axes, and ahead of them a piece of another
        piece = inside[-1][0] // stride
        whole = math.prod(axis.size for _, axis in inside) * piece == size
        cut = [a for a in atoms if a[1].role == OTHER and a[0] <= stride < a[0] * a[1].size]
        if whole and cut and piece > 1:
            return (*(axis for _, axis in inside), Axis(H, piece))
    for low, axis in atoms:
        if axis.role == OTHER and low <= stride and stride * size <= low * axis.size:
            return (Axis("cut", size),)
    return None
