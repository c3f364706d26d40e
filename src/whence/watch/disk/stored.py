"""Nested values with tensors as JSON and safetensors; nothing is ever pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from whence.errors import WhenceError
from whence.runs.store.files import DamagedError


@dataclass(frozen=True)
class Numbered:
    """Stands for something stored elsewhere, by its number there."""

    number: int


class Store:
    """Tensors by number, beside values that refer to them.

    Args:
        tensors: those that there are already.

    Example:
        >>> store = Store()
        >>> written = store.written({"x": (torch.ones(2), 1.5)})
        >>> Store(store.tensors).read(written)
        {'x': (tensor([1., 1.]), 1.5)}
    """

    def __init__(self, tensors: dict[str, Tensor] | None = None):
        self.tensors = {} if tensors is None else tensors
        self._names: dict[int, str] = {}
        self._alive: list[Tensor] = []

    def written(self, value: Any) -> Any:
        """Return a value as what JSON can hold; its tensors are taken into the store.

        An object of another kind is named and can't be read again.
        """
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, Tensor):
            return {"tensor": self._take(value), "trainable": value.requires_grad}
        if isinstance(value, torch.dtype | torch.device):
            return {type(value).__name__: str(value).removeprefix("torch.")}
        if isinstance(value, Numbered):
            return {"numbered": value.number}
        if isinstance(value, list | tuple):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.written(item) for item in value]}
        if isinstance(value, Mapping):
            return {"items": [[self.written(k), self.written(v)] for k, v in value.items()]}
        return {"object": type(value).__name__}

    def _take(self, tensor: Tensor) -> str:
        if id(tensor) not in self._names:
            self._names[id(tensor)] = name = str(len(self.tensors))
            self._alive.append(tensor)
            dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
            self.tensors[name] = dense.cpu().contiguous().clone()
        return self._names[id(tensor)]

    def read(self, value: Any) -> Any:
        """Return what `written` was given.

        Raises:
            WhenceError: it holds an object that can't be read again.
        """
        if not isinstance(value, dict):
            return value
        (kind, inside), *_ = value.items()
        if kind == "float":
            return float.fromhex(inside)
        if kind == "tensor":
            return self.tensors[inside].clone().requires_grad_(bool(value.get("trainable")))
        if kind in ("dtype", "device"):
            return getattr(torch, inside) if kind == "dtype" else torch.device(inside)
        if kind == "numbered":
            return Numbered(int(inside))
        if kind in ("list", "tuple"):
            items = [self.read(item) for item in inside]
            return tuple(items) if kind == "tuple" else items
        if kind == "items":
            return {self.read(k): self.read(v) for k, v in inside}
        raise WhenceError(
            f"the model was called with a {inside}, which can't be stored: open the step with "
            "recorder.at() while the process is running."
        )

    def save(self, path: Path) -> None:
        """Write the tensors."""
        try:
            save_file(self.tensors, path)
        except SafetensorError as error:  # how it tells of a full disk
            raise OSError(str(error)) from error

    @classmethod
    def load(cls, path: Path) -> Store:
        """Read tensors.

        Raises:
            DamagedError: the file is missing or damaged.
        """
        try:
            return cls(load_file(path))
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise DamagedError(path, f"it can't be read ({error})") from error
