"""Between frozen dataclasses and the plain nested values of TOML, with errors a person can use."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from whence.errors import WhenceError
from whence.fields import fit, hints_of, nearest, short

T = TypeVar("T")


def settings(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested dicts of plain values; fields that are None are left out.

    Example:
        >>> from whence.train.schedules import Schedule
        >>> settings(Schedule("cosine", warmup=3))["warmup"]
        3
    """
    tree: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            tree[item.name] = settings(value)
        elif isinstance(value, tuple):
            tree[item.name] = list(value)
        elif value is not None:
            tree[item.name] = value
    # TOML wants plain values before tables.
    return dict(sorted(tree.items(), key=lambda pair: isinstance(pair[1], dict)))


def from_settings(base: T, tree: Mapping[str, Any], where: str) -> T:
    """Return `base` with the values of a nested dict put in, each checked against its field's type.

    Args:
        base: a dataclass, whose values stay where the tree says nothing.
        tree: nested plain values.
        where: what comes before a field's name in an error, such as "model.".

    Raises:
        WhenceError: for an unknown name (with the nearest one) or a value of another type.

    Example:
        >>> from whence.train.schedules import Schedule
        >>> from_settings(Schedule(), {"kind": "cosine"}, "schedule.").kind
        'cosine'
    """
    hints = hints_of(type(base))
    changes: dict[str, Any] = {}
    for name, value in tree.items():
        if name not in hints:
            raise WhenceError(f"{where}{name} isn't a field of the recipe{nearest(name, hints)}")
        old = getattr(base, name)
        if is_dataclass(old) and not isinstance(old, type):
            if not isinstance(value, Mapping):
                raise WhenceError(f"{where}{name} is {short(value)}: it must be a table of fields.")
            changes[name] = from_settings(old, value, f"{where}{name}.")
        else:
            changes[name] = fit(value, hints[name], f"{where}{name}")
    return replace(base, **changes)  # type: ignore[type-var]  # every base is a dataclass


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested plain values as one table of dotted names.

    Example:
        >>> flat({"steps": 9, "model": {"n_layers": 2}})
        {'steps': 9, 'model.n_layers': 2}
    """
    table: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            table |= flat(value, f"{before}{name}.")
        else:
            table[before + name] = value
    return table


def nested(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of dotted names as nested ones; `-` counts as `_`.

    Example:
        >>> nested({"steps": 9, "model.n-layers": 2})
        {'steps': 9, 'model': {'n_layers': 2}}
    """
    tree: dict[str, Any] = {}
    for name, value in table.items():
        *path, last = name.replace("-", "_").split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise WhenceError(f"{name} and {part} can't both be set: set one of them.")
        place[last] = value
    return tree


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (name, one, other) for every value that two nested tables don't share.

    Example:
        >>> differences({"steps": 9, "seed": 0}, {"steps": 8, "seed": 0})
        [('steps', 9, 8)]
    """
    one, other = flat(a), flat(b)
    names = [*one, *(name for name in other if name not in one)]
    return [(n, one.get(n), other.get(n)) for n in names if one.get(n) != other.get(n)]
