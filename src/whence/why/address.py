"""The address of a number: `blocks.0.attn.q.weight[3,7].grad`, the same everywhere."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from whence.errors import WhenceError

__all__ = ["Address"]

QUANTITIES = ("grad", "update", "after")

_ADDRESS = re.compile(
    r"""(?P<name>[^\[\]@]*?)
        (?:\.(?P<early>grad|update|after)(?=\[))?
        (?:\[(?P<index>(?:[^\]'"]|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")*)\])?
        (?P<late>(?:\.(?:grad|update|after))*)
        (?:@(?P<step>\d+))?""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(x[\da-f]{2}|u[\da-f]{4}|U[\da-f]{8}|.)", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r"}
_INDEX = re.compile(r"""\s*(?:(-?\d+)|'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)")\s*(?:,|$)""")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address.

    Attributes:
        name: the tensor's name, with its `#k`.
        index: one integer or token for each dimension; `None` where none was given.
        quantity: what of it is meant: `("grad",)`, `("update",)`, `("after",)` or none.
        step: the step, `None` where none was given.

    Example:
        >>> Address.parse("logits[0,5,'mat'].grad@31")
        Address(name='logits', index=(0, 5, 'mat'), quantity=('grad',), step=31)
    """

    name: str
    index: tuple[int | str, ...] | None = None
    quantity: tuple[str, ...] = ()
    step: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            WhenceError: it isn't one.
        """
        found = _ADDRESS.fullmatch(text.strip())
        if found is None or not (found["name"] or found["step"]):
            raise WhenceError(
                f"{text!r} is not an address: write a tensor's name, an index in brackets and, if "
                "wanted, .grad, .update or .after, as in blocks.0.attn.q.weight[3,7].grad."
            )
        early = (found["early"],) if found["early"] else ()
        quantity = early + tuple(q for q in found["late"].split(".") if q)
        step = None if found["step"] is None else int(found["step"])
        return cls(found["name"], _parse_index(text, found["index"]), quantity, step)

    def __str__(self) -> str:
        index = "" if self.index is None else f"[{','.join(map(repr, self.index))}]"
        step = "" if self.step is None else f"@{self.step}"
        return self.name + index + "".join(f".{q}" for q in self.quantity) + step


def _parse_index(text: str, index: str | None) -> tuple[int | str, ...] | None:
    if index is None:
        return None
    parts: list[int | str] = []
    place = 0
    while place < len(index):
        found = _INDEX.match(index, place)
        if found is None:
            raise WhenceError(
                f"{text!r}: the index [{index}] is not a list of integers and quoted tokens."
            )
        number, single, double = found.groups()
        quoted = single if single is not None else double
        if number is not None:
            parts.append(int(number))
        else:
            parts.append(_ESCAPED.sub(_unescape, quoted))
        place = found.end()
    return tuple(parts)


def _unescape(found: re.Match[str]) -> str:
    """What Python's `repr` wrote with a backslash."""
    text = found[1]
    return chr(int(text[1:], 16)) if len(text) > 1 else _PLAIN.get(text, text)


def unknown(name: str, names: Iterable[str], what: str = "This step has no tensor") -> WhenceError:
    """Make the error for a name that isn't there: it says which ones are near."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if not near:
        tail = name.rpartition(".")[2]
        near = [n for n in names if tail and tail in n][:3]
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = "'whence why RUN --list', or trace.names() in Python, lists those there are."
    return WhenceError(f"{what} named {name!r}: {hint}")
