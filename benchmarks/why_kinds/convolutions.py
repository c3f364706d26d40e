"""Convolution, pooling and normalisation layers of torch.nn."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, applied, draw, layer, of


def _unpooled() -> object:
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    return layer(_Between(pool, unpool), draw(2, 3, 6, 6))


class _Between(nn.Module):
    def __init__(self, pool: nn.Module, unpool: nn.Module):
        super().__init__()
        self.pool, self.unpool = pool, unpool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.unpool(*self.pool(x))


def _evaluated(module: nn.Module, *shape: int) -> Kind:
    return lambda: layer(module.eval(), draw(*shape))


def _spectral() -> object:
    return layer(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)), draw(3, 4))


def _weight_norm() -> object:
    return layer(nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 3)), draw(2, 3, 8))


def _old_weight_norm() -> object:
    conv = nn.Linear(4, 5)
    return layer(nn.utils.parametrizations.weight_norm(conv, dim=None), draw(3, 4))


def _orthogonal() -> object:
    return layer(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), draw(3, 4))


def _standardised(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), keepdim=True)
    return F.conv2d(x, (w - mean) / (var + 1e-5).sqrt())


KINDS: dict[str, Kind] = {
    "Conv1d": of(nn.Conv1d, 2, 3, 8, in_channels=3, out_channels=4, kernel_size=3),
    "Conv2d": of(nn.Conv2d, 2, 3, 7, 7, in_channels=3, out_channels=4, kernel_size=3),
    "Conv3d": of(nn.Conv3d, 2, 2, 5, 5, 5, in_channels=2, out_channels=3, kernel_size=3),
    "Conv1d without a batch": of(nn.Conv1d, 3, 8, in_channels=3, out_channels=4, kernel_size=3),
    "Conv2d, no bias": of(
        nn.Conv2d, 2, 3, 7, 7, in_channels=3, out_channels=4, kernel_size=3, bias=False
    ),
    "Conv2d, padding, stride": of(
        nn.Conv2d, 2, 3, 7, 7, in_channels=3, out_channels=4, kernel_size=3, padding=1, stride=2
    ),
    "Conv2d, dilated": of(
        nn.Conv2d, 2, 3, 9, 9, in_channels=3, out_channels=4, kernel_size=3, dilation=2
    ),
    "Conv2d, grouped": of(
        nn.Conv2d, 2, 4, 7, 7, in_channels=4, out_channels=6, kernel_size=3, groups=2
    ),
    "Conv2d, depthwise": of(
        nn.Conv2d, 2, 4, 7, 7, in_channels=4, out_channels=4, kernel_size=3, groups=4
    ),
    "Conv2d, 1×1": of(nn.Conv2d, 2, 4, 5, 5, in_channels=4, out_channels=6, kernel_size=1),
    "Conv2d, same": of(
        nn.Conv2d, 2, 3, 7, 7, in_channels=3, out_channels=4, kernel_size=4, padding="same"
    ),
    "Conv2d, reflected": of(
        nn.Conv2d,
        2,
        3,
        7,
        7,
        in_channels=3,
        out_channels=4,
        kernel_size=3,
        padding=1,
        padding_mode="reflect",
    ),
    "Conv2d, circular": of(
        nn.Conv2d,
        2,
        3,
        7,
        7,
        in_channels=3,
        out_channels=4,
        kernel_size=3,
        padding=1,
        padding_mode="circular",
    ),
    "Conv2d, channels last": lambda: layer(
        nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), draw(2, 3, 7, 7)
    ),
    "causal Conv1d": applied(
        lambda x, w: F.conv1d(F.pad(x, (2, 0)), w, groups=3), (2, 3, 8), (3, 1, 3)
    ),
    "ConvTranspose1d": of(
        nn.ConvTranspose1d, 2, 3, 6, in_channels=3, out_channels=4, kernel_size=3, stride=2
    ),
    "ConvTranspose2d": of(
        nn.ConvTranspose2d,
        2,
        3,
        5,
        5,
        in_channels=3,
        out_channels=4,
        kernel_size=3,
        stride=2,
        padding=1,
        output_padding=1,
    ),
    "ConvTranspose2d, grouped": of(
        nn.ConvTranspose2d,
        2,
        4,
        5,
        5,
        in_channels=4,
        out_channels=6,
        kernel_size=3,
        groups=2,
        dilation=2,
    ),
    "ConvTranspose3d": of(
        nn.ConvTranspose3d, 1, 2, 3, 3, 3, in_channels=2, out_channels=3, kernel_size=2, stride=2
    ),
    "Conv2d, a narrow kernel": of(
        nn.Conv2d, 2, 3, 6, 6, in_channels=3, out_channels=4, kernel_size=(3, 1)
    ),
    "weight-standardised Conv2d": applied(_standardised, (4, 3, 3, 3), (2, 3, 6, 6)),
    "Unfold": of(nn.Unfold, 2, 3, 6, 6, kernel_size=3, padding=1, stride=2),
    "Fold": of(nn.Fold, 2, 27, 16, output_size=(6, 6), kernel_size=3),
    "MaxPool1d": of(nn.MaxPool1d, 2, 3, 8, kernel_size=3, stride=2),
    "MaxPool2d": of(nn.MaxPool2d, 2, 3, 6, 6, kernel_size=2),
    "MaxPool2d, overlapping": of(nn.MaxPool2d, 2, 3, 7, 7, kernel_size=3, stride=1, padding=1),
    "MaxPool2d, dilated": of(nn.MaxPool2d, 2, 3, 7, 7, kernel_size=2, dilation=2, ceil_mode=True),
    "MaxPool3d": of(nn.MaxPool3d, 2, 2, 4, 4, 4, kernel_size=2),
    "MaxUnpool2d": _unpooled,
    "AvgPool1d": of(nn.AvgPool1d, 2, 3, 8, kernel_size=2),
    "AvgPool2d": of(nn.AvgPool2d, 2, 3, 7, 7, kernel_size=3, stride=2, padding=1),
    "AvgPool2d, padding not counted": of(
        nn.AvgPool2d,
        2,
        3,
        7,
        7,
        kernel_size=3,
        stride=2,
        padding=1,
        count_include_pad=False,
        ceil_mode=True,
    ),
    "AvgPool3d": of(nn.AvgPool3d, 2, 2, 4, 4, 4, kernel_size=2),
    "LPPool1d": lambda: layer(nn.LPPool1d(2, 2), draw(2, 3, 8, low=0.1)),
    "LPPool2d": lambda: layer(nn.LPPool2d(3, 2), draw(2, 3, 6, 6, low=0.1)),
    "AdaptiveAvgPool1d": of(nn.AdaptiveAvgPool1d, 2, 3, 7, output_size=3),
    "AdaptiveAvgPool2d": of(nn.AdaptiveAvgPool2d, 2, 3, 7, 6, output_size=(3, 4)),
    "AdaptiveAvgPool2d to one": of(nn.AdaptiveAvgPool2d, 2, 3, 7, 6, output_size=1),
    "AdaptiveAvgPool3d": of(nn.AdaptiveAvgPool3d, 2, 2, 5, 5, 5, output_size=2),
    "AdaptiveMaxPool1d": of(nn.AdaptiveMaxPool1d, 2, 3, 7, output_size=3),
    "AdaptiveMaxPool2d": of(nn.AdaptiveMaxPool2d, 2, 3, 7, 6, output_size=(3, 4)),
    "AdaptiveMaxPool3d": of(nn.AdaptiveMaxPool3d, 2, 2, 5, 5, 5, output_size=2),
    "FractionalMaxPool2d": of(
        nn.FractionalMaxPool2d, 2, 3, 8, 8, kernel_size=2, output_size=(4, 4)
    ),
    "FractionalMaxPool3d": of(nn.FractionalMaxPool3d, 1, 2, 6, 6, 6, kernel_size=2, output_size=3),
    "BatchNorm1d": of(nn.BatchNorm1d, 8, 5, num_features=5),
    "BatchNorm1d over time": of(nn.BatchNorm1d, 4, 5, 6, num_features=5),
    "BatchNorm2d": of(nn.BatchNorm2d, 4, 3, 5, 5, num_features=3),
    "BatchNorm2d, not affine": of(nn.BatchNorm2d, 4, 3, 5, 5, num_features=3, affine=False),
    "BatchNorm2d, no running statistics": of(
        nn.BatchNorm2d, 4, 3, 5, 5, num_features=3, track_running_stats=False
    ),
    "BatchNorm2d, averaged": of(nn.BatchNorm2d, 4, 3, 5, 5, num_features=3, momentum=None),
    "BatchNorm2d, evaluation": _evaluated(nn.BatchNorm2d(3), 4, 3, 5, 5),
    "BatchNorm3d": of(nn.BatchNorm3d, 2, 3, 3, 3, 3, num_features=3),
    "GroupNorm": of(nn.GroupNorm, 2, 6, 5, num_groups=3, num_channels=6),
    "GroupNorm on images": of(nn.GroupNorm, 2, 4, 5, 5, num_groups=2, num_channels=4),
    "InstanceNorm1d": of(nn.InstanceNorm1d, 2, 3, 8, num_features=3),
    "InstanceNorm2d": of(nn.InstanceNorm2d, 2, 3, 5, 5, num_features=3, affine=True),
    "InstanceNorm2d, running statistics": of(
        nn.InstanceNorm2d, 2, 3, 5, 5, num_features=3, track_running_stats=True
    ),
    "InstanceNorm3d": of(nn.InstanceNorm3d, 2, 2, 3, 3, 3, num_features=2),
    "LayerNorm": of(nn.LayerNorm, 4, 6, normalized_shape=6),
    "LayerNorm of two dimensions": of(nn.LayerNorm, 4, 3, 5, normalized_shape=(3, 5)),
    "LayerNorm without bias": of(nn.LayerNorm, 4, 6, normalized_shape=6, bias=False),
    "RMSNorm": of(nn.RMSNorm, 4, 6, normalized_shape=6),
    "LocalResponseNorm": of(nn.LocalResponseNorm, 2, 6, 5, 5, size=3),
    "CrossMapLRN2d": of(nn.CrossMapLRN2d, 2, 6, 5, 5, size=3),
    "weight norm": _weight_norm,
    "weight norm of the whole": _old_weight_norm,
    "spectral norm": _spectral,
    "orthogonal parametrisation": _orthogonal,
    "normalised features": applied(lambda x: F.normalize(x, dim=-1), (4, 6)),
    "global response norm": applied(
        lambda x: (
            x * (x.norm(dim=1, keepdim=True) / x.norm(dim=1, keepdim=True).mean(-1, keepdim=True))
        ),
        (2, 5, 4),
    ),
}
