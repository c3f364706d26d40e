"""Rules on updates: how much they change the weights, and whether they arrive."""

from __future__ import annotations

import math

import numpy as np

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Fact, Finding
from whence.doctor.measuring.measured import Measured, Weight
from whence.doctor.rules.changes import rates
from whence.doctor.rules.rule import Rule

HIGH, LOW = 10.0, 1e-8  # update / weight: SageMaker Debugger WeightUpdateRatio
TOO_HIGH, TOO_LOW = 0.3, 1e-4  # and where our median of all matrices must lie
FORGETS = 0.02  # decay × rate: a weight is forgotten within 50 steps: ours
FELL = 0.9  # of the first loss: what falls further has a rate that will do: ours
REPLACED = 1.0  # a single update as large as the weights themselves: ours
ENDED = 0.1  # of the steps, at a rate of 0 after one above: ours
SHRUNK = 1e-3  # what clipping multiplies gradients by: ours
LONG = ("float32", "float64")  # types of weights that hold every update worth doing
UNDERFLOW = 0.5  # share of a matrix's numbers that an update leaves as they are: ours


def usual(e: Evidence) -> list[Measured]:
    """The measured steps at which the rate isn't near 0 anyway."""
    done = [m for m in e.measured if not m.refused and m.weights]
    if not len(e.rate) or not np.isfinite(e.rate).any():
        return done
    top = float(np.nanmax(e.rate))
    kept = [m for m in done if m.step < len(e.rate) and e.rate[m.step] > 0.2 * top]
    return kept or done


def update_too_large(e: Evidence) -> Finding | None:
    """Each update changes the weights by a large part of their size."""
    done = [m for m in e.measured if not m.refused and math.isfinite(m.ratio)]
    if not done:
        return None
    later = [m.ratio for m in usual(e) if m.step > 0 and math.isfinite(m.ratio)]
    ratio = float(np.median(later)) if later else 0.0
    m = max(done, key=lambda m: m.ratio)
    if ratio < TOO_HIGH and m.ratio < REPLACED:
        return None
    limit = REPLACED if m.ratio >= REPLACED else TOO_HIGH
    first = next((s for s in done if s.ratio >= limit), m)
    matrices = [w for w in m.trained if len(w.shape) >= 2]
    worst = max(matrices, key=lambda w: w.ratio)
    return Finding(
        "an update changes the weights by a large part of their size", "act",
        (
            Fact("update to weight, median of the matrices", m.ratio,
                 f"about 1e-3 is healthy (CS231n); alarm: {REPLACED:g}", m.step),
            Fact("the same over the run", ratio, f"alarm: {TOO_HIGH}"),
            Fact("update to weight", worst.ratio, f"SageMaker: {HIGH:g}", m.step, worst.name),
            Fact("learning rate", e.setup.rate),
        ),
        "take a tenth of the learning rate", step=first.step, open=f"{worst.name}.update",
        weight=5.6, change=rates(e, 0.1),
    )  # fmt: skip


def update_too_small(e: Evidence) -> Finding | None:
    """Updates are so small that the weights stay where they were drawn."""
    steps = usual(e)
    if all(m.cleared or m.seen == 0 for m in steps):
        return None
    ratios = [m.ratio for m in steps if math.isfinite(m.ratio)]
    if not ratios or (len(e.rate) and not np.any(e.rate > 0)):
        return None
    ratio = float(np.median(ratios))
    lost = next((m for m in steps if lost_to_rounding(m)), None)
    if ratio > TOO_LOW or (ratio == 0 and lost is None):
        return None
    smooth = e.smoothed()
    fell = len(smooth) >= 20 and smooth[-1] < FELL * smooth[0]
    if fell and ratio > TOO_LOW / 10:
        return None
    facts = [
        Fact("update to weight, median of the matrices", ratio,
             f"about 1e-3 is healthy (CS231n); alarm: {TOO_LOW:g}; SageMaker: {LOW:g}"),
        Fact("learning rate", e.setup.rate),
    ]  # fmt: skip
    if lost is not None:
        stuck = max(lost_to_rounding(lost), key=lambda w: w.stuck)
        facts.append(Fact("numbers that an update left as they were, to the bit", stuck.stuck, "",
                          lost.step, stuck.name))  # fmt: skip
    clipped = min(steps, key=lambda m: m.multiplied_by)
    shrunk = clipped.multiplied_by < SHRUNK
    if shrunk:
        facts.insert(0, Fact("gradients are multiplied before the update by", clipped.multiplied_by,
                             f"alarm: {SHRUNK:g}", clipped.step))  # fmt: skip
    return Finding(
        "updates are tiny against the weights: "
        + ("gradients are clipped to almost nothing" if shrunk else "the rate may be too low"),
        "watch" if fell else "act", tuple(facts),
        "clip the gradient's norm at about 1" if shrunk else
        "take ten times the learning rate, or a hundred",
        step=steps[0].step, weight=4.4, change=rates(e, 100.0),
    )  # fmt: skip


