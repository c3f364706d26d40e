"""What an operation's output runs over, by what its inputs do: one row an operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from whence.why.receipts.layout.axes import (
    OTHER,
    Axes,
    Axis,
    B,
    T,
    count,
    join,
    plain,
    shaped,
    stand_there,
    vote,
)
from whence.why.receipts.layout.streams import Stream, ids_of, looks_like_tokens
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.positions import dimensions

if TYPE_CHECKING:
    from whence.why.receipts.layout.layouts import Layouts


def product(layouts: Layouts, call: Call, first: str, second: str) -> Axes | None:
    """Rows run over what the first factor's rows do, columns over what the second's do."""
    a, b = layouts.axes(call[first]), layouts.axes(call[second])
    if a is None and b is None:
        return None
    if a is not None and b is not None and len(a) == 3:
        vote(a[0], a[1])
        join(a, b)
    rows = plain(call[first])[:-1] if a is None else a[:-1]
    columns = plain(call[second])[-1] if b is None else b[-1]
    if a is None and b is not None and len(b) == 3:
        rows = (b[0], *rows[1:])
    return (*rows, columns)


def reduction(layouts: Layouts, call: Call) -> Axes | None:
    """What is left when some dimensions are added up."""
    axes = layouts.axes(call["self"])
    if axes is None:
        return None
    gone = dimensions(call.get("dim"), len(axes))
    if len(call.output.size) == len(axes):
        return tuple((Axis(OTHER, 1),) if d in gone else a for d, a in enumerate(axes))
    return tuple(a for d, a in enumerate(axes) if d not in gone)


def like(layouts: Layouts, call: Call, name: str) -> Axes | None:
    """The same as an argument's, as far as there are as many dimensions."""
    axes = layouts.axes(call[name])
    if axes is None:
        return None
    kept = axes[: len(call.output.size)]
    fits = zip(kept, call.output.size, strict=False)
    return tuple(a if count(a) == n else (Axis(OTHER, n),) for a, n in fits)


def picked(layouts: Layouts, call: Call) -> Axes | None:
    """The same, but along the dimension in which elements are picked."""
    axes, size = layouts.axes(call["self"]), call.output.size
    if axes is None or len(axes) != len(size):
        return None
    dim = call["dim"] % len(size)
    return tuple(
        a if d != dim and count(a) == n else (Axis(OTHER, n),)
        for d, (a, n) in enumerate(zip(axes, size, strict=True))
    )


def padded(layouts: Layouts, call: Call) -> Axes | None:
    """The same, begun earlier and ended later."""
    axes = layouts.axes(call["self"])
    if axes is None:
        return None
    result = list(axes)
    for d, (left, n) in enumerate(zip(call["pad"][::2], call.output.size[::-1], strict=False)):
        if len(result[-1 - d]) == 1:
            (axis,) = result[-1 - d]
            result[-1 - d] = (replace(axis, size=n, start=axis.start - left),)
    return tuple(result)


def stacked(layouts: Layouts, call: Call) -> Axes | None:
    """Several of one shape put side by side along a new dimension: the steps of a recurrence."""
    axes = _of_any(layouts, call["tensors"])
    if axes is None:
        return None
    dim = call["dim"] % (len(axes) + 1)
    return (*axes[:dim], (_missing(axes, len(call["tensors"])),), *axes[dim:])


def joined(layouts: Layouts, call: Call) -> Axes | None:
    """Several put one after the other: along that dimension, what all of them run over in turn."""
    sources: list[Ref] = [ref for ref in call["tensors"] if ref.numel]
    axes = _of_any(layouts, sources)
    if axes is None:
        return None
    dim = call["dim"] % len(axes)
    several = [layouts.axes(ref) for ref in sources]
    along = [
        (Axis(OTHER, ref.size[dim]),) if each is None else each[dim]
        for ref, each in zip(sources, several, strict=True)
    ]
    whole = Axis(OTHER, sum(ref.size[dim] for ref in sources))
    if all(len(a) == 1 and a[0].role == OTHER and a[0].size == 1 for a in along):
        whole = _missing((*axes[:dim], *axes[dim + 1 :]), len(sources))
    else:
        known = [(i, a[0]) for i, a in enumerate(along) if len(a) == 1 and a[0].role != OTHER]
        starts = {axis.start - sum(ref.size[dim] for ref in sources[:i]) for i, axis in known}
        if len(starts) == len({(a.role, a.stream) for _, a in known}) == 1:
            whole = replace(known[0][1], size=whole.size, start=starts.pop())
    return (*axes[:dim], (whole,), *axes[dim + 1 :])


