"""Answers on their way to a page: a JSON header, and arrays as the bytes they are."""

import json
import math
import struct
from typing import Any

import numpy as np

DTYPES = ("float32", "float64", "int32", "uint8")  # those that JavaScript has an array for
EXACT = 2**53  # a JavaScript number holds every whole number up to here


def split(answer: Any) -> tuple[str, list[bytes]]:
    r"""Part an answer into JSON and buffers.

    In the JSON each array is `{"$array": i, "dtype": "float32", "shape": [2, 3]}` with i the
    buffer's number. Numbers that JSON lacks stand there as "nan", "inf" or "-inf", and whole
    numbers that JavaScript would round as text.

    Args:
        answer: dicts, lists, texts, numbers, and NumPy arrays of `DTYPES` anywhere.

    Raises:
        TypeError: for anything else.

    Example:
        >>> split({"p": np.array([0.5], np.float32), "loss": float("inf")})
        ('{"p":{"$array":0,"dtype":"float32","shape":[1]},"loss":"inf"}', [b'\x00\x00\x00?'])
    """
    buffers: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return array(value)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return value
        if isinstance(value, int):
            return value if abs(value) <= EXACT else str(value)
        if isinstance(value, dict):
            return {name(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        raise TypeError(f"an answer holds a {type(value).__name__}: give plain values or arrays.")

    def name(key: Any) -> str:
        if isinstance(key, str) and key != "$array":
            return key
        raise TypeError(f"an answer has the key {key!r}: keys are texts other than '$array'.")

    def array(value: np.ndarray) -> dict[str, Any]:
        if value.dtype.name not in DTYPES:
            raise TypeError(f"an answer holds {value.dtype} numbers: give {', '.join(DTYPES)}.")
        buffers.append(value.astype(value.dtype.newbyteorder("<"), order="C").tobytes())
        return {"$array": len(buffers) - 1, "dtype": value.dtype.name, "shape": list(value.shape)}

    text = json.dumps(plain(answer), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text, buffers


def pack(answer: Any) -> bytes:
    """Return an answer as bytes: the JSON's length (uint32), the JSON, the buffers.

    Whatever follows begins at a multiple of 8 bytes, so that arrays can be used where they lie.

    Args:
        answer: as of `split`.

    Raises:
        TypeError: as `split`.

    Example:
        >>> unpack(pack({"loss": [1, 2.5]}))
        {'loss': [1, 2.5]}
    """
    text, buffers = split(answer)
    head = text.encode("utf-8", "surrogatepass")
    parts = [struct.pack("<I", len(head)) + head, *buffers]
    return b"".join(part + bytes(-len(part) % 8) for part in parts)


def unpack(data: bytes) -> Any:
    """Return the answer that `pack` packed; what stands as text stays text.

    Example:
        >>> unpack(pack(np.eye(2, dtype=np.float32)))[0, 0].item()
        1.0
    """
    (length,) = struct.unpack_from("<I", data)
    place = 4 + length + -(4 + length) % 8

    def built(value: dict[str, Any]) -> Any:
        nonlocal place
        if "$array" not in value:
            return value
        dtype = np.dtype(value["dtype"]).newbyteorder("<")
        count = math.prod(value["shape"])
        found = np.frombuffer(data, dtype, count, place).reshape(value["shape"])
        place += found.nbytes + -found.nbytes % 8
        return found

    return json.loads(data[4 : 4 + length].decode("utf-8", "surrogatepass"), object_hook=built)
