"""Weights that are drawn badly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def head_of(model: Any) -> Any:
    """The last layer, which gives the logits."""
    return getattr(model, "head", None) or getattr(model, "lm_head", None) or model[-1]


def _head_times(factor: float) -> Callable[[nn.Module], None]:
    def break_(model: nn.Module) -> None:
        head = head_of(model)
        if head.weight.norm() == 0:
            nn.init.normal_(head.weight)
        with torch.no_grad():
            head.weight.mul_(factor / head.weight.std() / math.sqrt(head.weight.shape[1]))

    return break_


def _alike(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 0.05)


def _rnn_alike(model: Any) -> None:
    for weight in model.rnn.parameters():
        nn.init.constant_(weight, 0.05)


def kill_units(model: nn.Module) -> None:
    """Push the biases of hidden layers so far down that no input makes a unit active."""
    _fill_biases(model, -30.0)


def _saturated(model: nn.Module) -> None:
    _fill_biases(model, 30.0)


def _fill_biases(model: nn.Module, value: float) -> None:
    for name, module in model.named_modules():
        hidden = name in ("0", "2") if isinstance(model, nn.Sequential) else name.endswith(".up")
        if isinstance(module, nn.Linear) and hidden:
            with torch.no_grad():
                module.bias.fill_(value)


def _times(factor: float) -> Callable[[nn.Module], None]:
    def break_(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                with torch.no_grad():
                    module.weight.mul_(factor)

    return break_


def _drawn_anew(model: nn.Module) -> None:
    """The head is the embedding table, and drawing the one draws the other."""
    nn.init.normal_(head_of(model).weight)


def _large_queries(model: nn.Module) -> None:
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith((".q.weight", ".k.weight")):
                p.mul_(30)
            if name.endswith("c_attn.weight"):  # [D, 3·D]: q, k and v side by side
                p[:, : 2 * len(p)].mul_(100)


START = {
    "head × 30": _head_times(30.0),
    "all alike": _alike,
    "rnn alike": _rnn_alike,
    "dead": kill_units,
    "saturated": _saturated,
    "wide start": _times(30.0),
    "small start": _times(0.1),
    "tiny start": _times(0.01),
    "drawn anew": _drawn_anew,
    "large queries": _large_queries,
}
