"""Values of a file that others wrote, checked for presence and type, with one-line errors."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import Repr
from typing import Any

from whence.errors import WhenceError

LARGEST = 256 << 20  # bytes; a tokenizer.json of 260,000 tokens has 35 MB
LONGEST_SAID = 400  # characters of an error, besides the file's name
HUGE = 3e38  # what float32 has no room for

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class Fields:
    """The named values of a config.json or a GGUF header.

    Args:
        values: name → value.
        where: the file, for errors.

    Example:
        >>> fields = Fields({"n_layer": 2}, "config.json")
        >>> fields.count("n_layer"), fields.count("n_head", 4)
        (2, 4)
    """

    def __init__(self, values: Mapping[str, Any], where: str):
        self.values, self.where = values, where

    def count(self, name: str, default: int | None = None) -> int:
        """Return a whole number of 1 or more.

        Raises:
            WhenceError: where it is missing without a default, or is none.
        """
        value = self._value(name, default)
        if type(value) is not int or not 1 <= value < 2**31:
            raise WhenceError(f"{self.where} gives {name} as {short(value)}: it must be 1 or more.")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number.

        Raises:
            WhenceError: as `count`.
        """
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < HUGE:
            raise WhenceError(f"{self.where} gives {name} as {short(value)}: it must be a number.")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false.

        Raises:
            WhenceError: where it is something else.
        """
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise WhenceError(
                f"{self.where} gives {name} as {short(value)}: it must be true or false."
            )
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text.

        Raises:
            WhenceError: as `count`.
        """
        value = self._value(name, default)
        if not isinstance(value, str):
            raise WhenceError(f"{self.where} gives {name} as {short(value)}: it must be a string.")
        return value

    def table(self, name: str) -> "Fields":
        """Return a table of values; where there is none, an empty one.

        Raises:
            WhenceError: where it is something else.
        """
        value = self.values.get(name) or {}
        if not isinstance(value, Mapping):
            raise WhenceError(f"{self.where} gives {name} as {short(value)}: it must be a table.")
        return Fields(value, f"{name} of {self.where}")

    def given(self, name: str) -> Any:
        """Return a value as it is, None where it is missing."""
        return self.values.get(name)

    def _value(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        if value is None:
            value = default
        if value is None:
            raise WhenceError(f"{self.where} lacks {name}, so the model can't be built.")
        return value


def short(value: object) -> str:
    """Write a value of a file as Python would, cut short.

    Example:
        >>> short(7), len(short("x" * 10**6))
        ('7', 60)
    """
    return _SHORT.repr(value)


@contextmanager
def told_of(where: object) -> Iterator[None]:
    """Put a file's name ahead of errors that don't have it, and cut those that quote a book.

    Example:
        >>> with told_of("config.json"):
        ...     raise WhenceError("n_heads is 0.")
        Traceback (most recent call last):
        whence.errors.WhenceError: config.json: n_heads is 0.
    """
    try:
        yield
    except WhenceError as error:
        said = str(error) if str(where) in str(error) else f"{where}: {error}"
        if len(said) > LONGEST_SAID + len(str(where)):
            said = f"{said[: LONGEST_SAID + len(str(where)) - 60]} … {said[-60:]}"
        raise WhenceError(" ".join(said.split())) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        WhenceError: where it is missing, too large, or no JSON object.

    Example:
        >>> read_json(Path("config.json"))  # doctest: +SKIP
    """
    try:
        found = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise WhenceError(f"{path} isn't valid JSON ({error}): download it again.") from error
    if not isinstance(found, dict):
        raise WhenceError(f"{path} contains no JSON object: download it again.")
    return found


def read_text(path: Path) -> str:
    """Read a text in UTF-8.

    Raises:
        WhenceError: where it is missing, too large, or no such text.

    Example:
        >>> read_text(Path("chat_template.jinja"))  # doctest: +SKIP
    """
    try:
        return _bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise WhenceError(f"{path} can't be read as text ({error}): download it again.") from error


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise WhenceError(f"{path} can't be read ({error.strerror or error}).") from error
    if len(raw) > LARGEST:
        raise WhenceError(f"{path} is larger than {LARGEST >> 20} MB: it isn't such a file.")
    return raw
