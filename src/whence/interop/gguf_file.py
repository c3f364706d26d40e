"""The `gguf` package, opened so that whatever is wrong with a file is said in one sentence."""

import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.errors import WhenceError

BROKEN = (ValueError, IndexError, KeyError, TypeError, OverflowError, OSError, struct.error,
          AttributeError, MemoryError, ZeroDivisionError)  # fmt: skip


def gguf_package() -> Any:
    """Return the `gguf` package.

    Raises:
        WhenceError: where it isn't installed.

    Example:
        >>> gguf_package().GGUF_MAGIC == int.from_bytes(b"GGUF", "little")
        True
    """
    try:
        return import_module("gguf")
    except ImportError as error:
        raise WhenceError(
            "GGUF files are read and written by the gguf package: run 'pip install whence[gguf]'."
        ) from error


class GGUFFile:
    """A GGUF file: named values, and tensors that are read when they are asked for.

    Args:
        path: the file.

    Attributes:
        path: the file.
        values: name → value.
        shapes: tensor → shape, the outer dimension first.

    Raises:
        WhenceError: where it is none, or is damaged.

    Example:
        >>> GGUFFile(Path("model.gguf")).values["general.architecture"]  # doctest: +SKIP
        'llama'
    """

    def __init__(self, path: Path):
        self.path, self._gguf = path, gguf_package()
        if not path.is_file():
            raise WhenceError(f"there is no file {path}.")
        try:
            with path.open("rb") as file:
                if file.read(4) != b"GGUF":
                    raise WhenceError(f"{path} is no GGUF file.")
            reader = self._gguf.GGUFReader(path)
            self.values = {name: _value(f) for name, f in reader.fields.items()}
            self._tensors = {tensor.name: tensor for tensor in reader.tensors}
            self.shapes = {
                name: [int(n) for n in reversed(tensor.shape)]
                for name, tensor in self._tensors.items()
            }
        except BROKEN as error:
            raise WhenceError(
                f"{path} is damaged or cut short ({type(error).__name__}: {error}): fetch it again."
            ) from error

    def load(self, name: str) -> Tensor:
        """Read a tensor in float32, whatever bits it is kept in.

        Raises:
            WhenceError: where its numbers can't be read.
        """
        tensor = self._tensors[name]
        try:
            values = self._gguf.dequantize(tensor.data, tensor.tensor_type)
            array = np.asarray(values, dtype=np.float32).reshape(self.shapes[name])
        except NotImplementedError as error:  # of gguf, for kinds that it can't unpack
            raise WhenceError(
                f"{self.path} keeps {name} as {tensor.tensor_type.name}, which can't be read: take "
                "a file with F16, Q8_0 or K-quants."
            ) from error
        except BROKEN as error:
            raise WhenceError(f"{self.path} is damaged at {name} ({error}).") from error
        return torch.from_numpy(np.array(array))

    def kinds(self) -> list[str]:
        """Return the kinds of numbers in the file, the most bytes first."""
        sizes: dict[str, int] = {}
        for tensor in self._tensors.values():
            kind = tensor.tensor_type.name
            sizes[kind] = sizes.get(kind, 0) + int(tensor.n_bytes)
        return sorted(sizes, key=lambda kind: -sizes[kind])


def _value(field: Any) -> Any:
    """A field's value in Python; long arrays of numbers at once instead of one by one."""
    if field.types and field.types[0].name == "ARRAY" and field.types[-1].name != "STRING":
        return np.concatenate([field.parts[i] for i in field.data]).tolist() if field.data else []
    value = field.contents()
    return value.item() if isinstance(value, np.generic) else value
