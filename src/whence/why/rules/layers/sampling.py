"""Sampling an image at the places of a grid, and its backward pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.forms.again import counting, padded, whole, wide
from whence.why.rules.forms.rerun import linear
from whence.why.rules.forms.rounding import accuracy, narrow
from whence.why.rules.opening import Factor, Opened, Part, Rule


def gradient(call: Call, at: Index) -> Opened:
    """Open Σ g · (how much each sample depends on this element of the image, or of the grid)."""
    grid = wide(call["grid"])
    places, slopes, valid = padded(_rows(call, at, grid))
    arriving = Factor(call["grad_output"], places, "g")
    words = "Σ g·(share of x in y)" if call.slot == 0 else "Σ g·(slope of y by the place)"
    part = Part(words, (arriving,), slopes, whole(call, ("grid",), at), valid=valid)
    size = np.abs(call["input"].tensor().double()).max().item() if call.slot else 1.0
    wide_ = np.where(valid, np.abs(arriving.values), 0.0).sum(1)
    reach = max(call["input"].size[2:])
    slack = accuracy(call) * 16 * wide_ * size * reach
    own = narrow(call)
    slack = slack + 6 * own * wide_ * size * (reach if call.slot else 1)
    if own:  # the kernel's places are rounded like its numbers, also where slopes jump
        total = part.terms().sum(1)
        for nudge in (1 - 2 * own, 1 + 2 * own):
            slack = np.maximum(slack, np.abs(_total(call, at, grid * nudge) - total))
    return Opened(words, [part], 8, unit=own or None, inner=2 * own, absolute=slack)


def _rows(call: Call, at: Index, grid: Tensor) -> list[tuple[Index, np.ndarray]]:
    return _of_image(call, at, grid) if call.slot == 0 else _of_grid(call, at, grid)


def _total(call: Call, at: Index, grid: Tensor) -> np.ndarray:
    """Σ g · slope, were the grid another one."""
    places, slopes, valid = padded(_rows(call, at, grid))
    return np.where(valid, slopes * Factor(call["grad_output"], places).values, 0.0).sum(1)


def _forward(call: Call) -> str:
    return call.name.removesuffix("_backward")


def _of_image(call: Call, at: Index, grid: Tensor) -> list[tuple[Index, np.ndarray]]:
    """Sample an image that is 1 at one place: how much of it each sample takes."""
    forward = getattr(torch.ops.aten, _forward(call))
    options = [call[n] for n in ("interpolation_mode", "padding_mode", "align_corners")]
    rows = []
    for place in at:
        image = torch.zeros(call["input"].size, dtype=torch.float64)
        image.view(-1)[int(place)] = 1
        rows.append(counting(forward(image, grid, *options)))
    return rows


def _of_grid(call: Call, at: Index, grid: Tensor) -> list[tuple[Index, np.ndarray]]:
    """Differentiate each channel of the sample that a place of the grid belongs to."""
    forward = getattr(torch.ops.aten, _forward(call))
    options = [call[n] for n in ("interpolation_mode", "padding_mode", "align_corners")]
    grid = grid.clone().requires_grad_()
    with torch.enable_grad():
        samples = forward(wide(call["input"]), grid, *options).flatten(2)  # [N, C, P]
    rows = []
    C, P = samples.shape[1:]
    for place in at:
        n, p = divmod(int(place) // call["grid"].size[-1], P)
        found = []
        for c in range(C):
            (slope,) = torch.autograd.grad(samples[n, c, p], grid, retain_graph=True)
            found.append(float(slope.view(-1)[int(place)]))
        rows.append(((n * C + np.arange(C)) * P + p, np.array(found)))
    return rows


_WEIGHED = linear(
    "Σ of the pixels near, weighed by distance", "input", shared=("grid",), backward=16, beside=1
)


def sample(call: Call, at: Index) -> Opened:
    """Open Σ of the pixels near, weighed by distance."""
    opened = _WEIGHED(call, at)
    if own := narrow(call):  # weights are rounded like numbers of 1, however small they are
        near = [np.where(p.valid, np.abs(p.factors[0].values), 0.0).sum(1) for p in opened.parts]
        opened.absolute = np.asarray(opened.absolute) + 4 * own * sum(near)
    return opened


RULES: dict[str, Rule] = {
    "grid_sampler_2d": sample,
    "grid_sampler_3d": sample,
    "grid_sampler_2d_backward": gradient,
    "grid_sampler_3d_backward": gradient,
}
