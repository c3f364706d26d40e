"""Starting weights of a small network, from a JSON file."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from whence.errors import WhenceError

Layers = list[tuple[list[list[float]], list[list[float]]]]


def read_layers(path: Path, inputs: int, outputs: int) -> Layers:
    """Read `{"w1": [[…], …], "b1": […], "w2": …}`: W is `[inputs, units]`, b has one for each unit.

    Args:
        path: the file.
        inputs: how many numbers the first layer must read.
        outputs: how many the last one must give.

    Raises:
        WhenceError: the file can't be read, or what it holds isn't such a network.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "weights.json"
        >>> _ = path.write_text('{"w1": [[2]], "b1": [-3], "w2": [[1.5]], "b2": [0.5]}')
        >>> read_layers(path, 1, 1)
        [([[2.0]], [[-3.0]]), ([[1.5]], [[0.5]])]
    """
    try:
        tree: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WhenceError(
            f"{path} contains no weights ({error}): give JSON with a list for each name."
        ) from None
    n = len(tree) // 2 if isinstance(tree, dict) else 0
    names = [f"{kind}{k}" for k in range(1, n + 1) for kind in "wb"]
    if not n or set(tree) != set(names):
        raise WhenceError(f"{path} must hold w1, b1, w2, b2 and so on, and nothing else.")
    layers = [
        (_matrix(path, f"w{k}", tree[f"w{k}"]), _matrix(path, f"b{k}", [tree[f"b{k}"]]))
        for k in range(1, n + 1)
    ]
    sizes = [inputs]
    for k, (W, b) in enumerate(layers, start=1):
        if len(W) != sizes[-1]:
            raise WhenceError(f"{path}: w{k} has {len(W)} rows, but its layer reads {sizes[-1]}.")
        if len(b[0]) != len(W[0]):
            raise WhenceError(
                f"{path}: b{k} has {len(b[0])} numbers for the {len(W[0])} units of w{k}."
            )
        sizes.append(len(W[0]))
    if sizes[-1] != outputs:
        raise WhenceError(f"{path}: w{n} has {sizes[-1]} units, but there are {outputs} targets.")
    return layers


def _matrix(path: Path, name: str, rows: Any) -> list[list[float]]:
    kinds = isinstance(rows, list) and rows and all(isinstance(row, list) and row for row in rows)
    if not kinds or any(len(a) != len(b) for a, b in pairwise(rows)):
        raise WhenceError(f"{path}: {name} must be a list of rows of numbers, all of one length.")
    for x in (x for row in rows for x in row):
        if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
            raise WhenceError(f"{path}: {name} holds {x!r}, which isn't a finite number.")
    return [[float(x) for x in row] for row in rows]
