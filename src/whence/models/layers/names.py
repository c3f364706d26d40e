"""The names by which a configuration chooses a norm or an activation."""

from typing import Literal

NormKind = Literal["rms", "layer", "none"]
Activation = Literal["relu2", "swiglu", "geglu", "gelu", "gelu_tanh", "relu", "silu"]
GATED: tuple[Activation, ...] = ("swiglu", "geglu")
