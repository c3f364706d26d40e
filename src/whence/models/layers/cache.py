"""The memory of a model that generates: keys and values of the tokens read so far."""

from collections.abc import Callable

import torch
from torch import Tensor

from whence.models.layers.positions import Rotation


class LayerCache:
    """Keys and values of one attention layer, with room for the whole window.

    Example:
        >>> cache = LayerCache(torch.zeros(2, 1, 4, 64, 32))
        >>> k, v = cache.extend(torch.ones(1, 4, 3, 32), torch.ones(1, 4, 3, 32))
        >>> k.shape, cache.length
        (torch.Size([1, 4, 3, 32]), 3)
    """

    def __init__(self, room: Tensor) -> None:  # [2, B, G, C, d]
        self.keys, self.values = room[0], room[1]
        self.length = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v, each [B, G, T, d], and return all there is, [B, G, length, d]."""
        end = self.length + k.shape[2]
        self.keys[:, :, self.length : end] = k.detach()  # what was read is not learned from
        self.values[:, :, self.length : end] = v.detach()
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class Cache:
    """What a GPT keeps of the tokens it has read, so that each is computed once.

    `model(tokens, cache)` appends the tokens to it. Make one with `model.new_cache(batch_size)`.

    Attributes:
        layers: one `LayerCache` a block.
        last_token: the token read last, [B, 1], or None.
        rotation: rotary positions of the whole window, or None.
        length: how many tokens were read.
        step: the fused form of the model for one more token, or None.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int, int],
        rotation: Rotation | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        n_layers, batch, n_kv_heads, context_length, d_head = shape
        room = torch.zeros(
            n_layers, 2, batch, n_kv_heads, context_length, d_head, dtype=dtype, device=device
        )
        self.layers = [LayerCache(room[i]) for i in range(n_layers)]
        self.rotation = rotation
        self.last_token: Tensor | None = None
        self.step: Callable[[Tensor, Cache], Tensor] | None = None
        self.length = 0
