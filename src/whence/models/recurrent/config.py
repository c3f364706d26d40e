"""The shapes of an RNN, an LSTM and a GRU."""

from dataclasses import dataclass
from typing import Literal

from whence.errors import WhenceError
from whence.fields import check_fields, check_sizes


@dataclass(frozen=True)
class RecurrentConfig:
    """The shape of an RNN, LSTM or GRU.

    Attributes:
        n_layers: recurrent layers, one above the other.
        d_model: length of a token's vector and of the state.
        context_length: tokens in a training window; gradients flow back through all of it.
        dropout: share of each layer's input set to 0 in training.
        form: formula for the textbook's, fast for torch's fused twin of it.

    Raises:
        WhenceError: where a size is below 1, or dropout isn't a share.
    """

    n_layers: int = 1
    d_model: int = 192
    context_length: int = 64
    dropout: float = 0.0
    form: Literal["formula", "fast"] = "fast"

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        check_sizes(self, "n_layers", "d_model", "context_length")
        if not 0 <= self.dropout < 1:
            raise WhenceError(f"dropout is {self.dropout}: it must be at least 0 and below 1.")


@dataclass(frozen=True)
class RNNConfig(RecurrentConfig):
    """The shape of an RNN; the fields are those of `RecurrentConfig`."""


@dataclass(frozen=True)
class LSTMConfig(RecurrentConfig):
    """The shape of an LSTM; the fields are those of `RecurrentConfig`."""


@dataclass(frozen=True)
class GRUConfig(RecurrentConfig):
    """The shape of a GRU; the fields are those of `RecurrentConfig`."""
