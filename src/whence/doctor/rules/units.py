"""Rules on units: dead, saturated, all alike, or drawn at the wrong size."""

from __future__ import annotations

import math

import numpy as np

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Fact, Finding
from whence.doctor.measuring.measured import Measured
from whence.doctor.rules.changes import rates
from whence.doctor.rules.gradients import vanishes
from whence.doctor.rules.rule import Rule

DEAD = 0.5  # of a layer's units: SageMaker Debugger DeadRelu
SATURATED = 0.5  # of a layer's values: SageMaker's share, with lecture practice's |tanh| > 0.97
SOON = 10  # steps after which a loss that falls shows that a layer still learns: ours
SMALL = 0.1  # of 1/√inputs, where the gradient vanishes too: ours
VARIANCE = 10.0  # between layers in the first steps: SageMaker Debugger PoorWeightInitialization


def dead_units(e: Evidence) -> Finding | None:
    """More than half of a layer's ReLUs are active on less than 1 % of the inputs."""
    for m in reversed(e.measured):
        dead = [u for u in m.units if u.function == "relu" and u.dead > DEAD and u.inputs >= 64]
        if not dead:
            continue
        worst = max(dead, key=lambda u: u.dead)
        first = next(s for s in e.measured
                     if any(u.name == worst.name and u.dead > DEAD for u in s.units))  # fmt: skip
        harmless = first.step > SOON and e.learns()  # some units go out in sound trainings too
        return Finding(
            f"{worst.dead:.0%} of the units of {worst.name} are dead",
            "watch" if harmless else "act",
            (
                Fact("units active on less than 1 % of the inputs", worst.dead, f"alarm: {DEAD}",
                     m.step, worst.name),
                Fact("inputs that were read", worst.inputs),
                Fact("layers concerned", len(dead), f"of {len(m.units)}"),
            ),
            "lower the rate, draw the biases at 0 or above, or use one without a dead half",
            step=first.step, open=worst.name.rpartition(".")[0],
            weight=2.0 if harmless else 5.2,
            change=rates(e, 0.1),
        )  # fmt: skip
    return None


def saturated_units(e: Evidence) -> Finding | None:
    """More than half of the values of a tanh or sigmoid layer are at its limits."""
    for m in reversed(e.measured):
        full = [u for u in m.units if u.function in ("tanh", "sigmoid") and u.saturated > SATURATED]
        if not full:
            continue
        worst = max(full, key=lambda u: (not u.name.endswith(" state"), u.saturated))
        state = worst.name.endswith(" state")  # which may well hold a constant
        first = next(s for s in e.measured
                     if any(u.name == worst.name and u.saturated > SATURATED
                            for u in s.units))  # fmt: skip
        # units that learn a sharp border saturate as they should
        harmless = state or (first.step > SOON and e.learns())
        drawn = first.step == 0  # before any update: the cause of what vanishes, not a symptom
        return Finding(
            f"{worst.saturated:.0%} of the values of {worst.name} are saturated",
            "watch" if harmless else "act",
            (
                Fact("values at the ends", worst.saturated, f"alarm: {SATURATED}", m.step,
                     worst.name),
                Fact("size of what goes in", worst.rms, "about 1", m.step),
            ),
            "draw the weights before it smaller, scale the inputs to about 1, or lower the rate",
            step=first.step, open=worst.name.rpartition(".")[0],
            weight=2.0 if harmless else 5.2 if drawn else 3.9,
            change=rates(e, 0.1),
        )  # fmt: skip
    return None


def symmetric_units(e: Evidence) -> Finding | None:
    """All rows of a matrix are equal: its units compute the same and learn the same."""
    alike = [w for w in e.first.weights.values() if w.alike and w.trainable]
    if not alike:
        return None
    return Finding(
        f"all units of {alike[0].name} start with the same weights", "act",
        (
            Fact("rows that differ", 0, f"of {alike[0].shape[0]}", e.first.step, alike[0].name),
            Fact("weights concerned", len(alike)),
        ),
        "draw the first weights at random", step=0, open=alike[0].name, weight=8.2,
    )  # fmt: skip


def poor_start(e: Evidence) -> Finding | None:
    """Weights drawn badly: activations grow or shrink by layer, or the gradient vanishes."""
    m = e.first
    small = _drawn_small(m)
    if small is not None:
        return small
    sizes = [u.rms for u in m.units if u.rms > 0]
    if len(sizes) < 2:
        return None
    ratio = max(sizes) / min(sizes)
    if ratio**2 < VARIANCE**2 or m.predicted is None:
        return None
    small = min(m.units, key=lambda u: u.rms)
    large = max(m.units, key=lambda u: u.rms)
    return Finding(
        "activations change their size from layer to layer: the first weights are drawn badly",
        "watch" if ratio < 100 else "act",
        (
            Fact("size of what goes in", small.rms, "", m.step, small.name),
            Fact("size of what goes in", large.rms, "", m.step, large.name),
            Fact("ratio of the variances", ratio**2, f"SageMaker: {VARIANCE:g}; alarm: 100",
                 m.step),
        ),
        "draw each layer's weights with a standard deviation of about 1/√inputs",
        step=m.step, open=large.name.rpartition(".")[0], weight=4.0,
    )  # fmt: skip


def _drawn_small(m: Measured) -> Finding | None:
    """Weights far below 1/√inputs, behind which the gradient vanishes."""
    ends = vanishes(m)
    sizes = {w.name: w.rms * math.sqrt(math.prod(w.shape[1:])) for w in m.trained
             if len(w.shape) >= 2 and w.role == "matrix" and not w.zero}  # fmt: skip
    if ends is None or not sizes or not float(np.median(list(sizes.values()))) < SMALL:
        return None
    name = min(sizes, key=lambda n: sizes[n])
    return Finding(
        "the first weights are drawn so small that the gradient vanishes", "act",
        (
            Fact("size of the weights, times √inputs", sizes[name], f"about 1; alarm: {SMALL}",
                 m.step, name),
            *(Fact("norm of the gradient", w.grad_norm, "", m.step, f"{w.name}.grad")
              for w in ends),
        ),
        "draw each layer's weights with a standard deviation of about 1/√inputs",
        step=m.step, open=name, weight=5.9,
    )  # fmt: skip


def idle_dropout(e: Evidence) -> Finding | None:
    """The model has dropout, and trains in evaluation mode, where it does nothing."""
    idle = [m for m in e.measured if m.idle_dropout]
    if not idle or (len(idle) < 0.5 * len(e.measured) and not e.last.idle_dropout):
        return None
    return Finding(
        "the model trains in evaluation mode: its dropout does nothing", "act",
        (Fact("dropout", idle[0].dropout, "in use while training", idle[0].step),),
        "call model.train() before training goes on, above all after an evaluation",
        step=idle[0].step, weight=7.2,
    )  # fmt: skip


RULES = (
    Rule(dead_units, ("units",), "SageMaker Debugger DeadRelu: 1 % of inputs, half of a layer"),
    Rule(
        saturated_units, ("units",), "|tanh| > 0.97: lecture practice; half of a layer: SageMaker"
    ),
    Rule(symmetric_units, ("start",), "SageMaker Debugger: equal weights; exact"),
    Rule(
        poor_start,
        ("start", "units"),
        "SageMaker Debugger PoorWeightInitialization; 100 and 0.1 are ours",
    ),
    Rule(idle_dropout, ("measured",), "exact: no threshold"),
)
