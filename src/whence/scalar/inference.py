"""Training changes weights, inference does not: here that is enforced."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from whence.errors import WhenceError
from whence.scalar.matrix import values_of
from whence.scalar.value import Value


class Frozen(Value):
    """A number that cannot be set, and that no optimizer will move."""

    __slots__ = ()

    @property
    def data(self) -> float:
        """The number itself."""
        return self._data

    @data.setter
    def data(self, number: Any) -> None:
        raise WhenceError(
            f"{self.label or 'A weight'} cannot change: this is inference. Train outside of it."
        )


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """Keep a model's weights fixed inside the block.

    Args:
        model: has `parameters()`.

    Raises:
        WhenceError: inside the block, if a weight is set or an optimizer is stepped.

    Example:
        >>> from whence.scalar import Neuron
        >>> neuron = Neuron(1)
        >>> with inference(neuron):
        ...     neuron.w[0].data = 1.0
        Traceback (most recent call last):
        ...
        whence.errors.WhenceError: A weight cannot change: this is inference. Train outside of it.
    """
    parameters = values_of(model.parameters())
    kinds = [type(p) for p in parameters]
    for p in parameters:
        p.__class__ = Frozen
    try:
        yield
    finally:
        for p, kind in zip(parameters, kinds, strict=True):
            p.__class__ = kind


def refuse_frozen(parameters: list[Value]) -> None:
    """Raise if a parameter is held fixed."""
    if Frozen in set(map(type, parameters)):
        raise WhenceError(
            "An optimizer cannot step here: this is inference, its weights are fixed."
        )