def lost_to_rounding(m: Measured) -> list[Weight]:
    """The matrices that an update left mostly as they were, to the bit, if half of them are."""
    if m.cleared:
        return []
    weights = [w for w in m.trained if len(w.shape) >= 2 and w.role == "matrix" and not w.zero]
    lost = [w for w in weights if w.stuck > UNDERFLOW]
    return lost if len(lost) >= 0.5 * len(weights) else []


def rate_is_zero(e: Evidence) -> Finding | None:
    """The learning rate is 0: at every step, or from one on that is long before the end."""
    n = len(e.rate)
    moving = np.flatnonzero(e.rate != 0)  # NaN, which is unknown, among them
    if not np.isfinite(e.rate).any():
        return None
    start = int(moving[-1]) + 1 if len(moving) > 0.02 * n else 0
    if n - start < max(5, ENDED * n):
        return None
    top = float(np.nanmax(e.rate))
    return Finding(
        f"the learning rate is 0 from step {start:,} on" if start else
        "the learning rate is 0 at every step",
        "act",
        (
            Fact("largest rate", top, "above 0"),
            Fact("steps at a rate of 0", n - start, f"of {n:,}"),
        ),
        "give the schedule as many steps as the run has" if start else
        "start the schedule above 0, and call scheduler.step() after each update",
        step=start, weight=9.8,
        change=Change({"optimizer.learning_rate": 1e-3}) if e.setup.is_run and not start else None,
    )  # fmt: skip


