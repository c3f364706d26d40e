"""A batch taken apart into its shape and its numbers, and put together again."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from whence.errors import WhenceError
from whence.scalar.matrix import Matrix
from whence.scalar.value import Value

_PLAIN = frozenset((float, int))
_ROWS = frozenset((list, tuple))


def take_apart(batch: Any) -> tuple[Any, list[Any]]:
    """Return a batch's shape, which can be looked up, and its numbers and `Value`s in order.

    Text, truth values and `None` belong to the shape: another text is another graph.

    Raises:
        WhenceError: if it holds something that is neither.

    Example:
        >>> take_apart([(1.0, "a"), 2])
        (('list', ('tuple', '#', ('=', 'a')), '#'), [1.0, 2.0])
        >>> take_apart([1.0, 2.0])
        (('row', 'list', 2), [1.0, 2.0])
    """
    numbers: list[Any] = []
    return _shape(batch, numbers), numbers


def _shape(part: Any, numbers: list[Any]) -> Any:
    if type(part) in _ROWS and _PLAIN.issuperset(map(type, part)):
        # Most of most batches: looked at first, since this is done at every replay.
        numbers.extend(part)
        return ("row", type(part).__name__, len(part))
    if isinstance(part, Value):
        numbers.append(part)
        return "#"
    if isinstance(part, bool | str | bytes | None):
        return ("=", part)
    if isinstance(part, float | int | Real):
        numbers.append(float(part))
        return "#"
    if isinstance(part, np.ndarray):
        if part.dtype == object:
            return ("array", part.shape, tuple(_shape(x, numbers) for x in part.ravel()))
        if part.dtype.kind not in "fiub":
            raise WhenceError(f"A graph cannot be recorded over an array of {part.dtype}.")
        numbers.extend(part.ravel().astype(np.float64).tolist())
        return ("array", part.shape, None)
    if isinstance(part, Matrix):
        numbers.extend(part.values())
        return ("matrix", *part.shape)
    if isinstance(part, list | tuple):
        name = "list" if isinstance(part, list) else "tuple"
        if hasattr(part, "_fields"):  # a named tuple is put together by its own class
            return ("named", type(part), *(_shape(x, numbers) for x in part))
        return (name, *(_shape(x, numbers) for x in part))
    if isinstance(part, dict):
        return ("dict", tuple((key, _shape(x, numbers)) for key, x in part.items()))
    raise WhenceError(
        f"A graph cannot be recorded over a batch that holds a {type(part).__name__}: "
        "use numbers, texts, lists, tuples, dictionaries, arrays and matrices."
    )


def put_together(shape: Any, take: Callable[[], Value]) -> Any:
    """Return a batch of a shape, each of its numbers what `take()` gives next."""
    if shape == "#":
        return take()
    kind, *rest = shape
    if kind == "=":
        return rest[0]
    if kind == "array":
        size, parts = rest
        n = int(np.prod(size))
        flat = np.empty(n, dtype=object)
        for i in range(n):
            flat[i] = take() if parts is None else put_together(parts[i], take)
        return flat.reshape(size)
    if kind == "matrix":
        rows, columns = rest
        return Matrix([[take() for _ in range(columns)] for _ in range(rows)])
    if kind == "row":
        name, size = rest
        row = [take() for _ in range(size)]
        return row if name == "list" else tuple(row)
    if kind == "dict":
        return {key: put_together(x, take) for key, x in rest[0]}
    if kind == "named":
        return rest[0](*(put_together(x, take) for x in rest[1:]))
    parts = [put_together(x, take) for x in rest]
    return parts if kind == "list" else tuple(parts)


def columns(batch: Any) -> tuple[Any, Any] | None:
    """Return the shape of one sample and all numbers `[samples, numbers]`, if a batch is arrays.

    An array holds a sample in each of its rows; of a tuple of arrays, such as inputs and targets, a
    sample has a row of each. Any other batch gives `None`: it is a sequence of samples.
    """
    arrays = batch if isinstance(batch, tuple) else (batch,)
    if not arrays or not all(isinstance(x, np.ndarray) and x.dtype.kind in "fiub" for x in arrays):
        return None
    if any(x.ndim == 0 or len(x) != len(arrays[0]) for x in arrays):
        raise WhenceError("The arrays of a batch must have a row for each sample.")
    shapes = tuple(("array", x.shape[1:], None) if x.ndim > 1 else "#" for x in arrays)
    flat = [x.reshape(len(x), -1) for x in arrays]
    table = np.concatenate(flat, axis=1, dtype=np.float64)
    return (("tuple", *shapes) if isinstance(batch, tuple) else shapes[0]), table
