"""Padding, resizing and resampling of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.why_kinds.making import Kind, applied, of

_SHAPES = {1: (2, 3, 6), 2: (2, 3, 5, 6), 3: (1, 2, 4, 4, 5)}


def _padded(kind: str, n: int) -> Kind:
    options: dict[str, Any] = {"padding": (1, 2, 2, 1, 1, 2)[: 2 * n]}
    if kind == "Constant":
        options["value"] = 0.5
    return of(getattr(nn, f"{kind}Pad{n}d"), *_SHAPES[n], **options)


def _resized(mode: str, n: int, size: tuple[int, ...] | None = None, **options: Any) -> Kind:
    def resize(x: torch.Tensor) -> torch.Tensor:
        scale = None if size else 2.0
        return F.interpolate(x, size, scale, mode, **options)

    return applied(resize, _SHAPES[n])


def _sampled(mode: str, padding: str, n: int = 2, corners: bool = False) -> Kind:
    def sample(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, grid, mode, padding, align_corners=corners)

    return applied(sample, _SHAPES[n], (_SHAPES[n][0], *(3,) * n, n))


def _warped(theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    grid = F.affine_grid(theta, [2, 3, 4, 4], align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


KINDS: dict[str, Kind] = {
    **{
        f"{kind}Pad{n}d": _padded(kind, n)
        for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")
        for n in (1, 2, 3)
    },
    "nearest, 1d": _resized("nearest", 1),
    "nearest, 2d": _resized("nearest", 2),
    "nearest, 3d": _resized("nearest", 3),
    "nearest exact, 1d": _resized("nearest-exact", 1, (8,)),
    "nearest exact, 2d": _resized("nearest-exact", 2, (7, 7)),
    "nearest exact, 3d": _resized("nearest-exact", 3, (5, 5, 5)),
    "linear": _resized("linear", 1, align_corners=False),
    "bilinear": _resized("bilinear", 2, align_corners=False),
    "bilinear, corners": _resized("bilinear", 2, (8, 9), align_corners=True),
    "bilinear, smaller": _resized("bilinear", 2, (3, 4), align_corners=False, antialias=True),
    "bicubic": _resized("bicubic", 2, align_corners=False),
    "bicubic, smaller": _resized("bicubic", 2, (3, 4), align_corners=False, antialias=True),
    "trilinear": _resized("trilinear", 3, align_corners=False),
    "area": _resized("area", 2, (3, 4)),
    "grid sample": _sampled("bilinear", "zeros"),
    "grid sample, border": _sampled("bilinear", "border", corners=True),
    "grid sample, reflection": _sampled("bilinear", "reflection"),
    "grid sample, nearest": _sampled("nearest", "zeros"),
    "grid sample, bicubic": _sampled("bicubic", "zeros"),
    "grid sample, 3d": _sampled("bilinear", "zeros", 3),
    "spatial transformer": applied(_warped, (2, 2, 3), (2, 3, 4, 4)),
    "PixelShuffle": of(nn.PixelShuffle, 2, 8, 3, 3, upscale_factor=2),
    "PixelUnshuffle": of(nn.PixelUnshuffle, 2, 2, 4, 4, downscale_factor=2),
    "ChannelShuffle": of(nn.ChannelShuffle, 2, 6, 3, 3, groups=2),
    "patches": applied(lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(2), (2, 3, 4, 4)),
    "rotated images": applied(lambda x: x.rot90(1, (2, 3)), (2, 3, 4, 5)),
}
