"""Rotary positions beyond the window of pre-training: how fast each pair of features turns."""

import math
from dataclasses import dataclass
from typing import Literal

from whence.errors import WhenceError


@dataclass(frozen=True)
class RopeScaling:
    """How rotary speeds are lowered so that a model reads further than it was first trained to.

    `linear` divides every speed by `factor`. `llama3` divides those of pairs that turn slowly (less
    than `low_freq_factor` times in the first window) by `factor`, leaves those that turn quickly
    (more than `high_freq_factor` times) alone, and goes smoothly from one to the other between.
    `yarn` does so too, in equal steps from pair to pair, and lengthens queries and keys.

    Attributes:
        kind: none, linear, llama3 or yarn.
        factor: what the speeds are divided by.
        low_freq_factor: turns below which a pair counts as slow.
        high_freq_factor: turns above which it counts as quick.
        original_context_length: the window of pre-training.
        attention_factor: what rotated queries and keys are multiplied by, in yarn.

    Raises:
        WhenceError: a factor that can't be.

    Example:
        >>> RopeScaling("linear", factor=2.0).factor
        2.0

    Source:
        linear: Chen et al., "Extending Context Window via Positional Interpolation", 2023; llama3:
        the reference code of Llama 3.1, 2024; yarn: Peng et al., "YaRN: Efficient Context Window
        Extension of Large Language Models", 2023.
    """

    kind: Literal["none", "linear", "llama3", "yarn"] = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context_length: int = 8192
    attention_factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise WhenceError(f"rope_scaling.factor is {self.factor}: it must be above 0.")
        if not 0 < self.attention_factor < math.inf:
            raise WhenceError(
                f"rope_scaling.attention_factor is {self.attention_factor}: it must be above 0."
            )
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise WhenceError(
                f"rope_scaling.low_freq_factor = {self.low_freq_factor} must be above 0 and below "
                f"high_freq_factor = {self.high_freq_factor}."
            )
        if self.original_context_length < 1:
            raise WhenceError(
                f"rope_scaling.original_context_length is {self.original_context_length}: it must "
                "be 1 or more."
            )
