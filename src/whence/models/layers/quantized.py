"""Linear layers whose weights are stored in 8 or 4 bits: less to read for each token.

A token is written about as fast as the weights can be read from memory, so a model whose weights
take half the bytes writes up to twice as fast. The products are PyTorch's own.
"""

from functools import cached_property

import torch
from torch import Tensor, nn

from whence.errors import WhenceError

GROUP = 32  # weights of a row that share a scale and a zero in 4 bits, as in GGUF's Q4_1
STEP = 32  # PyTorch's 8-bit product reads past a row whose length isn't a multiple of this
ROWS = 64  # the 4-bit product takes its rows in blocks of so many
MANY = 16  # rows from which it is quicker to widen 8 bits to 16 first, up to 2.7 times: measured


class Linear8(nn.Module):
    """y = (x · Qᵀ) ∘ s + b, with a scale for each output: s = max |w| / 127, Q = round(w / s).

    Args:
        layer: the layer whose weights are rounded; its inputs are a multiple of 32.

    Shape:
        x [..., in] → [..., out], in bfloat16.

    Raises:
        WhenceError: where they aren't.

    Example:
        >>> layer = nn.Linear(64, 32, bias=False).bfloat16()
        >>> Linear8(layer)(torch.ones(3, 64, dtype=torch.bfloat16)).shape
        torch.Size([3, 32])

    Source:
        Dettmers et al., "LLM.int8()", 2022, without its outliers: a scale for each row.
    """

    q: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        _check(layer)
        w = layer.weight.detach().float()
        scale = w.abs().amax(1).clamp(min=1e-30) / 127  # [out]
        self.register_buffer("q", torch.round(w / scale[:, None]).to(torch.int8))
        self.register_buffer("scale", scale.bfloat16())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for rows of bfloat16."""
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) < MANY:
            y = torch.ops.aten._weight_int8pack_mm(rows, self.q, self.scale)
        else:
            y = (rows @ self.q.to(rows.dtype).t()) * self.scale
        y = y if self.bias is None else y + self.bias
        return y.view(*x.shape[:-1], -1)


class Linear4(nn.Module):
    """y = x · Wᵀ + b with w = (q − 8)·s + z, q from 0 to 15, and s and z for 32 weights of a row.

    s = (max − min) / 15, z = min + 8·s.

    Args:
        layer: the layer whose weights are rounded; its inputs are a multiple of 32.

    Shape:
        x [..., in] → [..., out], in bfloat16.

    Raises:
        WhenceError: where they aren't.

    Example:
        >>> layer = nn.Linear(64, 32, bias=False).bfloat16()
        >>> Linear4(layer)(torch.ones(3, 64, dtype=torch.bfloat16)).shape
        torch.Size([3, 32])

    Source:
        The blocks are those of GGUF's Q4_1 (ggml), in PyTorch's layout.
    """

    packed: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        _check(layer)
        w = layer.weight.detach().float()
        self.rows = len(w)
        w = nn.functional.pad(w, (0, 0, 0, -self.rows % ROWS)).unflatten(1, (-1, GROUP))
        low, high = w.amin(2), w.amax(2)  # [out, in / 32]
        scale = (high - low) / 15
        q = torch.round((w - low[..., None]) / scale.clamp(min=1e-30)[..., None]).clamp(0, 15)
        q = q.to(torch.int32).flatten(1)
        scales = torch.stack((scale, low + 8 * scale), -1).transpose(0, 1)  # [in / 32, out, 2]
        self.register_buffer("packed", torch.ops.aten._convert_weight_to_int4pack_for_cpu(q, 1))
        self.register_buffer("scales", scales.contiguous().bfloat16())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for rows of bfloat16."""
        rows = x.reshape(-1, x.shape[-1])
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.packed, GROUP, self.scales)
        y = y[:, : self.rows]
        y = y if self.bias is None else y + self.bias
        return y.reshape(*x.shape[:-1], -1)

    @cached_property
    def by_rows(self) -> tuple[Tensor, Tensor]:
        """The weights once more, in an order that a row can be read in: made when asked for.

        Returns:
            pairs [out, in / 2]: of 32 weights of a row, byte i has number i in its lower and number
            i + 16 in its upper half; and s and the least weight z − 8·s of each 32, [out, in / 32,
            2].
        """
        plain = torch.ones_like(self.scales)
        plain[..., 1] = 8  # so that w = q
        ones = torch.eye(len(self.scales) * GROUP, dtype=torch.bfloat16)
        q = torch.ops.aten._weight_int4pack_mm_for_cpu(ones, self.packed, GROUP, plain)
        halves = q.t()[: self.rows].to(torch.uint8).unflatten(1, (-1, 2, GROUP // 2))
        s, z = self.scales.float().transpose(0, 1)[: self.rows].unbind(-1)
        pairs = halves[:, :, 0] | halves[:, :, 1] << 4
        return pairs.flatten(1), torch.stack((s, z - 8 * s), -1)


KINDS = {"int8": Linear8, "int4": Linear4}


def _fits(layer: nn.Linear) -> bool:
    return layer.in_features % STEP == 0


def _check(layer: nn.Linear) -> None:
    if not _fits(layer):
        raise WhenceError(
            f"a layer of {layer.in_features} inputs can't be stored in 8 or 4 bits: it takes a "
            f"multiple of {STEP}."
        )


def quantize(model: nn.Module, kind: str) -> None:
    """Round the weights of a model's linear layers to 8 or 4 bits, in place; the rest stays.

    Layers whose inputs aren't a multiple of 32 stay as they are.

    Args:
        model: in bfloat16, on a CPU.
        kind: `int8` or `int4`.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 32)).bfloat16()
        >>> quantize(net, "int4")
        >>> type(net[0]).__name__
        'Linear4'
    """
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear) and _fits(layer):
                setattr(parent, name, KINDS[kind](layer))
