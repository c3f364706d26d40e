"""Rules on gradients: vanishing, exploding, stale or cleared too early."""

from __future__ import annotations

import math
import re

import numpy as np

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Fact, Finding
from whence.doctor.measuring.measured import Measured, Weight
from whence.doctor.rules.rule import Rule

TINY = 1e-7  # mean |g|: SageMaker Debugger VanishingGradient
FIRST_TO_LAST, FIRST = 1e-3, 1e-4  # AUTOTRAINER
LARGE = 1e3  # AUTOTRAINER's limit for the loss; ours for the norm of a gradient
RESCALED = 10.0  # times the weight that a token had in the loss before: ours
STALE = 0.2  # ‖what the step began with‖ / ‖what the update saw‖: ours


def _matrices(m: Measured) -> list[Weight]:
    return [w for w in m.trained if len(w.shape) >= 2 and w.role == "matrix"]


def gradients_not_cleared(e: Evidence) -> Finding | None:
    """A step begins with the gradient of the step before: grad(step) = grad(step − 1) + new."""
    stale = [m for m in e.measured if m.stale > STALE and m.step > 0]
    if not stale:
        return None
    m = stale[-1]
    exact = " to the bit" if m.stale_is_last else ""
    return Finding(
        "gradients are not zeroed between steps: each update sees the sum of all gradients so far",
        "act",
        (
            Fact("norm of the gradient that the update saw", m.seen, step=m.step),
            Fact("of it new in this step", m.fresh, step=m.step),
            Fact("share that the step began with", m.stale,
                 f"the last step's{exact}; alarm: {STALE}", step=m.step),
        ),
        "call optimizer.zero_grad() once in each step, before backward()",
        step=min(s.step for s in stale), weight=10.0,
    )  # fmt: skip


def gradients_cleared_early(e: Evidence) -> Finding | None:
    """Gradients are zeroed between the backward pass and the update, which sees none."""
    cleared = [m for m in e.measured if m.cleared]
    if not cleared or len(cleared) < 0.5 * len(e.measured):
        return None
    m = cleared[0]
    return Finding(
        "gradients are zeroed before the update sees them", "act",
        (Fact("norm of the gradient that the update saw", m.seen, "not 0", step=m.step),),
        "call optimizer.zero_grad() before backward(), not between it and optimizer.step()",
        step=m.step, weight=10.0,
    )  # fmt: skip


def _layers(m: Measured) -> list[tuple[str, Weight]]:
    """The largest gradient of each layer, in the order of the model: (layer, weight)."""
    largest: dict[str, Weight] = {}
    for w in _matrices(m):
        if not math.isfinite(w.grad_norm):
            continue
        number = re.match(r"(.*?\.\d+)\.", w.name + ".")
        layer = number[1] if number else w.name
        if layer not in largest or w.grad_norm > largest[layer].grad_norm:
            largest[layer] = w
    return list(largest.items())


