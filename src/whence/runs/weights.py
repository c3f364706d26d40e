"""A single weight by its address, such as `blocks.0.mlp.up.weight[3,7]`."""

import re
from collections.abc import Mapping

import torch
from torch import nn

from whence.errors import WhenceError
from whence.fields import nearest


def edit_weights(model: nn.Module, values: Mapping[str, float]) -> None:
    """Set weights, by address, to a value: one, a row, or with a name alone all of it.

    Args:
        model: changed in place.
        values: address → value.

    Raises:
        WhenceError: where an address names no weight (the nearest is named) or leads outside it.

    Example:
        >>> line = nn.Linear(2, 1, bias=False)
        >>> edit_weights(line, {"weight[0,1]": 3.0})
        >>> line.weight[0, 1].item()
        3.0
    """
    for address, value in values.items():
        with torch.no_grad():
            weight, index = find_weight(model, address)
            weight[index] = value


def find_weight(model: nn.Module, address: str) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Return the weight that an address names, and the index into it.

    Raises:
        WhenceError: where it names none, or leads outside it.

    Example:
        >>> find_weight(nn.Linear(2, 1), "weight[0,1]")[1]
        (0, 1)
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    match = re.fullmatch(r"([^\[\]]+)(?:\[([0-9, ]+)\])?", address)
    name, numbers = (match[1], match[2]) if match else (address, None)
    if name not in weights:
        raise WhenceError(f"the model has no weight {name}{nearest(name, weights)}")
    weight = weights[name]
    index = tuple(int(n) for n in numbers.split(",") if n.strip()) if numbers else ()
    sizes = list(weight.shape)
    if len(index) > len(sizes) or any(i >= n for i, n in zip(index, sizes, strict=False)):
        raise WhenceError(f"{address} leads outside {name}, whose sizes are {sizes}.")
    return weight, index
