"""Activations of torch.nn, and dropout."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, applied, draw, layer

_NAMES = (
    "CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU RReLU "
    "ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink GLU Dropout "
    "AlphaDropout FeatureAlphaDropout"
)


def _after_linear(make: type[nn.Module], **options: object) -> Kind:
    return lambda: layer(nn.Sequential(nn.Linear(6, 8), make(**options)), draw(5, 6))


KINDS: dict[str, Kind] = {
    **{name: _after_linear(getattr(nn, name)) for name in _NAMES.split()},
    "CELU, alpha 0.5": _after_linear(nn.CELU, alpha=0.5),
    "ELU in place": _after_linear(nn.ELU, inplace=True),
    "ReLU in place": _after_linear(nn.ReLU, inplace=True),
    "GELU, tanh": _after_linear(nn.GELU, approximate="tanh"),
    "PReLU, a slope a channel": _after_linear(nn.PReLU, num_parameters=8),
    "Threshold": _after_linear(nn.Threshold, threshold=0.1, value=0.5),
    "Softmax": _after_linear(nn.Softmax, dim=-1),
    "Softmin": _after_linear(nn.Softmin, dim=-1),
    "LogSoftmax": _after_linear(nn.LogSoftmax, dim=-1),
    "Softplus, beta 3": _after_linear(nn.Softplus, beta=3.0, threshold=1.0),
    "Softmax2d": lambda: layer(nn.Softmax2d(), draw(2, 3, 4, 4)),
    "Dropout1d": lambda: layer(nn.Dropout1d(), draw(2, 3, 4)),
    "Dropout2d": lambda: layer(nn.Dropout2d(), draw(2, 3, 4, 4)),
    "Dropout3d": lambda: layer(nn.Dropout3d(), draw(2, 3, 2, 4, 4)),
    "Gumbel softmax": applied(lambda x: F.gumbel_softmax(x, tau=0.7), (3, 5)),
    "Gumbel softmax, hard": applied(lambda x: F.gumbel_softmax(x, hard=True), (3, 5)),
    "SwiGLU": applied(lambda x: F.silu(x[:, :4]) * x[:, 4:], (3, 8)),
    "ReGLU": applied(lambda x: F.relu(x[:, :4]) * x[:, 4:], (3, 8)),
    "squared ReLU": applied(lambda x: F.relu(x).square(), (3, 8)),
    "Snake": applied(lambda x: x + torch.sin(2 * x) ** 2 / 2, (3, 8)),
    "maxout": applied(lambda x: x.view(3, 4, 2).max(-1).values, (3, 8)),
    "straight-through sign": applied(lambda x: x + (x.sign() - x).detach(), (3, 8)),
}
