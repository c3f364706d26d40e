"""Taking parts out of a trained model, to see what each does for the loss."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from whence.errors import WhenceError
from whence.models.layers.attention import Attention
from whence.models.layers.feed_forward import MLP, GatedMLP


def parts_of(model: nn.Module) -> list[str]:
    """Name the parts that can be silenced: each attention and each feed-forward.

    Example:
        >>> from whence.models import GPT, GPTConfig
        >>> parts_of(GPT(GPTConfig(n_layers=1), vocab_size=9))
        ['blocks.0.attn', 'blocks.0.mlp']
    """
    kinds = (Attention, MLP, GatedMLP)
    return [name for name, part in model.named_modules() if isinstance(part, kinds)]


def heads_of(model: nn.Module) -> list[tuple[str, int]]:
    """Name the attention heads: (attention, number), counted from 0."""
    return [
        (name, head)
        for name, part in model.named_modules()
        if isinstance(part, Attention)
        for head in range(part.n_heads)
    ]


@contextmanager
def silenced(
    model: nn.Module, parts: Sequence[str] = (), heads: Sequence[tuple[str, int]] = ()
) -> Iterator[None]:
    """Silence parts and heads of a model for the length of a `with` block.

    A part adds nothing to the stream then. What a head reads enters the stream through its own d
    columns of the output's matrix; what is there is taken as 0.

    Args:
        model: any module with `Attention`s or feed-forward parts.
        parts: names as of `parts_of`.
        heads: as of `heads_of`.

    Raises:
        WhenceError: there is no such part or head.

    Example:
        >>> from whence.models import GPT, GPTConfig
        >>> model = GPT(GPTConfig(n_layers=1, zero_head=False), vocab_size=9).eval()
        >>> tokens = torch.tensor([[1, 2]])
        >>> whole = model(tokens)
        >>> with silenced(model, heads=[("blocks.0.attn", 2)]):
        ...     bool((model(tokens) == whole).all())
        False

    Source:
        Michel, Levy and Neubig, "Are Sixteen Heads Really Better than One?", 2019.
    """
    known = dict(model.named_modules())
    for name in parts:
        if name not in parts_of(model):
            raise WhenceError(f"there is no part {name!r}: choose from {_few(parts_of(model))}.")
    hooks = [known[name].register_forward_hook(_nothing) for name in parts]
    try:
        for name, head in heads:
            part = known.get(name)
            if not isinstance(part, Attention) or not 0 <= head < part.n_heads:
                raise WhenceError(f"there is no head {head} in {name!r}.")
            hooks.append(part.o.register_forward_pre_hook(_without(head, part.n_heads)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _nothing(_module: nn.Module, _inputs: Any, out: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(out)


def _without(head: int, n_heads: int):
    def hook(_module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        x = inputs[0].unflatten(-1, (n_heads, -1)).clone()  # [B, T, H, d]
        x[..., head, :] = 0
        return (x.flatten(-2),)

    return hook


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
