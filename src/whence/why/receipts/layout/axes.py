"""Axes: what the dimensions of a tensor run over, and how another shape takes them over."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from whence.why.receipts.layout.streams import Stream, ids_of
from whence.why.recording.storage import Ref

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


def broadcasts(size: tuple[int, ...], out: tuple[int, ...]) -> bool:
    """Whether a shape is broadcast to another, as an operation on each element does it."""
    pairs = zip(reversed(size), reversed(out), strict=False)
    return len(size) <= len(out) and all(n in (1, m) for n, m in pairs)


def merged(known: list[tuple[Ref, Axes]], output: Ref, only: Stream | None) -> Axes:
    """Lay a result out as its inputs are, which are broadcast to it."""
    base = next((axes for source, axes in known if source.size == output.size), None)
    merged = list(plain(output) if base is None else base)
    for source, axes in known:
        for d in range(-1, -1 - len(axes), -1):
            same = source.size[d] == output.size[d]
            if same and not in_batch((merged[d],)) and in_batch((axes[d],)):
                merged[d] = axes[d]
    # One number for each row, spread over the columns.
    rows = any(len(source.size) > 1 and source.size[1] == 1 for source, _ in known)
    if rows and only is not None and output.size[:2] == only.ids.shape and base is None:
        return shaped(output.size, only) or tuple(merged)
    return tuple(merged)


def stand_there(indices: Ref, axes: Axes) -> bool:
    """Whether ids [rows, columns] are those of the stream that they are taken to lie in."""
    if [len(several) for several in axes] != [1, 1]:
        return True
    (row,), (column,) = axes
    if (row.role, column.role) != (B, T) or row.stream is None:
        return True
    part = row.stream.ids[row.start : row.start + row.size]
    return np.array_equal(part[:, column.start : column.start + column.size], ids_of(indices))


def vote(apart: tuple[Axis, ...], mixed: tuple[Axis, ...]) -> None:
    """Note that an operation kept these numbers apart as examples are, and mixed those."""
    for axis in apart:
        if axis.stream is None or axis.role not in (B, T):
            continue
        # A dimension of one row, or of one column, isn't told apart from any other of size 1.
        crossed = any(m.stream is axis.stream and m.role != axis.role for m in mixed)
        if crossed or 1 in axis.stream.ids.shape:
            axis.stream.row_votes += axis.role == B
            axis.stream.column_votes += axis.role == T
    for axis in mixed:
        if axis.stream is not None and axis.role in (B, T) and 1 in axis.stream.ids.shape:
            axis.stream.row_votes += axis.role == T
            axis.stream.column_votes += axis.role == B


def join(a: Axes, b: Axes) -> None:
    """Note that two streams met: where a target reads its source, they share their examples."""
    first, second = (
        next((x.stream for several in axes for x in several if x.stream is not None), None)
        for axes in (a, b)
    )
    if first is not None and second is not None and first is not second:
        first.join(second)


def shaped(size: tuple[int, ...], stream: Stream) -> Axes | None:
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


def count(several: tuple[Axis, ...]) -> int:
    """How many places there are along a dimension."""
    return math.prod(axis.size for axis in several)


def fits(axes: Axes, size: tuple[int, ...]) -> bool:
    """Whether axes are those of a tensor of this shape."""
    return tuple(count(a) for a in axes) == size


def in_batch(axes: Axes) -> bool:
    """Whether any dimension runs over rows or columns of ids."""
    return any(axis.role in (B, T) for several in axes for axis in several)


def plain(ref: Ref) -> Axes:
    """Axes that say nothing."""
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
