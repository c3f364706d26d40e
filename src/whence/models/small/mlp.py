"""The multi-layer perceptron: one definition for two engines.

The engine is whatever the parameters are. On `whence.scalar.Matrix` every number can be asked where
it came from; on torch tensors the same lines train on thousands of images.
"""

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from whence.errors import WhenceError

ACTIVATIONS = ("relu", "tanh", "sigmoid")


def activate(name: str, x: Any) -> Any:
    """Return relu, tanh or σ of every element.

    σ(z) = max(0, z), tanh z, or 1 / (1 + e^−z).

    Args:
        name: one of `ACTIVATIONS`.
        x: a matrix of either engine.

    Raises:
        WhenceError: where there is no such activation.

    Example:
        >>> import torch
        >>> activate("relu", torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    if name == "relu":
        return x.relu()
    if name == "tanh":
        return x.tanh()
    if name == "sigmoid":
        return x.sigmoid()
    raise WhenceError(f"{name!r} isn't an activation: use one of {', '.join(ACTIVATIONS)}.")


class MLP:
    """h ← σ(h·W + b) for every layer, and the last layer without σ.

    Args:
        layers: for each layer its weights W `[inputs, units]` and biases b `[1, units]`, as
            matrices of `Value`s or as tensors.
        activation: σ, one of `ACTIVATIONS`.

    Raises:
        WhenceError: if σ is none of them.

    Example:
        >>> import torch
        >>> W, b = torch.tensor([[2.0]]), torch.tensor([[-3.0]])
        >>> MLP([(W, b), (W, b)])(torch.tensor([[2.0]])).item()
        -1.0
    """

    def __init__(self, layers: Sequence[tuple[Any, Any]], activation: str = "relu") -> None:
        if activation not in ACTIVATIONS:
            raise WhenceError(
                f"{activation!r} isn't an activation: use one of {', '.join(ACTIVATIONS)}."
            )
        self.layers = list(layers)
        self.activation = activation

    def __call__(self, x: Any) -> Any:
        """Return the outputs `[N, outputs]` for the inputs `[N, inputs]`."""
        return self.trace(x)[-1][1]

    def trace(self, x: Any) -> list[tuple[Any, Any]]:
        """Return each layer's pre-activations z and activations h, `[N, units]` both."""
        pairs = []
        h = x
        for W, b in self.layers[:-1]:
            z = h @ W + b
            h = activate(self.activation, z)
            pairs.append((z, h))
        W, b = self.layers[-1]
        z = h @ W + b
        return [*pairs, (z, z)]

    def parameters(self) -> list[Any]:
        """Return W and b of each layer."""
        return [p for layer in self.layers for p in layer]


Numbers = list[tuple[list[list[float]], list[list[float]]]]


def initial(sizes: Sequence[int], activation: str = "relu", seed: int = 0) -> Numbers:
    """Return starting weights as plain numbers: uniform in ±√(3·gain / inputs), biases 0.

    The gain is 2 for relu, which halves what passes through, else 1, so that signals neither grow
    nor shrink from layer to layer (He et al. 2015; Glorot and Bengio 2010).

    Args:
        sizes: inputs, units of each hidden layer, outputs.
        activation: σ, one of `ACTIVATIONS`.
        seed: the same seed gives the same weights on every machine.

    Example:
        >>> [len(W) for W, b in initial([2, 16, 1])]
        [2, 16]

    Raises:
        WhenceError: where a layer has no units, or there are fewer than two sizes.
    """
    if any(size < 1 for size in sizes) or len(sizes) < 2:
        raise WhenceError(f"Layers of sizes {list(sizes)} cannot be built: each must be 1 or more.")
    draw = random.Random(seed)
    gain = 2.0 if activation == "relu" else 1.0
    layers: Numbers = []
    for n_in, n_out in pairwise(sizes):
        limit = math.sqrt(3.0 * gain / n_in)
        W = [[draw.uniform(-limit, limit) for _ in range(n_out)] for _ in range(n_in)]
        layers.append((W, [[0.0] * n_out]))
    return layers


def half_squared_error(model: Any, part: tuple[Any, Any]) -> Any:
    """Return the mean over samples of (ŷ − y)² / 2, summed over outputs.

    Args:
        model: gives predictions `[N, outputs]`.
        part: inputs `[N, inputs]` and targets `[N, outputs]`, of the model's engine.

    Loss = 1/n · Σ (ŷ − y)² / 2.

    Example:
        >>> import torch
        >>> half_squared_error(lambda x: 2 * x, (torch.tensor([[1.0]]), torch.tensor([[4.0]])))
        tensor(2.)
    """
    x, y = part
    return ((model(x) - y) ** 2).sum() / (2.0 * y.shape[0])
