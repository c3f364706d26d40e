"""Rules on who moves which weight: in no optimizer, frozen, without a gradient, or held."""

from __future__ import annotations

import math

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Fact, Finding
from whence.doctor.measuring.measured import Weight
from whence.doctor.rules.rule import Rule
from whence.doctor.rules.updates import lost_to_rounding, usual


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def not_optimized(e: Evidence) -> Finding | None:
    """Parameters that require a gradient aren't in any optimizer."""
    left = [w for w in e.last.weights.values() if w.trainable and not w.optimized]
    if not left:
        return None
    n = sum(math.prod(w.shape) for w in left)
    return Finding(
        f"no optimizer has {_some([w.name for w in left])}", "act",
        (
            Fact("numbers that are never updated", n, step=e.last.step),
            Fact("norm of the gradient", left[0].grad_norm, "", e.last.step, left[0].name),
        ),
        "give the optimizer all parameters: build it after the model is whole",
        step=e.first.step, open=left[0].name, weight=9.5,
    )  # fmt: skip


def frozen(e: Evidence) -> Finding | None:
    """Parameters are frozen: they don't require a gradient."""
    still = [w for w in e.last.weights.values() if not w.trainable]
    if not still or len(still) == len(e.last.weights):
        return None
    n = sum(math.prod(w.shape) for w in still)
    total = sum(math.prod(w.shape) for w in e.last.weights.values())
    asked = e.setup.frozen_asked
    return Finding(
        f"{_some([w.name for w in still])} {'is' if len(still) == 1 else 'are'} frozen", "watch",
        (Fact("frozen, of all numbers", n / total, step=e.last.step),),
        "set requires_grad where they should learn" + (
            f" (the recipe asks for it: change.freeze = {list(asked)})" if asked else ""),
        step=e.first.step, open=still[0].name, weight=6.0 if n / total < 0.9 else 2.0,
        change=Change({"change.freeze": []}) if asked else None,
    )  # fmt: skip


def frozen_but_moved(e: Evidence) -> Finding | None:
    """A parameter that is frozen, and moves all the same."""
    for m in e.measured:
        moved = [w for w in m.weights.values() if not w.trainable and w.update_rms > 0]
        if moved:
            return Finding(
                f"{_some([w.name for w in moved])} is frozen and moves all the same", "act",
                (Fact("update", moved[0].update_rms, "0", m.step, moved[0].name),),
                "take it out of the optimizer: decay or momentum moves it without a gradient",
                step=m.step, open=moved[0].name, weight=8.5,
            )  # fmt: skip
    return None


def trains_though_frozen(e: Evidence) -> Finding | None:
    """A part that is meant to stay as it is, by the recipe or its evaluation mode, is trained."""
    for m in e.measured:
        asked = {n for n in m.weights if any(f"{n}.".startswith(f"{a}.")
                                             for a in e.setup.frozen_asked)}  # fmt: skip
        meant = asked | set(m.quiet_parts)
        moved = [w for w in m.trained if w.name in meant and w.update_rms > 0]
        if not moved:
            continue
        why = "the recipe freezes it" if moved[0].name in asked else "it is in evaluation mode"
        return Finding(
            f"{_some([w.name for w in moved])} should stay as it is, and is trained",
            "act" if asked else "watch",
            (Fact("update", moved[0].update_rms, f"0, as {why}", m.step, moved[0].name),),
            "set requires_grad to False for what is frozen, and leave it out of the optimizer",
            step=m.step, open=moved[0].name, weight=6.3,
        )  # fmt: skip
    return None


def no_gradient(e: Evidence) -> Finding | None:
    """A parameter never gets a gradient: nothing that is computed of it reaches the loss."""
    steps = [m for m in e.measured if not m.refused]
    if all(m.cleared for m in steps):
        return None
    names = [
        w.name
        for w in e.last.trained
        if all(_none(m.weights.get(w.name)) for m in steps)
        and not (w.role == "embedding" and w.still_rows == 0)
    ]
    if not names or len(names) == len(e.last.trained):
        return None
    kinds = {"none": [n for n in names if math.isnan(e.last.weights[n].grad_norm)]}
    cut = bool(kinds["none"])
    zero_next = [n for n in names if not _behind_zeros(e, n)]
    if not cut and not zero_next:
        return None
    return Finding(
        f"{_some(names)} never {'gets' if len(names) == 1 else 'get'} a gradient", "act",
        (
            Fact("parameters without a gradient", len(names), f"of {len(e.last.trained)}"),
            Fact("steps that were looked at", len(steps)),
        ),
        "see that what is computed of it is used, and that no detach() or no_grad() cuts it off",
        step=e.first.step, open=names[0], weight=9.0 if cut else 4.9,
    )  # fmt: skip


def _none(w: Weight | None) -> bool:
    return w is None or math.isnan(w.grad_norm) or w.grad_norm == 0


def _behind_zeros(e: Evidence, name: str) -> bool:
    """Whether a weight of zeros further on explains a gradient of 0 at the only step seen."""
    return len([m for m in e.measured if not m.refused]) < 2 and any(
        w.zero for w in e.last.weights.values() if len(w.shape) >= 2
    )


def rows_never_updated(e: Evidence) -> Finding | None:
    """Rows of an embedding that were read and had no update."""
    for m in usual(e):
        if m.cleared or m.step == 0 or lost_to_rounding(m):
            continue
        for w in m.trained:
            if w.role == "embedding" and w.still_rows > 0.3 and not w.zero and w.grad_norm > 0:
                return Finding(
                    f"{w.still_rows:.0%} of the rows of {w.name} that were read did not move",
                        "act",
                    (Fact("rows that were read and did not move", w.still_rows, "0", m.step,
                     w.name),),
                    "see whether a mask, padding_idx or a hook holds them",
                    step=m.step, open=w.name, weight=7.5,
                )  # fmt: skip
    return None


def gain_stuck(e: Evidence) -> Finding | None:
    """A norm's gain is 0, so that nothing gets through."""
    dead = [w for w in e.last.weights.values() if w.role == "norm" and w.name.endswith("weight")
            and w.rms < 1e-3]  # fmt: skip
    if not dead:
        return None
    return Finding(
        f"the gain of {_some([w.name for w in dead])} is 0: nothing passes", "act",
        (Fact("size of the gain", dead[0].rms, "about 1", e.last.step, dead[0].name),),
        "start gains at 1, and keep weight decay away from them",
        step=e.first.step, open=dead[0].name, weight=8.0,
    )  # fmt: skip


RULES = (
    Rule(not_optimized, ("measured",), "exact: no threshold"),
    Rule(frozen, ("measured",), "exact: no threshold"),
    Rule(frozen_but_moved, ("measured",), "exact: no threshold"),
    Rule(trains_though_frozen, ("measured",), "exact: no threshold"),
    Rule(no_gradient, ("measured",), "exact: no threshold"),
    Rule(rows_never_updated, ("measured",), "ours"),
    Rule(gain_stuck, ("measured",), "ours"),
)
