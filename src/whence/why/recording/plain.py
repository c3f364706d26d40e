"""The plain tensor behind one that wraps another, lies sparsely, or has no memory.

A wrapper (DTensor, a jagged tensor, a sharded parameter) runs operations on the tensor it wraps,
and those are recorded. A sparse tensor is recorded as the dense one that it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes, is_traceable_wrapper_subclass


@dataclass(frozen=True, slots=True)
class Opaque:
    """Stands for a tensor whose memory can't be read.

    Attributes:
        kind: how it is laid out, such as `torch.sparse_csr`.
    """

    kind: str


def is_wrapper(kind: type) -> bool:
    """Whether tensors of a type run operations by themselves, on what they wrap."""
    return kind.__torch_dispatch__ is not Tensor.__torch_dispatch__  # pyright: ignore


class Plain:
    """Finds plain tensors, and keeps the dense ones made of sparse ones."""

    def __init__(self) -> None:
        self._dense: dict[tuple, tuple[Tensor, Tensor]] = {}

    def of(self, tensor: Tensor) -> Tensor | None:
        """Return what is recorded in place of a tensor, `None` where nothing can be."""
        while is_wrapper(type(tensor)):
            inner = _wrapped(tensor)
            if inner is None:
                return None
            tensor = inner
        if tensor.is_meta or tensor.is_nested:
            return None
        if tensor.layout is torch.strided:
            return tensor
        return self._made_dense(tensor) if tensor.layout is torch.sparse_coo else None

    def _made_dense(self, tensor: Tensor) -> Tensor:
        with _disable_current_modes(), torch.no_grad():
            tensor = tensor.detach()
            values = tensor._values()
            key = (values.data_ptr(), values.shape, values._version, tensor.is_coalesced())
            if key not in self._dense:
                self._dense[key] = values, tensor.to_dense()  # kept, so that no other lies there
            return self._dense[key][1]


def _wrapped(tensor: Tensor) -> Tensor | None:
    """The tensor that a wrapper's numbers are in: the one of its dtype; the first of several."""
    names: Any = (
        tensor.__tensor_flatten__()[0] if is_traceable_wrapper_subclass(tensor) else vars(tensor)
    )
    inner = [value for name in names if isinstance(value := getattr(tensor, name), Tensor)]
    return next((one for one in inner if one.dtype == tensor.dtype), None)


def kind_of(tensor: Tensor) -> str:
    """Say why a tensor can't be read."""
    if is_wrapper(type(tensor)):
        return type(tensor).__name__
    return "meta" if tensor.is_meta else "nested" if tensor.is_nested else str(tensor.layout)
