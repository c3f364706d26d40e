"""Pooling, padding, resizing and resampling: sums and picks over places that lie together."""

from __future__ import annotations

import math

import numpy as np

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.forms.picks import moves, picked
from whence.why.rules.forms.planes import dimensions_of, planar, unpooled
from whence.why.rules.forms.rerun import linear
from whence.why.rules.opening import Rule


def _in_plane(call: Call, at: Index) -> Index:
    """Where a pool found each element: it counts within one channel's plane."""
    places = call.outputs[1]
    assert places is not None
    rank = dimensions_of(call)
    size = call["self"].size
    plane = math.prod(size[-rank:])
    lead = at // math.prod(call.output.size[-rank:])
    return lead * plane + places.gather(at).astype(np.int64)


def _added(words: str) -> Rule:
    """The rule of a gradient that is added up where the forward pass read from."""
    return planar(words, "grad_output", inner=16, sums_narrowly=True)


def _pools() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for name in (
        "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d",
        "adaptive_max_pool3d", "fractional_max_pool2d", "fractional_max_pool3d",
    ):  # fmt: skip
        rules[name] = picked("max of the window", place=_in_plane)
        rules[f"{name}_backward"] = unpooled
    for name in (
        "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "avg_pool1d",
        "adaptive_avg_pool1d",
    ):  # fmt: skip
        rules[name] = planar("Σ over the window of x[k]/n", "self", sums_narrowly="3d" in name)
        rules[f"{name}_backward"] = _added("Σ over the windows it lies in of g[k]/n")
    return rules


def _resized() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for n in (1, 2, 3):
        for kind in ("upsample_nearest", "_upsample_nearest_exact"):
            rules[f"{kind}{n}d"] = moves("x at the nearest place", "self")
            rules[f"{kind}{n}d_backward"] = _added("Σ of g where it was nearest")
        for kind in ("reflection_pad", "replication_pad"):
            rules[f"{kind}{n}d"] = moves("x, padded with its own numbers", "self")
            rules[f"{kind}{n}d_backward"] = _added("Σ of g where it was put")
    for name in (
        "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
        "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
    ):  # fmt: skip
        rules[name] = planar("Σ of x[k], weighed by distance", "self", inner=16)
        rules[f"{name}_backward"] = _added("Σ of g[k], weighed by distance")
    return rules


RULES: dict[str, Rule] = {
    **_pools(),
    **_resized(),
    "im2col": moves("x, in windows", "self"),
    "col2im": linear("Σ of the windows it lies in", "self", sums_narrowly=True),
    "pixel_shuffle": moves("x, channels laid out as places", "self"),
    "pixel_unshuffle": moves("x, places laid out as channels", "self"),
    "channel_shuffle": moves("x, channels shuffled", "self"),
    "max_unpool2d": moves("x where it came from, else 0", "self"),
    "max_unpool3d": moves("x where it came from, else 0", "self"),
    "affine_grid_generator": linear("Σ θ·place", "theta"),
    "affine_grid_generator_backward": linear("Σ g·place", "grad"),
}
