"""In how many bits a model's weights are stored while it generates: fewer are read faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from whence.errors import WhenceError

if TYPE_CHECKING:
    from torch import nn

Weights = Literal["fp32", "bf16", "int8", "int4"]


def store(model: nn.Module, weights: Weights) -> None:
    """Store a model's weights in fewer bits, in place: it can generate from then on, not train.

    fp32 leaves the numbers as they are. bf16 rounds each to 8 bits of precision. int8 and int4
    round the linear layers further, with a scale for each output or for each 32 weights
    (`whence.models.layers.quantized`). The weights are moved into one piece of memory.

    Args:
        model: a GPT, on a CPU for int8 and int4.
        weights: one of fp32, bf16, int8, int4.

    Raises:
        WhenceError: where it is another kind of model, or there is no such choice.

    Example:
        >>> from whence.models import GPT, GPTConfig
        >>> model = GPT(GPTConfig(), vocab_size=65).eval()
        >>> store(model, "int8")
        >>> model.blocks[0].mlp.up.q.dtype
        torch.int8
    """
    if weights not in get_args(Weights):
        raise WhenceError(f"weights {weights!r}: choose from {', '.join(get_args(Weights))}.")
    import torch

    from whence.models import GPT  # with PyTorch, which a list of choices doesn't need
    from whence.models.layers.quantized import quantize
    from whence.models.layers.side_by_side import side_by_side

    if not isinstance(model, GPT):
        if weights == "fp32":
            return
        raise WhenceError(f"only a GPT's weights can be stored as {weights}: leave them as fp32.")
    with torch.inference_mode(False), torch.no_grad():
        if weights != "fp32":
            model.bfloat16()
        if weights in ("int8", "int4"):
            quantize(model, weights)
        side_by_side(model)
