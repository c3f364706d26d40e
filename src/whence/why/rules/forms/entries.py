"""Entries of a sparse tensor: several may lie at one place, where a kernel adds them one by one."""

from __future__ import annotations

import numpy as np

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.forms.positions import column, coordinates
from whence.why.rules.opening import Cells

PUTS_TOGETHER = (
    "_sparse_coo_tensor_with_dims_and_tensors",
    "_sparse_coo_tensor_unsafe",
)


def entries_at(call: Call, at: Index) -> tuple[Index, np.ndarray]:
    """Tell which values a sparse tensor was put together of.

    Args:
        call: what put it together.
        at: places in the dense tensor that it stands for, [m].

    Returns:
        Positions in its values, [m, entries], and which of them lie there.
    """
    indices, values = call["indices"], call["values"]
    n_sparse, count = indices.size
    size = call.output.size
    where = coordinates(at, size)
    listed = indices.gather(np.arange(indices.numel)).reshape(n_sparse, count)
    there = np.ones((len(at), count), dtype=bool)
    for of_entries, here in zip(listed, where[:n_sparse], strict=True):
        there &= of_entries[None] == here[:, None]
    rest = np.zeros(len(at), dtype=np.int64)
    for n, here in zip(size[n_sparse:], where[n_sparse:], strict=True):
        rest = rest * n + here
    width = values.numel // max(count, 1)
    return np.arange(count) * width + column(rest), there


def put_together(cells: Cells) -> list[Call]:
    """List what a sparse tensor was put together by; nothing for a dense one."""
    writer = cells.version.writer if isinstance(cells, Ref) else None
    if writer is None or writer.name not in (*PUTS_TOGETHER, "clone", "add"):
        return []
    call = writer.call(0)
    if writer.name in PUTS_TOGETHER:
        return [call]
    if writer.name == "clone":
        return put_together(call["self"])
    several = [put_together(call[name]) for name in ("self", "other")]
    return several[0] + several[1] if all(several) else []  # gradients that were accumulated


def piled(several: list[Call], at: Index) -> tuple[np.ndarray, np.ndarray]:
    """Count the entries at some places, [m], and add up their sizes."""
    count, size = np.zeros(len(at)), np.zeros(len(at))
    for call in several:
        values: Ref = call["values"]
        places, there = entries_at(call, at)
        sizes = np.abs(values.gather(places.reshape(-1))).reshape(places.shape)
        count += there.sum(1)
        size += np.where(there, sizes, 0.0).sum(1)
    return count, size
