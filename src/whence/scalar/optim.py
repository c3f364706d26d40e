"""Optimizers for `Value`s: SGD, with momentum where wanted, and Adam.

Both are stepped as torch's are: `zero_grad()`, `backward()`, `step()`.
"""

from collections.abc import Iterable
from math import sqrt
from typing import Any

from whence.scalar.inference import refuse_frozen
from whence.scalar.matrix import values_of


class SGD:
    """Stochastic gradient descent: p ← p − rate · v, with v ← momentum · v + gradient.

    Args:
        parameters: `Value`s, or matrices of them.
        learning_rate: the length of a step, in units of p per unit of gradient.
        momentum: how much of the last step's direction is kept, 0 for none.

    Example:
        >>> from whence.scalar import Value
        >>> start = Value(500)
        >>> start.grad = 400.0
        >>> SGD([start], learning_rate=0.01).step()
        >>> start.data
        496.0
    """

    def __init__(
        self, parameters: Iterable[Any], learning_rate: float = 0.01, momentum: float = 0.0
    ) -> None:
        self.parameters = values_of(parameters)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.velocity = [0.0] * len(self.parameters)

    def zero_grad(self) -> None:
        """Set every gradient to 0; without it the next ones would be added to these."""
        for p in self.parameters:
            p.grad = 0.0

    def step(self) -> None:
        """Move every parameter against its gradient.

        Raises:
            WhenceError: during inference.
        """
        refuse_frozen(self.parameters)
        if self.momentum:
            self.velocity = [
                self.momentum * v + p.grad
                for v, p in zip(self.velocity, self.parameters, strict=True)
            ]
            for p, v in zip(self.parameters, self.velocity, strict=True):
                p._data -= self.learning_rate * v
        else:
            rate = self.learning_rate
            for p in self.parameters:
                p._data -= rate * p.grad


class Adam:
    """Adam: every parameter's step is its mean gradient over the root of its mean square.

    m ← β₁m + (1−β₁)g and v ← β₂v + (1−β₂)g², both divided by 1−βᵗ since they start at 0;
    p ← p − rate · m̂ / (√v̂ + ε).

    Source:
        Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    Args:
        parameters: the numbers to move.
        learning_rate: the rate.
        beta1: β₁, the share that m keeps.
        beta2: β₂, the share that v keeps.
        epsilon: ε.

    Example:
        >>> from whence.scalar import Value
        >>> p = Value(1.0)
        >>> p.grad = 100.0
        >>> Adam([p], learning_rate=0.1).step()
        >>> round(p.data, 6)
        0.9
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters = values_of(parameters)
        self.learning_rate = learning_rate
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.m = [0.0] * len(self.parameters)
        self.v = [0.0] * len(self.parameters)
        self.t = 0

    def zero_grad(self) -> None:
        """Set every gradient to 0; without it the next ones would be added to these."""
        for p in self.parameters:
            p.grad = 0.0

    def step(self) -> None:
        """Move every parameter by its bias-corrected mean gradient over its root mean square.

        Raises:
            WhenceError: during inference.
        """
        refuse_frozen(self.parameters)
        self.t += 1
        unbias_m = 1.0 - self.beta1**self.t
        unbias_v = 1.0 - self.beta2**self.t
        for i, p in enumerate(self.parameters):
            self.m[i] = self.beta1 * self.m[i] + (1.0 - self.beta1) * p.grad
            self.v[i] = self.beta2 * self.v[i] + (1.0 - self.beta2) * p.grad * p.grad
            root = sqrt(self.v[i] / unbias_v) + self.epsilon
            p._data -= self.learning_rate * (self.m[i] / unbias_m) / root
