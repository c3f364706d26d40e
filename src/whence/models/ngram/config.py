"""What an n-gram model is made of, and a GPT on one."""

import math
from dataclasses import dataclass
from typing import Literal

from whence.errors import WhenceError
from whence.fields import check_fields
from whence.models.gpt.config import GPTConfig


@dataclass(frozen=True)
class NGramConfig:
    """What an n-gram model is made of.

    Attributes:
        order: n; a bigram is 2 and looks at one token back.
        smoothing: "mle" (none), "add-k", or "kneser-ney" (interpolated, modified).
        k: what add-k adds to every count.
        memory_mb: limit on the memory of counting; above it, sorted runs go to files.

    Raises:
        WhenceError: a field is out of its range.

    Example:
        >>> NGramConfig(order=3).smoothing
        'kneser-ney'
    """

    order: int = 2
    smoothing: Literal["mle", "add-k", "kneser-ney"] = "kneser-ney"
    k: float = 1.0
    memory_mb: int = 1024

    def __post_init__(self):
        check_fields(self, "model.")
        if self.order < 1:
            raise WhenceError(f"order is {self.order}: an n-gram has at least 1 token.")
        if not (self.k > 0 and math.isfinite(self.k)):
            raise WhenceError(
                f"k is {self.k}: add-k adds a positive number (smoothing mle adds 0)."
            )
        if self.memory_mb < 1:
            raise WhenceError(f"memory_mb is {self.memory_mb}: give at least 1.")

    @property
    def context_length(self) -> int:
        """How many tokens it reads at most."""
        return max(1, self.order - 1)


@dataclass(frozen=True)
class NGramGPTConfig(GPTConfig):
    """The shape of a GPT on counted n-grams: the GPT's fields and those of the counts.

    Attributes:
        order: of the n-grams.
        memory_mb: limit on the memory of counting.

    Raises:
        WhenceError: a size that can't be.

    Example:
        >>> NGramGPTConfig(order=3, n_layers=1).counts.order
        3
    """

    order: int = 7
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.counts is not None  # which checks order and memory

    @property
    def counts(self) -> NGramConfig:
        """What the n-gram model is made of; Kneser–Ney, the one that can leave a token out."""
        return NGramConfig(order=self.order, memory_mb=self.memory_mb)
