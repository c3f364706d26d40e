"""The shapes of the first rungs."""

from dataclasses import dataclass
from typing import Literal

from whence.fields import check_fields, check_sizes


@dataclass(frozen=True)
class BigramConfig:
    """The shape of a neural bigram.

    Attributes:
        context_length: tokens in a training window; the model reads the last one of them only.

    Raises:
        WhenceError: where a size is below 1.

    Example:
        >>> BigramConfig().context_length
        64
    """

    context_length: int = 64

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        check_sizes(self, "context_length")


@dataclass(frozen=True)
class MLPConfig:
    """The shape of an MLP language model.

    Attributes:
        n_previous: how many tokens each prediction is made from.
        n_layers: hidden layers.
        d_model: length of a token's vector.
        d_ff: units in a hidden layer.
        activation: f.
        context_length: tokens in a training window; each is predicted from the n_previous before.

    Raises:
        WhenceError: where a size is below 1.

    Example:
        >>> MLPConfig(n_previous=3).d_ff
        256
    """

    n_previous: int = 8
    n_layers: int = 1
    d_model: int = 32
    d_ff: int = 256
    activation: Literal["tanh", "relu", "gelu"] = "tanh"
    context_length: int = 64

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        check_sizes(self, "n_previous", "n_layers", "d_model", "d_ff", "context_length")
