"""The shapes of an encoder, of a classifier on it, and of an encoder–decoder."""

from dataclasses import dataclass
from typing import Literal

from whence.errors import WhenceError
from whence.fields import check_fields, check_sizes


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder, or of an encoder and a decoder of the same size.

    Attributes:
        n_layers: blocks (6 in the paper), in the encoder and again in the decoder.
        n_heads: attention heads in each block (8 in the paper).
        d_model: length of a token's vector (512 in the paper).
        d_ff: hidden units of the feed-forward part; None for 4·d_model.
        context_length: how many tokens a text has at most.
        dropout: share of activations set to 0 in training.
        norm_first: norms ahead of each part, as in a GPT, instead of behind as in the paper.
        positions: sinusoidal or none.
        causal: a token reads only itself and those before it, as in a GPT.
        attention: formula for the textbook's, fast for its twin.

    Raises:
        WhenceError: a size that can't be.

    Example:
        >>> EncoderConfig(d_model=64).hidden_size
        256
    """

    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 64
    d_ff: int | None = None
    context_length: int = 96
    dropout: float = 0.1
    norm_first: bool = False
    positions: Literal["sinusoidal", "none"] = "sinusoidal"
    causal: bool = False
    attention: Literal["formula", "fast"] = "fast"

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        check_sizes(self, "n_layers", "n_heads", "d_model", "hidden_size", "context_length")
        if self.d_model % self.n_heads or self.d_model % 2:
            even = 2 * self.n_heads
            raise WhenceError(
                f"d_model = {self.d_model} must be even and divide evenly among n_heads = "
                f"{self.n_heads}: use d_model = {even * max(1, self.d_model // even)}."
            )
        if not 0 <= self.dropout < 1:
            raise WhenceError(f"dropout is {self.dropout}: it must be at least 0 and below 1.")

    @property
    def hidden_size(self) -> int:
        """Hidden units of the feed-forward part."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff


@dataclass(frozen=True)
class ClassifierConfig(EncoderConfig):
    """The shape of an encoder that names classes.

    Attributes:
        classes: their names; a run takes them from its text.

    Raises:
        WhenceError: a size that can't be.

    Example:
        >>> ClassifierConfig(classes=("ham", "spam")).d_model
        64
    """

    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seq2SeqConfig(EncoderConfig):
    """The shape of an encoder–decoder: the encoder's fields and a few of its own.

    Attributes:
        label_smoothing: share of each target that is spread over all tokens in training.
        separator: the token between source and target, a tab.
        end: the token after the target, a line break.

    Raises:
        WhenceError: a size that can't be.

    Example:
        >>> Seq2SeqConfig(n_layers=6, n_heads=8, d_model=512).hidden_size
        2048
    """

    label_smoothing: float = 0.1
    separator: int = 0
    end: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise WhenceError(
                f"label_smoothing is {self.label_smoothing}: it must be at least 0 and below 1."
            )
