"""Axes mixed up: what runs over tokens, features or examples runs over another of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NORMS = ("LayerNorm", "RMSNorm")


class NormOver(nn.Module):
    """A norm of x [B, T, D] over another axis than D."""

    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Take the mean off, divide by the deviation."""
        centred = x - x.mean(self.axis, keepdim=True)
        return centred / (centred.square().mean(self.axis, keepdim=True) + 1e-5).sqrt()


def _norms(make: Any) -> Any:
    def break_(model: nn.Module) -> None:
        for parent in list(model.modules()):
            for name, part in list(parent.named_children()):
                if type(part).__name__ in NORMS:
                    setattr(parent, name, make())

    return break_


class AtTheFirstPlace(nn.Module):
    """Every token gets the position of the first."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add the first place's vector to all."""
        return x + self.inner(torch.zeros_like(x[:, :1]), 0)


def _positions_at_0(model: Any) -> None:
    if hasattr(model, "transformer"):
        model.transformer.wpe.register_forward_pre_hook(lambda m, a: (torch.zeros_like(a[0]),))
        return
    owner = getattr(model, "encoder", model)
    owner.positions = AtTheFirstPlace(owner.positions)


def _batch_as_time(model: Any) -> None:
    model.rnn.batch_first = False


def _both_ways(model: Any) -> None:
    model.rnn.register_forward_hook(
        lambda m, a, out: (out[0] + nn.LSTM.forward(m, a[0].flip(1))[0].flip(1), out[1])
    )


ORDER = {
    "no norms": _norms(nn.Identity),
    "norm over tokens": _norms(lambda: NormOver(1)),
    "norm over examples": _norms(lambda: NormOver(0)),
    "positions at 0": _positions_at_0,
    "batch as time": _batch_as_time,
    "both ways": _both_ways,
}
