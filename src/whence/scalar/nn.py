"""A neuron, a layer of them, and layers on layers: a multi-layer perceptron of `Value`s.

Code written for micrograd's `Neuron`, `Layer` and `MLP` runs on these unchanged; with the same seed
of `random` they start from the same weights.
"""

import random
from collections.abc import Sequence
from typing import Any

from whence.scalar.functions import dot
from whence.scalar.value import Value


class Module:
    """Something with parameters.

    Example:
        >>> Module().parameters()
        []
    """

    def parameters(self) -> list[Value]:
        """Return every number that training may change."""
        return []

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to 0."""
        for p in self.parameters():
            p.grad = 0.0


class Neuron(Module):
    """relu(w · x + b): one weight for each input, one bias for the unit.

    Weights start uniformly in −1 … 1, the bias at 0.

    Args:
        nin: how many inputs.
        nonlin: whether relu is applied.

    Example:
        >>> n = Neuron(2)
        >>> len(n.parameters())
        3
    """

    def __init__(self, nin: int, nonlin: bool = True) -> None:
        self.w = [Value(random.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(0)
        self.nonlin = nonlin

    def __call__(self, x: Sequence[Any]) -> Value:
        """Return the unit's activation."""
        act = dot(self.w, x, self.b)
        return act.relu() if self.nonlin else act

    def parameters(self) -> list[Value]:
        """Return the weights, then the bias."""
        return [*self.w, self.b]

    def __repr__(self) -> str:
        return f"{'ReLU' if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(Module):
    """`nout` neurons that read the same inputs.

    Args:
        nin: how many inputs each neuron reads.
        nout: how many neurons there are.
        **kwargs: as `Neuron` takes them.

    Example:
        >>> len(Layer(3, 2).parameters())  # 2 neurons, each 3 weights and a bias
        8
    """

    def __init__(self, nin: int, nout: int, **kwargs: Any) -> None:
        self.neurons = [Neuron(nin, **kwargs) for _ in range(nout)]

    def __call__(self, x: Sequence[Any]) -> Any:
        """Return the neurons' activations; of a single neuron the bare `Value`."""
        out = [n(x) for n in self.neurons]
        return out[0] if len(out) == 1 else out

    def parameters(self) -> list[Value]:
        """Return the parameters of the neurons, one neuron after the other."""
        return [p for n in self.neurons for p in n.parameters()]

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(str(n) for n in self.neurons)}]"


class MLP(Module):
    """Layers one after the other, relu between them and none on the last.

    Args:
        nin: how many inputs.
        nouts: how many neurons in each layer.

    Example:
        >>> model = MLP(2, [16, 16, 1])
        >>> len(model.parameters())
        337
    """

    def __init__(self, nin: int, nouts: Sequence[int]) -> None:
        sizes = [nin, *nouts]
        last = len(nouts) - 1
        self.layers = [Layer(sizes[i], sizes[i + 1], nonlin=i != last) for i in range(len(nouts))]

    def __call__(self, x: Sequence[Any]) -> Any:
        """Return the last layer's activations; of a single neuron the bare `Value`."""
        out: Any = x
        for layer in self.layers:
            # A layer of one neuron gives a bare number; the next one reads a row.
            out = layer([out] if isinstance(out, Value) else out)
        return out

    def parameters(self) -> list[Value]:
        """Return the parameters of the layers, one layer after the other."""
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(str(layer) for layer in self.layers)}]"
