"""A model with every weight that its published layout has."""

from dataclasses import replace

import torch
from torch import Tensor

from whence.interop.layouts import layout_of
from whence.models import GPTConfig
from whence.runs.training.session import outline


def whole(
    config: GPTConfig, weights: dict[str, Tensor], vocab_size: int
) -> tuple[GPTConfig, dict[str, Tensor]]:
    """Return a shape and its weights with the parts that the layout requires: factors 1, biases 0.

    The numbers that the model computes stay the same to the bit.

    Args:
        config: the shape.
        weights: ours, by name; tied ones are one object.
        vocab_size: number of tokens.

    Raises:
        WhenceError: where no published layout is that shape.

    Example:
        >>> from whence.models import GPT
        >>> model = GPT(GPTConfig(n_layers=1), 9)
        >>> full, _ = whole(model.config, model.state_dict(keep_vars=True), 9)
        >>> full.norm_weight
        True
    """
    layout = layout_of(config)
    full = replace(config, norm_weight=True)
    if layout == "gpt2":
        full = replace(full, bias=True, qkv_bias=True, out_bias=None)
    elif layout != "qwen2" and (config.qkv_bias or config.has_out_bias):
        full = replace(full, qkv_bias=True, out_bias=None if config.bias else True)
    names = outline(full, vocab_size)
    filled = {
        name: torch.ones(like.shape) if name.endswith("weight") else torch.zeros(like.shape)
        for name, like in names.items()
        if name not in weights
    }
    return full, {name: weights.get(name, filled.get(name)) for name in names}  # pyright: ignore
