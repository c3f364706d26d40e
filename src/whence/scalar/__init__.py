"""One number that remembers where it came from, and the small models built on it.

Read in this order: `ops` (the table of slopes), `value`, `functions`, `nn`, `optim`; then `explain`
(receipts), `matrix` (one definition for two engines) and `jit` (the same graph, computed again).
"""

import warnings
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
from whence.scalar.graph import topological
from whence.scalar.inference import inference
from whence.scalar.matrix import Matrix
from whence.scalar.nn import MLP, Layer, Module, Neuron
from whence.scalar.optim import SGD, Adam
from whence.scalar.value import NotFiniteWarning, Value

if TYPE_CHECKING:
    from whence.scalar.compiled.jit import jit

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
    "cross_entropy",
    "dot",
    "highest",
    "inference",
    "jit",
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
    if name in ("jit", "compile"):
        from whence.scalar.compiled.jit import jit

        if name == "compile":
            said = "whence.scalar.compile is now called jit; the old name goes with 0.3.0."
            warnings.warn(said, DeprecationWarning, stacklevel=2)
        return jit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
