"""The header of a GGUF file: what it says is held against the file's size before it is believed.

The `gguf` package reads headers too, but does what they say: an array of 10^12 numbers is looped
over though the file has a hundred bytes.
"""

import math
import struct
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np

LARGEST_HEADER = 256 << 20  # bytes; that of a vocabulary of 260,000 has 15 MB
LARGEST_ARRAY = 1 << 23  # values; of the merges of 260,000 tokens there are 580,000
LONGEST_NAME = 200  # characters; llama.cpp's tensors have 64 at most
MOST_DIMENSIONS = 4  # of a tensor, as in llama.cpp
ALIGNMENT = 32  # of tensors, unless general.alignment says otherwise
NUMBERS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?"))) | {10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9


@dataclass(frozen=True)
class Entry:
    """Where a tensor is in a file.

    Attributes:
        kind: of its numbers, by llama.cpp's count.
        shape: the outer dimension first.
        start: its first byte.
    """

    kind: int
    shape: tuple[int, ...]
    start: int


def read_header(data: mmap) -> tuple[dict[str, Any], dict[str, Entry]]:
    """Return a file's values and where its tensors are.

    Arrays of numbers stay arrays of NumPy; whether a tensor ends within the file is not known yet.

    Raises:
        ValueError: where it can't be: what, at which byte.

    Example:
        >>> with open("model.gguf", "rb") as file:  # doctest: +SKIP
        ...     values, tensors = read_header(mmap(file.fileno(), 0, access=ACCESS_READ))
    """
    header = _Header(data)
    if header.take(4) != b"GGUF":
        raise ValueError("it doesn't begin with GGUF")
    version = header.number("I")
    if version not in (2, 3):
        raise ValueError(
            "its numbers are big-endian, as other machines have them"
            if version & 0xFFFF == 0
            else f"it is of version {version}, and only 2 and 3 are known"
        )
    n_tensors, n_values = header.number("Q"), header.number("Q")
    values: dict[str, Any] = {}
    for _ in range(n_values):
        name = header.text()
        if len(name) > LONGEST_NAME:
            raise ValueError(f"it has a value whose name is {len(name):,} characters long")
        if name in values:
            raise ValueError(f"it says {name!r} twice")
        values[name] = header.value(header.number("I"))
    found: dict[str, tuple[int, tuple[int, ...], int]] = {}
    for _ in range(n_tensors):
        name = header.text()
        if len(name) > LONGEST_NAME:
            raise ValueError(f"it has a tensor whose name is {len(name):,} characters long")
        if name in found:
            raise ValueError(f"it has the tensor {name!r} twice")
        n = header.number("I")
        if not 1 <= n <= MOST_DIMENSIONS:
            raise ValueError(f"the tensor {name!r} has {n} dimensions")
        shape = struct.unpack(f"<{n}Q", header.take(8 * n))[::-1]
        if not 0 < math.prod(shape) < 2**48:
            raise ValueError(f"the tensor {name!r} has the shape {list(shape)}")
        found[name] = header.number("I"), shape, header.number("Q")
    alignment = values.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"its general.alignment is {alignment!r}, and not a power of two")
    first = -(-header.at // alignment) * alignment
    return values, {name: Entry(kind, s, first + at) for name, (kind, s, at) in found.items()}


class _Header:
    """A place in the file, which goes on by what is read."""

    def __init__(self, data: mmap):
        self.data, self.at = data, 0
        self.end = min(len(data), LARGEST_HEADER)

    def take(self, size: int) -> bytes:
        if size > self.end - self.at:
            raise ValueError(
                f"at byte {self.at:,} its header says that {size:,} bytes follow, but "
                f"{self.end - self.at:,} do"
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, kind: str) -> Any:
        return struct.unpack("<" + kind, self.take(struct.calcsize(kind)))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            raise ValueError(f"at byte {self.at:,} it has a value of the unknown kind {kind}")
        of, n = self.number("I"), self.number("Q")
        if n > LARGEST_ARRAY:
            raise ValueError(f"at byte {self.at:,} it has an array of {n:,} values")
        if of == TEXT:
            return [self.text() for _ in range(n)]
        if of not in NUMBERS:
            raise ValueError(f"at byte {self.at:,} it has an array of the unknown kind {of}")
        kept = np.dtype(NUMBERS[of]).newbyteorder("<")
        return np.frombuffer(self.take(n * kept.itemsize), kept)
