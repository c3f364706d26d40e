"""Values checked against the types that a dataclass gives its fields."""

import difflib
import functools
import numbers
import types
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from whence.errors import WhenceError

T = TypeVar("T")


def check_fields(config: Any, where: str = "") -> None:
    """Check every field of a frozen dataclass against its type; for its `__post_init__`.

    A whole number given for a float becomes one, a list given for a tuple too.

    Args:
        config: the dataclass.
        where: what comes before a field's name in an error, such as "model.".

    Raises:
        WhenceError: naming the first field whose value doesn't fit, and what it must be.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Size:
        ...     width: int = 1
        ...     def __post_init__(self):
        ...         check_fields(self)
        >>> Size(width=2.5)
        Traceback (most recent call last):
        whence.errors.WhenceError: width is 2.5: it must be a whole number.
    """
    hints = hints_of(type(config))
    for item in fields(config):
        value = getattr(config, item.name)
        fitted = fit(value, hints[item.name], where + item.name)
        if fitted is not value:
            object.__setattr__(config, item.name, fitted)


def check_sizes(config: object, *names: str) -> None:
    """Refuse a size below 1.

    Raises:
        WhenceError: naming the field.

    Example:
        >>> check_sizes(complex(1, 2), "real")
    """
    for name in names:
        if getattr(config, name) < 1:
            raise WhenceError(f"{name} is {getattr(config, name)}: it must be 1 or more.")


@functools.cache
def hints_of(kind: type) -> dict[str, Any]:
    """Return the type of each field of a dataclass."""
    return get_type_hints(kind)


def fit(value: Any, hint: Any, where: str) -> Any:
    """Return a plain value as a type hint wants it: a list as a tuple, a whole number as a float.

    Raises:
        WhenceError: naming `where`, and what it must be.

    Example:
        >>> fit(1, float | None, "optimizer.learning_rate")
        1.0
    """
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if get_origin(option) is Literal and type(value) is str and value in get_args(option):
            return value
        if option == tuple[str, ...] and isinstance(value, str):
            return (value,)
        if get_origin(option) is tuple and isinstance(value, list | tuple):
            return tuple(fit(item, get_args(option)[0], where) for item in value)
        if option is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
            return _as_int(value, where)
        if isinstance(option, type) and type(value) is option:
            return value
        if isinstance(option, type) and is_dataclass(option) and isinstance(value, option):
            return value
    if float in options and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return _as_float(value, where)
    raise WhenceError(f"{where} is {short(value)}: {_wanted(options, where)}.")


def _as_int(value: Any, where: str) -> int:
    if not -(2**63) <= int(value) < 2**63:
        raise WhenceError(f"{where} is {short(value)}: give a number below 2^63.")
    return value if type(value) is int else int(value)


def _as_float(value: Any, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise WhenceError(f"{where} is {short(value)}: that is too large a number.") from error


def _wanted(options: Iterable[Any], where: str) -> str:
    kinds = [o.__name__ for o in options if isinstance(o, type) and is_dataclass(o)]
    if kinds:
        return (
            f"it must be one of Whence's configurations, such as {kinds[0]}(); a step of your own "
            "code is opened by whence.why.trace(step, model=…, optimizer=…)"
        )
    return "it must be " + " or ".join(map(_in_words, options))


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return names.get(hint, "left out" if hint is type(None) else str(hint))


def short(value: Any) -> str:
    """Return a value as an error can show it, cut where it is long.

    Example:
        >>> short("x" * 1000)[-4:]
        'xxx…'
    """
    try:
        shown = " ".join(repr(value).split())
    except ValueError:  # an integer of thousands of digits
        shown = f"a number of type {type(value).__name__} with thousands of digits"
    return shown if len(shown) <= 80 else shown[:79] + "…"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message, which suggests what may have been meant.

    Example:
        >>> nearest("n_layer", ["n_layers", "n_heads"])
        ': did you mean n_layers?'
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else f": choose from {', '.join(known)}."


__all__ = ["check_fields", "check_sizes", "fit", "hints_of", "nearest", "short"]
