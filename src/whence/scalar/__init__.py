"""One number that remembers where it came from, and the small models built on it.

Read in this order: `ops` (the table of slopes), `value`, `functions`, `nn`, `optim`; then `explain`
(receipts), `matrix` (one definition for two engines) and `compile` (the same graph, replayed).
"""

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
from whence.scalar.matrix import Matrix
from whence.scalar.nn import MLP, Layer, Module, Neuron
from whence.scalar.optim import SGD, Adam
from whence.scalar.value import NotFiniteWarning, Value, topological

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
