"""Kinds of training code, one short function each: what people train, and what they train it with.

A kind is a function that makes a training step; `KINDS` has them by family and name.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.why_kinds import (
    activations,
    convolutions,
    functions,
    indexing,
    losses,
    matrices,
    networks,
    optimizers,
    packages,
    precision,
    representations,
    resizing,
    sequences,
    transformers,
    unusual,
    vision,
)
from benchmarks.why_kinds.making import Step

KINDS: dict[str, dict[str, Callable[[], Step]]] = {
    "activations": activations.KINDS,
    "convolution, pooling, norms": convolutions.KINDS,
    "padding and resizing": resizing.KINDS,
    "losses": losses.KINDS,
    "functions": functions.KINDS,
    "indexing, sorting, scanning": indexing.KINDS,
    "matrices, spectra, complex": matrices.KINDS,
    "sequences and attention": sequences.KINDS,
    "optimizers": optimizers.KINDS,
    "types and graphs": precision.KINDS,
    "whole networks": vision.KINDS | representations.KINDS | networks.KINDS,
    "unusual": unusual.KINDS,
    "transformers": transformers.KINDS,
    "other packages": packages.KINDS,
}