def warmup_too_long(e: Evidence) -> Finding | None:
    """The rate is still rising when the run ends: the warm-up is longer than the run."""
    s, n = e.setup, len(e.rate)
    if n < 20 or not np.isfinite(e.rate).all():
        return None
    if s.is_run:
        never = bool(s.warmup) and s.warmup >= 0.9 * n
    else:  # a loop's schedule is only known by the rates that it gave
        never = (
            bool(s.scheduled) and bool((np.diff(e.rate) > 0).all()) and e.rate[-1] < 0.9 * s.rate
        )
    if not never:
        return None
    facts = [Fact("highest rate", float(e.rate.max()), f"peak: {s.rate:g}")]
    if s.is_run:
        facts.append(Fact("schedule.warmup", s.warmup, f"{n:,} steps were done"))
    return Finding(
        "the warm-up is as long as the run: the rate never comes to its peak", "act", tuple(facts),
        "give a warm-up of a few per cent of the steps", step=0, weight=6.8,
        change=Change({"schedule.warmup": max(1, s.steps // 20)}) if s.is_run else None,
    )  # fmt: skip


def schedule_never_moves(e: Evidence) -> Finding | None:
    """A schedule is attached to the rate, and the rate never changes."""
    rates = e.rate[np.isfinite(e.rate)]
    if not e.setup.scheduled or e.setup.is_run or len(rates) < 30 or not rates.max() > 0:
        return None
    if np.ptp(rates) > 1e-9 * rates.max():
        return None
    return Finding(
        "a schedule is attached to the optimizer, and the rate never changes", "watch",
        (Fact("rate", float(rates[0]), f"the same in {len(rates):,} steps"),),
        "call scheduler.step() after optimizer.step()", step=0, weight=7.0,
    )  # fmt: skip


def update_underflow(e: Evidence) -> Finding | None:
    """Updates are smaller than half a unit in the last place: adding them changes nothing."""
    for m in reversed(usual(e)):
        lost = lost_to_rounding(m)
        if not lost or (m.step < len(e.rate) and not e.rate[m.step] > 0):
            continue
        worst = max(lost, key=lambda w: w.stuck)
        if worst.dtype in LONG:
            continue  # what float32 can't hold is too small an update for any type
        return Finding(
            f"updates are lost to rounding: {worst.dtype} can't hold them", "act",
            (
                Fact("numbers that an update left as they were, to the bit", worst.stuck,
                     f"alarm: {UNDERFLOW}", m.step, worst.name),
                Fact("weights concerned", len(lost)),
            ),
            "keep the weights in float32 (autocast computes in the shorter type), or round "
            "stochastically",
            step=m.step, open=f"{worst.name}.update", weight=8.0,
        )  # fmt: skip
    return None


def decay_on_all(e: Evidence) -> Finding | None:
    """Weight decay pulls norms and biases to 0 as well."""
    pulled = [w for w in e.last.trained if w.decay and len(w.shape) < 2]
    if not pulled:
        return None
    gain = next((w for w in pulled if w.role == "norm"), pulled[0])
    return Finding(
        f"weight decay is on {len(pulled)} norms and biases", "watch",
        (Fact("weight decay", gain.decay or 0.0, "0 is usual", e.last.step, gain.name),),
        "give norms and biases a group of their own with weight_decay 0",
        step=e.first.step, open=gain.name, weight=2.5 if (gain.decay or 0) > 0.05 else 0.5,
    )  # fmt: skip


def decay_too_strong(e: Evidence) -> Finding | None:
    """Weight decay shrinks the weights faster than the gradient can form them."""
    seen = [m for m in usual(e) if m.weights]
    if len(seen) < 2:
        return None
    a, b = seen[0], seen[-1]
    pairs = [(w.rms, b.weights[w.name].rms) for w in a.trained
             if len(w.shape) >= 2 and w.name in b.weights and w.rms > 0]  # fmt: skip
    decays = [w.decay for w in b.trained if w.decay]
    rate = float(np.nanmax(e.rate)) if len(e.rate) else e.setup.rate
    if not pairs or not decays or b.step - a.step < 10:
        return None
    shrunk = float(np.median([y / x for x, y in pairs]))
    per_step = max(decays) * rate
    if per_step < FORGETS and (shrunk > 0.5 or per_step < 1e-3):
        return None
    return Finding(
        "weight decay shrinks the weights to nothing", "act",
        (
            Fact("size of the weights, end / start", shrunk, "alarm: 0.5", b.step),
            Fact("weight decay", max(decays)),
            Fact("decay × rate", per_step, f"alarm: 1e-3 where they shrink, else {FORGETS}; ours"),
        ),
        "take a weight decay of 0.1 or less", step=b.step, weight=9.3,
        change=Change({"optimizer.weight_decay": 0.0}) if e.setup.is_run else None,
    )  # fmt: skip


RULES = (
    Rule(update_too_large, ("measured",), "CS231n: about 1e-3; SageMaker: 10; 0.3 is ours"),
    Rule(update_too_small, ("measured",), "CS231n: about 1e-3; SageMaker: 1e-8; 1e-4 is ours"),
    Rule(rate_is_zero, ("rates",), "exact: no threshold"),
    Rule(warmup_too_long, ("rates",), "ours"),
    Rule(schedule_never_moves, ("rates",), "ours"),
    Rule(update_underflow, ("measured",), "half a unit in the last place; 0.5 is ours"),
    Rule(decay_on_all, ("measured",), "common practice since nanoGPT; watch only"),
    Rule(decay_too_strong, ("two steps",), "ours"),
)
