"""The `gguf` package, with one-line errors for whatever is wrong with a file."""

import math
import struct
from importlib import import_module
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.errors import WhenceError
from whence.interop.gguf.header import read_header

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
        values: name → value; arrays of numbers are arrays of NumPy.
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
                    raise WhenceError(f"{path} isn't a GGUF file.")
                self._data = mmap(file.fileno(), 0, access=ACCESS_READ)
            self.values, self._tensors = read_header(self._data)
            self._kinds = {name: self._kind_of(name) for name in self._tensors}
        except BROKEN as error:
            raise WhenceError(
                f"{path} is damaged or cut short ({error}): download it again."
            ) from error
        self.shapes = {name: list(entry.shape) for name, entry in self._tensors.items()}

    def load(self, name: str) -> Tensor:
        """Read a tensor in float32, whatever bits it is kept in.

        Raises:
            WhenceError: where its numbers can't be read.
        """
        entry, kind = self._tensors[name], self._kinds[name]
        raw = np.frombuffer(self._data, np.uint8, self._n_bytes(name), entry.start)
        rows = raw.reshape(*entry.shape[:-1], -1)
        try:
            with np.errstate(all="ignore"):  # what isn't finite is told where it is computed with
                values = self._gguf.dequantize(rows, kind).reshape(entry.shape)
        except NotImplementedError as error:  # of gguf, for kinds that it can't unpack
            raise WhenceError(
                f"{self.path} keeps {name} as {kind.name}, which can't be read: take a file with "
                "F16, Q8_0 or K-quants."
            ) from error
        except BROKEN as error:
            raise WhenceError(f"{self.path} is damaged at {name} ({error}).") from error
        return torch.from_numpy(np.array(values, dtype=np.float32))

    def kinds(self) -> list[str]:
        """Return the kinds of numbers in the file, the most bytes first."""
        sizes: dict[str, int] = {}
        for name, kind in self._kinds.items():
            sizes[kind.name] = sizes.get(kind.name, 0) + self._n_bytes(name)
        return sorted(sizes, key=lambda kind: -sizes[kind])

    def _kind_of(self, name: str) -> Any:
        """The kind of a tensor's numbers, where the file has as many as its shape says."""
        entry = self._tensors[name]
        try:
            kind = self._gguf.GGMLQuantizationType(entry.kind)
        except ValueError as error:
            raise ValueError(f"{name} has numbers of the unknown kind {entry.kind}") from error
        block, size = self._gguf.GGML_QUANT_SIZES[kind]
        if entry.shape[-1] % block:
            raise ValueError(f"{name} has rows of {entry.shape[-1]}, not whole blocks of {block}")
        end = entry.start + math.prod(entry.shape) // block * size
        if end > len(self._data):
            raise ValueError(f"{name} ends at byte {end:,} of {len(self._data):,}")
        return kind

    def _n_bytes(self, name: str) -> int:
        block, size = self._gguf.GGML_QUANT_SIZES[self._kinds[name]]
        return math.prod(self._tensors[name].shape) // block * size
