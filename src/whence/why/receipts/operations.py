"""What an operation's output runs over, by what its inputs do: one row an operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from whence.why.receipts.axes import (
    OTHER,
    Axes,
    Axis,
    T,
    count,
    join,
    plain,
    shaped,
    stand_there,
    vote,
)
from whence.why.receipts.streams import Stream, ids_of, looks_like_tokens
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.positions import dimensions

if TYPE_CHECKING:
    from whence.why.receipts.layouts import Layouts


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


def _norm_backward(layouts: Layouts, call: Call) -> Axes | None:
    return like(layouts, call, "input") if call.slot == 0 else None


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
    "native_layer_norm_backward": _norm_backward,
    "_fused_rms_norm_backward": _norm_backward,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "gather": picked,
    "constant_pad_nd": padded,
    "index": _nothing,
    "take": _nothing,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "mkldnn_rnn_layer": _rnn,
    "mkldnn_rnn_layer_backward": _rnn,
}