def _of_any(layouts: Layouts, sources: list[Ref]) -> Axes | None:
    """The axes of the first tensor of which they are known."""
    return next((a for ref in sources if (a := layouts.axes(ref)) is not None), None)


def _missing(axes: Axes, many: int) -> Axis:
    """What steps run over that were put together again: the columns, where only rows are there."""
    there = {a.role: a.stream for several in axes for a in several if a.stream is not None}
    for own, other, dim in ((B, T, 1), (T, B, 0)):
        stream = there.get(own)
        if stream is not None and other not in there and stream.ids.shape[dim] == many:
            return Axis(other, many, 0, stream)
    return Axis(OTHER, many)


def looked_up(layouts: Layouts, call: Call) -> Axes | None:
    """An embedding: what the tokens run over, and the vector."""
    indices: Ref = call["indices"]
    axes = layouts.axes(indices)
    rows = None if axes is None else axes[0][0].stream
    whole = axes is not None and any(axis.role == T for several in axes for axis in several)
    if axes is not None and not (whole and stand_there(indices, axes)):
        axes = None  # other ids of the same shape, or picked from them
    if axes is None and looks_like_tokens(call, first=not layouts.streams):
        stream = Stream(ids_of(indices))
        layouts.streams.append(stream)
        if rows is not None and not whole:
            stream.join(rows)
        axes = layouts.known[indices] = shaped(indices.size, stream)
    return None if axes is None else (*axes, (Axis(OTHER, call.output.size[-1]),))


def _nothing(layouts: Layouts, call: Call) -> Axes | None:
    return None


def _first(name: str) -> Callable[[Layouts, Call], Axes | None]:
    """The first output runs over what an argument does; statistics and weights' gradients don't."""
    return lambda layouts, call: like(layouts, call, name) if call.slot == 0 else None


def _attention(layouts: Layouts, call: Call) -> Axes | None:
    query, key = layouts.axes(call["query"]), layouts.axes(call["key"])
    if query is not None:
        vote(query[0], query[2])
        if key is not None:
            join(query, key)
    return like(layouts, call, "query")


def _attention_backward(layouts: Layouts, call: Call) -> Axes | None:
    return like(layouts, call, ("query", "key", "value")[call.slot])


def _rnn(layouts: Layouts, call: Call) -> Axes | None:
    axes = layouts.axes(call["input"])
    if axes is not None and call.op.phase == "forward":
        vote(axes[1], axes[0])  # [T, B, I]
    return like(layouts, call, "input") if call.slot == 0 else None


FORMS: dict[str, Callable[[Layouts, Call], Axes | None]] = {
    "mm": lambda layouts, call: product(layouts, call, "self", "mat2"),
    "bmm": lambda layouts, call: product(layouts, call, "self", "mat2"),
    "addmm": lambda layouts, call: product(layouts, call, "mat1", "mat2"),
    "baddbmm": lambda layouts, call: product(layouts, call, "batch1", "batch2"),
    "linear": lambda layouts, call: like(layouts, call, "input"),
    "stack": stacked,
    "cat": joined,
    "nll_loss_backward": lambda layouts, call: like(layouts, call, "self"),
    "embedding": looked_up,
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
        reduction,
    ),
    **dict.fromkeys(
        (
            "native_layer_norm_backward",
            "_fused_rms_norm_backward",
            "native_batch_norm",
            "native_batch_norm_backward",
            "native_group_norm_backward",
            "convolution",
            "convolution_backward",
        ),
        _first("input"),
    ),
    "max_pool2d_with_indices": lambda layouts, call: like(layouts, call, "self"),
    "max_pool2d_with_indices_backward": lambda layouts, call: like(layouts, call, "self"),
    "avg_pool2d": lambda layouts, call: like(layouts, call, "self"),
    "avg_pool2d_backward": lambda layouts, call: like(layouts, call, "self"),
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "gather": picked,
    "constant_pad_nd": padded,
    "index": _nothing,
    "take": _nothing,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "mkldnn_rnn_layer": _rnn,
    "mkldnn_rnn_layer_backward": _rnn,
}
