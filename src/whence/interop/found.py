"""A model that was found in files of others, not read into memory yet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from whence.data.tokenizers.imported import ImportedTokenizer
from whence.models import GPTConfig


@dataclass(frozen=True)
class Found:
    """A model in files of others.

    Attributes:
        path: the folder or file.
        config: its shape.
        tokenizer: what its ids mean.
        weights: reads its weights: our name → tensor in float32, tied ones being one object.
        notes: what a person should know of it, a sentence each.
    """

    path: Path
    config: GPTConfig
    tokenizer: ImportedTokenizer
    weights: Callable[[], dict[str, Tensor]]
    notes: tuple[str, ...] = ()
