"""The changes of a recipe that rules propose, so that `--prove` can try them."""

from __future__ import annotations

from typing import Any

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change


def rates(e: Evidence, factor: float, step: int = 0, clip: bool = False) -> Change | None:
    """All learning rates times a factor, from a step on; None where there is no recipe.

    Args:
        e: says which rates there are.
        factor: what they are multiplied by.
        step: the first step that differs; 0: all.
        clip: also scale the gradient down to a norm of 1.
    """
    if not e.setup.is_run:
        return None
    settings: dict[str, Any] = {
        f"optimizer.{name}": value * factor
        for name, value in e.setup.sizes.get("optimizer", {}).items()
        if name.endswith("_rate") and isinstance(value, float)
    }
    if clip:
        settings["optimizer.max_grad_norm"] = 1.0
    return Change(settings, step)


def model(e: Evidence, name: str, wrong: object, right: object) -> Change | None:
    """Another setting of the model, from the first weights on; None where it isn't the cause."""
    if e.setup.sizes.get("model", {}).get(name) != wrong:
        return None
    return Change({f"model.{name}": right})