def _shut(m: Measured) -> bool:
    """Whether a matrix that was begun at 0 still lets next to nothing through."""
    sizes = sorted(w.rms for w in _matrices(m))
    return sizes[0] < 0.01 * sizes[len(sizes) // 2]


def vanishes(m: Measured) -> tuple[Weight, Weight] | None:
    """The first and last layer's weight, where the gradient vanishes between them at a step."""
    layers = [w for _, w in _layers(m)]
    if len(layers) < 3 or _shut(m) or not layers[-1].grad_norm > 0:
        return None
    first, last = layers[0], layers[-1]
    ratio = first.grad_norm / last.grad_norm
    tiny = first.grad_mean < TINY and ratio < 0.01
    return (first, last) if tiny or (ratio < FIRST_TO_LAST and first.grad_norm < FIRST) else None


def vanishing_gradients(e: Evidence) -> Finding | None:
    """The gradient vanishes on its way back: the first layers get almost nothing of it."""
    for m in (m for m in e.measured if not m.refused):
        ends = vanishes(m)
        if ends is None:
            continue
        first, last = ends
        ratio = first.grad_norm / last.grad_norm
        return Finding(
            f"the gradient vanishes on its way back to {first.name}", "act",
            (
                Fact("norm of the gradient", first.grad_norm, f"AUTOTRAINER: {FIRST}", m.step,
                     f"{first.name}.grad"),
                Fact("norm of the gradient", last.grad_norm, "", m.step, f"{last.name}.grad"),
                Fact("first / last", ratio, f"AUTOTRAINER: {FIRST_TO_LAST}", m.step),
            ),
            "put residual connections or norms between the layers, or draw first weights larger",
            step=m.step, open=f"{first.name}.grad",
            weight=4.5 if m.step < 10 else 3.8,  # later it is what another fault led to
        )  # fmt: skip
    return None


def exploding_gradients(e: Evidence) -> Finding | None:
    """The gradient grows beyond all measure."""
    norms = e.grad_norm[np.isfinite(e.grad_norm)]
    if not len(norms):
        return None
    usual = float(np.median(norms[: max(5, len(norms) // 10)]))
    worst = float(norms.max())
    if worst < LARGE or worst < 20 * usual:
        return None
    at = int(np.nanargmax(np.where(np.isfinite(e.grad_norm), e.grad_norm, -1)))
    first = int(np.flatnonzero(e.grad_norm > max(LARGE, 20 * usual))[0])
    change = {"optimizer.max_grad_norm": max(1.0, usual)}
    return Finding(
        f"the gradient explodes: its norm reaches {worst:.3g}", "act",
        (
            Fact("largest norm", worst, f"usual at the start: {usual:.3g}", at),
            Fact("first norm above the limit", float(e.grad_norm[first]), f"ours: {LARGE:g}",
                 first),
        ),
        "clip the gradient's norm, and lower the rate if that is not enough",
        step=first, weight=4.2, change=Change(change, max(0, first - 5)),
    )  # fmt: skip


def accumulation_not_averaged(e: Evidence) -> Finding | None:
    """Parts of a batch are added up as if each were the whole, or all parts counted the same."""
    for m in e.measured:
        p = m.predicted
        if p is None or not p.known or p.calls < 2 or m.refused:
            continue
        total = float(np.nansum(p.call_weights))
        if total > 1.5 and total > 0.8 * p.calls:
            return Finding(
                f"the losses of {p.calls} parts are added up, not averaged: the gradient is "
                f"{total:.1f} times as large as the mean's",
                "act",
                (Fact("sum of all tokens' weights in the loss", total, "1 for a mean", m.step),),
                "divide each part's loss by the number of parts (or weigh it by its tokens)",
                step=m.step, weight=7.0,
            )  # fmt: skip
        if p.call_spread > 0.2 and total < 1.5:
            return Finding(
                "tokens of shorter parts count more than those of longer ones", "act",
                (Fact("largest / smallest weight of a token − 1", p.call_spread, "0", m.step),),
                "weigh each part of the batch by its number of counted tokens",
                step=m.step, weight=7.0,
            )  # fmt: skip
    return None


def summed_loss(e: Evidence) -> Finding | None:
    """The loss is a sum over tokens or examples, so that the update grows with the batch."""
    known = (m for m in e.measured if m.predicted is not None and m.predicted.known)
    m = next(known, e.first)  # a factor that comes later is another fault
    p = m.predicted
    if p is None or not p.known or p.calls != 1:
        return None
    total, n = float(np.nansum(p.weights)), int((p.targets >= 0).sum())
    sure = int(np.isfinite(p.weights).sum())
    if n < 4 or sure < 0.5 * n or total < 0.5 * sure:
        return None
    return Finding(
        "the loss is a sum, not a mean: the size of a step depends on the size of the batch",
        "watch" if e.setup.adaptive else "act",
        (Fact("weight of a token in the loss", total / sure, f"1/{n} = {1 / n:.3g}", m.step),),
        "take the mean over the targets, or a rate that is smaller by their number",
        step=m.step, weight=6.5,
    )  # fmt: skip


def loss_rescaled(e: Evidence) -> Finding | None:
    """From one step on the loss is multiplied by another number, and the update with it."""
    seen = [(m, *size) for m in e.measured if (size := _weight_of_targets(m)) is not None]
    if len(seen) < 2:
        return None
    first, each, total = seen[0]
    for m, each_now, total_now in seen[1:]:
        factor = each_now / each
        # a mean over more targets changes the one, a sum over more the other: a factor both.
        # Mixed precision's factor is taken out again before the update
        seen_by_update = m.seen / first.seen
        if min(factor, total_now / total, 3 * seen_by_update) > RESCALED:
            return Finding(
                f"the loss is multiplied by about {factor:,.3g} from step {m.step:,} on", "act",
                (
                    Fact("weight of a target in the loss", each, "", first.step),
                    Fact("weight of a target in the loss", each_now,
                         f"alarm: {RESCALED:g} times as much", m.step),
                    Fact("norm of the gradient that the update saw", m.seen,
                         f"{first.seen:.3g} at step {first.step:,}", m.step),
                ),
                "look for what the loss is multiplied by at that step, such as a weight of a term "
                "that is switched on, and take the rate to match",
                step=m.step, open="loss", weight=9.2,
            )  # fmt: skip
    return None


def _weight_of_targets(m: Measured) -> tuple[float, float] | None:
    """The weight in the loss that a target has, and that all of them have; None: unknown."""
    p = m.predicted
    if p is None or not p.known or not m.seen > 0 or not math.isfinite(m.seen):
        return None
    sure = p.weights[np.isfinite(p.weights) & (p.weights > 0)]
    n = int((p.targets >= 0).sum())
    each = float(np.median(sure)) if len(sure) >= 0.1 * n and len(sure) else 0.0
    return (each, each * n) if each > 0 else None


RULES = (
    Rule(gradients_not_cleared, ("measured",), "grad(step) = grad(step − 1) + new; 0.2 is ours"),
    Rule(gradients_cleared_early, ("measured",), "exact: no threshold"),
    Rule(vanishing_gradients, ("measured",), "AUTOTRAINER; SageMaker Debugger"),
    Rule(exploding_gradients, ("gradient norms",), "AUTOTRAINER (1e3); ours"),
    Rule(accumulation_not_averaged, ("targets",), "exact weights of tokens; ours"),
    Rule(summed_loss, ("targets",), "exact weights of tokens; ours"),
    Rule(loss_rescaled, ("targets", "two steps"), "exact weights of tokens; 10 is ours"),
)
