"""Taking one head out of a trained model, to see what it does for the loss."""

from collections.abc import Iterator
from contextlib import contextmanager

from whence.errors import WhenceError
from whence.models.gpt.model import GPT
from whence.models.layers.attention import Attention


@contextmanager
def without_head(model: GPT, layer: int, head: int) -> Iterator[None]:
    """Silence one attention head for the length of a `with` block.

    What a head reads enters the residual stream through its own d columns of `o.weight`; they are
    set to 0, and put back afterwards. Parts as a whole are taken out before training, by
    `GPTConfig.without`.

    Args:
        model: a GPT.
        layer: which block, from 0.
        head: which of its heads, from 0.

    Raises:
        WhenceError: there is no such head.

    Example:
        >>> from whence.models.gpt.model import GPTConfig
        >>> model = GPT(GPTConfig(n_layers=2), vocab_size=65)
        >>> with without_head(model, layer=0, head=3):
        ...     model.blocks[0].attn.o.weight[:, 96:].abs().max().item()
        0.0

    Source:
        Michel, Levy and Neubig, "Are Sixteen Heads Really Better than One?", 2019.
    """
    c = model.config
    if not (0 <= layer < c.n_layers and 0 <= head < c.n_heads):
        raise WhenceError(
            f"there is no head {head} in layer {layer}: layers go from 0 to {c.n_layers - 1}, "
            f"heads from 0 to {c.n_heads - 1}."
        )
    attn = model.get_submodule(f"blocks.{layer}.attn")
    if not isinstance(attn, Attention):
        raise WhenceError("this model was built without attention: it has no heads to take out.")
    columns = attn.o.weight.data[:, head * c.head_size : (head + 1) * c.head_size]
    kept = columns.clone()
    try:
        columns.zero_()
        yield
    finally:
        columns.copy_(kept)
