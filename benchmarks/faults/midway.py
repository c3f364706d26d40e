"""What happens to a model in the middle of its training."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from benchmarks.faults.broken.start import head_of, kill_units
from benchmarks.faults.models import Setting, build
from benchmarks.faults.reading import begin


def change(model: Any, s: Setting, faults: dict[str, Any], step: int) -> None:
    """Do to the model what the faults say of this step, before it is computed."""
    if step != begin(s, faults):
        return
    if faults.get("mode") == "eval from":  # an evaluation after which nobody called train()
        model.eval()
    if "freeze" in faults:
        for name, p in model.named_parameters():
            if faults["freeze"] in name:
                p.requires_grad_(False)
    with torch.no_grad():
        if faults.get("anew"):  # a restart that didn't read its checkpoint
            state = torch.get_rng_state()
            model.load_state_dict(build(dataclasses.replace(s, seed=s.seed + 1), {}).state_dict())
            torch.set_rng_state(state)
        if "head times" in faults:
            head_of(model).weight.mul_(faults["head times"])
        if faults.get("units die"):
            kill_units(model)
