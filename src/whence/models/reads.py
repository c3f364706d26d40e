"""Who reads whom: the attention weights of a forward pass, by the textbook's formula.

A fast kernel never stores them, so they are worked out again from what enters each attention.
"""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from whence.models.layers.attention import Attention, future, heads_see, split_heads

_SIGNATURE = inspect.signature(Attention.forward)


@contextmanager
def reading(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect the attention weights of the calls of a model inside the block.

    weights = softmax(q·kᵀ / √d + mask), each row adding up to 1.

    Args:
        model: any module with `Attention`s in it.

    Yields:
        A dict that fills: name of the attention → [B, H, T, S], of its last call.

    Example:
        >>> import torch
        >>> from whence.models import GPT, GPTConfig
        >>> model = GPT(GPTConfig(n_layers=1), vocab_size=9)
        >>> with torch.inference_mode(), reading(model) as weights:
        ...     _ = model(torch.tensor([[1, 2, 3]]))
        >>> weights["blocks.0.attn"].shape
        torch.Size([1, 4, 3, 3])
    """
    found: dict[str, Tensor] = {}
    hooks = []
    for name, part in model.named_modules():
        if isinstance(part, Attention):

            def keep(module: Any, args: tuple, kwargs: dict, name: str = name) -> None:
                found[name] = _weights(module, args, kwargs)

            hooks.append(part.register_forward_pre_hook(keep, with_kwargs=True))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _weights(module: Attention, args: tuple, kwargs: dict) -> Tensor:
    given = _SIGNATURE.bind(module, *args, **kwargs).arguments
    x, rotation, visible = given["x"], given.get("rotation"), given.get("visible")
    source = given.get("source")
    source = x if source is None else source
    q = module.q_norm(split_heads(module.q(x), module.n_heads))
    k = module.k_norm(split_heads(module.k(source), module.n_kv_heads))
    if rotation is not None:
        q, k = rotation(q), rotation(k)
    k = k.repeat_interleave(module.n_heads // module.n_kv_heads, 1)
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # [B, H, T, S]
    if module.causal:
        scores = scores.masked_fill(future(*scores.shape[2:], device=q.device), -math.inf)
    if visible is not None:
        scores = scores.masked_fill(~heads_see(visible), -math.inf)
    return scores.softmax(-1).nan_to_num(0.0)  # a query that may read nothing reads nothing
