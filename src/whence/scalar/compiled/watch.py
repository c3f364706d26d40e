"""Numbers that notice when a program reads them, so that a recorded graph knows its limits.

A recorded graph holds for other numbers only as long as the program would build the same graph for
them. Where the program branches on a comparison, or takes a number out (`.data`, `float()`, as an
index), that is written down as a guard and checked at every replay.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from whence.scalar import ops
from whence.scalar.value import Value, as_value, many

LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, EQUAL, SAME = range(6)


class Guard(NamedTuple):
    """A fact about the numbers that the recorded graph rests on.

    Attributes:
        kind: a comparison, or `SAME`: the number itself was taken out.
        left: the number.
        right: what it was compared with; of `SAME` what it was.
        held: how the comparison came out.
    """

    kind: int
    left: Value
    right: Value
    held: bool


_SIGNS = ("add", "sub", "mul", "truediv", "pow")


def watched_class(guards: list[Guard]) -> type[Value]:
    """Return a kind of `Value` that writes each look at its number into `guards`.

    What is made from one is one too. The class is made again for every recording, so that two
    recordings never share their guards.
    """

    def reflected(sign: str) -> Callable[[Value, Any], Any]:
        # Python asks the right side first where its class is the more special one; so 2 · watched
        # and plain · watched both come here.
        plain = getattr(Value, f"__{sign}__")

        def method(self: Value, other: Any) -> Any:
            out = plain(as_value(other), self)
            out.__class__ = Watched
            return out

        return method

    def taken(v: Value) -> float:
        guards.append(Guard(SAME, v, Value(v._data), True))
        return v._data

    def comparing(kind: int, name: str) -> Callable[[Value, Any], Any]:
        plain = getattr(Value, name)

        def method(self: Value, other: Any) -> Any:
            held = plain(self, other)
            if held is not NotImplemented:
                guards.append(Guard(kind, self, as_value(other), held))
            return held

        return method

    def detached(self: Value) -> Value:
        out = many(ops.DETACH, (self,), (self._data,), self._data)
        out.__class__ = Watched
        return out

    def changed(self: Value, number: Any) -> None:
        from whence.errors import WhenceError

        raise WhenceError(
            f"{self.label or 'A number'} was set while a graph was being recorded: "
            "change parameters outside of the loss."
        )

    def as_index(v: Value) -> int:
        number = taken(v)
        if number != int(number):
            raise TypeError(f"{number!r} isn't a whole number, so it cannot be an index")
        return int(number)

    members: dict[str, Any] = {f"__r{sign}__": reflected(sign) for sign in _SIGNS}
    members |= {
        "__slots__": (),
        "__lt__": comparing(LESS, "__lt__"),
        "__le__": comparing(LESS_EQUAL, "__le__"),
        "__gt__": comparing(GREATER, "__gt__"),
        "__ge__": comparing(GREATER_EQUAL, "__ge__"),
        "__eq__": comparing(EQUAL, "__eq__"),
        "__hash__": object.__hash__,
        "__float__": taken,
        "__int__": lambda v: int(taken(v)),
        "__index__": as_index,
        "__bool__": lambda v: True,
        "data": property(taken, changed),
        "detach": detached,
    }
    Watched = type("Watched", (Value,), members)
    return Watched
