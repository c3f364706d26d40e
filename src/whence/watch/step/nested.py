"""Tensors inside what a module is given and returns: lists, mappings, dataclasses, in any depth."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def mapped(value: Any, change: Callable[[Any], Any], kind: type = Tensor) -> Any:
    """Replace each tensor in a nested value; one that occurs twice is replaced once.

    Lists, tuples, named tuples, mappings (such as transformers' outputs) and dataclasses keep
    their types. Whatever else there is stays the same object. Another `kind` than tensors may be
    replaced.

    Example:
        >>> import torch
        >>> mapped({"x": [torch.ones(2), 3]}, lambda t: t + 1)
        {'x': [tensor([2., 2.]), 3]}
    """
    return _mapped(value, change, kind, {})


def _mapped(value: Any, change: Callable[[Any], Any], kind: type, done: dict[int, Any]) -> Any:
    if isinstance(value, kind):
        if id(value) not in done:
            done[id(value)] = change(value)
        return done[id(value)]
    if isinstance(value, list | tuple):
        items = [_mapped(item, change, kind, done) for item in value]
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*items)
        return type(value)(items)
    if isinstance(value, Mapping):
        if type(value) is dict:
            return {key: _mapped(item, change, kind, done) for key, item in value.items()}
        changed: Any = copy.copy(value)
        for key, item in list(value.items()):
            new = _mapped(item, change, kind, done)
            if new is not item:
                changed[key] = new
        return changed
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = copy.copy(value)
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            new = _mapped(item, change, kind, done)
            if new is not item:
                object.__setattr__(made, field.name, new)
        return made
    return value


def tensors(value: Any) -> list[Tensor]:
    """List the tensors of a nested value, in a fixed order, each once.

    Example:
        >>> import torch
        >>> x = torch.ones(2)
        >>> len(tensors((x, {"again": x})))
        1
    """
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(value, note)
    return found


def nbytes(value: Any) -> int:
    """Add up the bytes of the tensors in a nested value."""
    return sum(bytes_of(t) for t in tensors(value))


def bytes_of(tensor: Tensor) -> int:
    """Bytes of the memory that a tensor lies in; 0 for a sparse one."""
    return 0 if tensor.is_sparse else tensor.untyped_storage().nbytes()
