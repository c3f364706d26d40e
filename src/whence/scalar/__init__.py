"""One number that remembers where it came from, and the small models built on it.

Read in this order: `ops` (the table of slopes), `value`, `functions`, `nn`, `optim`; then `explain`
(receipts), `matrix` (one definition for two engines) and `replay` (the same graph, computed again).
"""

from typing import TYPE_CHECKING, Any

from whence.scalar.functions import (
    binary_cross_entropy,
    cross_entropy,
    dot,
    highest,
    log_softmax,
    maximum,
    mean,
    minimum,
    mse,
    nll,
    pick,
    softmax,
    total,
)
from whence.scalar.inference import inference
from whence.scalar.matrix import Matrix
from whence.scalar.nn import MLP, Layer, Module, Neuron
from whence.scalar.optim import SGD, Adam
from whence.scalar.value import NotFiniteWarning, Value, topological

if TYPE_CHECKING:
    from whence.scalar.replay import compile

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "Layer",
    "Matrix",
    "Module",
    "Neuron",
    "NotFiniteWarning",
    "Value",
    "binary_cross_entropy",
    "compile",
    "cross_entropy",
    "dot",
    "highest",
    "inference",
    "log_softmax",
    "maximum",
    "mean",
    "minimum",
    "mse",
    "nll",
    "pick",
    "softmax",
    "topological",
    "total",
]


def __getattr__(name: str) -> Any:
    # Its compiler takes a second to import, which nobody should pay for who only adds numbers.
    if name == "compile":
        from whence.scalar.replay import compile

        return compile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
