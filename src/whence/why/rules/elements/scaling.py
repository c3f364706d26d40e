"""Loss scaling, and numbers put on a coarser grid (fake quantisation)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from whence.why.recording.storage import Index, Ref
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import product
from whence.why.rules.forms.picks import recounted
from whence.why.rules.forms.positions import column
from whence.why.rules.forms.rerun import linear
from whence.why.rules.opening import Factor, Opened, Part, Rule


def unscaled(call: Call, at: Index) -> Opened:
    """Open g / scale, or whether any g was not finite."""
    scale: Ref = call["inv_scale"]
    if not isinstance(call["self"], Ref):
        found = Factor(call["found_inf"], column(at), "found")
        finite = all(bool(torch.isfinite(g.tensor()).all()) for g in call["self"])
        value = found.values if finite else np.ones_like(found.values)
        part = Part("1 if any g isn't finite", value=value, shared=(found,))
        return Opened("1 if any g isn't finite", [part], exact=True)
    whole = Factor(scale, np.zeros((len(at), 1), dtype=np.int64), "1/scale")
    arriving = Factor(call["self"], column(at), "g")
    return Opened("g · 1/scale", [product("g · 1/scale", arriving, whole)])


def next_scale(call: Call, at: Index) -> Opened:
    """Open the scale after this step, or how many steps it has held."""
    scale, steps = (Factor(call[n], column(at)) for n in ("self", "growth_tracker"))
    scale.symbol, steps.symbol = "scale", "steps"
    broke = float(call["found_inf"].gather(np.zeros(1, int))[0]) > 0
    grown = not broke and float(steps.values[0, 0]) + 1 == call["growth_interval"]
    if call.slot and len([o for o in call.outputs if o is not None]) > 1 and _is_tracker(call):
        value = np.zeros_like(steps.values) if broke or grown else steps.values + 1
        return Opened("steps + 1, or 0", [Part("steps + 1, or 0", value=value, shared=(steps,))])
    factor = (
        call["scale_backoff_factor"] if broke else call["scale_growth_factor"] if grown else 1.0
    )
    return Opened(f"{factor:g}·scale", [product(f"{factor:g}·scale", float(factor), scale)])


def _is_tracker(call: Call) -> bool:
    return call.output.dtype == torch.int32


def _on_grid(given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    x, scale, zero = given["self"], given["scale"], given["zero_point"]
    place = torch.round(x.detach() / scale.detach() + zero.detach())
    low, high = given["quant_min"], given["quant_max"]
    return place, (place >= low) & (place <= high), place.clamp(low, high) - zero.detach()


def _learned(slot: int):
    """The gradient by x, by the scale or by the zero point of a grid that is learned."""

    def formula(given: dict[str, Any]) -> Tensor:
        _, inside, kept = _on_grid(given)
        g, x, scale = given["grad"], given["self"].detach(), given["scale"].detach()
        by_scale = torch.where(inside, kept - x / scale, kept)
        slope = (inside.double(), by_scale, torch.where(inside, 0.0, -scale))[slot]
        terms = g * slope * (given["grad_factor"] if slot else 1.0)
        return terms if not slot else terms.sum().reshape(1)

    return linear("Σ g·slope", "grad", shared=("self",), inner=16, formula=formula)


_LEARNED = tuple(_learned(slot) for slot in range(3))


def learned_gradient(call: Call, at: Index) -> Opened:
    """Open the gradient of a learned grid's input, scale or zero point."""
    return _LEARNED[call.slot](call, at)


_GRID = recounted("x on the grid, or whether it lies inside", "self")

RULES: dict[str, Rule] = {
    "_amp_foreach_non_finite_check_and_unscale": unscaled,
    "_amp_update_scale": next_scale,
    "fake_quantize_per_tensor_affine_cachemask": _GRID,
    "fake_quantize_per_channel_affine_cachemask": _GRID,
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams": _GRID,
    "_fake_quantize_learnable_per_tensor_affine": _GRID,
    "_fake_quantize_learnable_per_tensor_affine_backward": learned_gradient,
}
