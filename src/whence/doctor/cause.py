"""The first cause: the first step and tensor that leave their usual range, by bisection."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Fact, Finding
from whence.doctor.measure import measure
from whence.doctor.measured import Measured
from whence.doctor.of_run import visit
from whence.errors import WhenceError
from whence.runs.replay import estimate, go_to
from whence.runs.run import Run
from whence.why.history.moments import trace_moment

OUT = 4.0  # times the largest, or below a quarter of the smallest, that was seen before: ours
SUDDEN = {"spike", "diverging", "exploding-gradients", "not-finite", "logit-drift"}
SLOW = {"dead-units", "saturated-units", "attention-collapse"}


def sizes(m: Measured) -> dict[str, float]:
    """The sizes of a step's tensors by name, in the order in which they are computed."""
    found: dict[str, float] = {}
    for unit in m.units:
        found[unit.name] = unit.rms
    for flow in m.flows:
        found[flow.name] = flow.rms
    if m.predicted is not None:
        found["logits"] = m.predicted.largest
    for w in m.weights.values():
        if math.isfinite(w.grad_norm):
            found[f"{w.name}.grad"] = w.grad_norm
    return found


def strangers(m: Measured, usual: dict[str, tuple[float, float]]) -> list[tuple[str, float]]:
    """The tensors of a step that are out of their usual range, the first computed first."""
    found = []
    for name, size in sizes(m).items():
        low, high = usual.get(name, (0.0, math.inf))
        if not math.isfinite(size) or size > OUT * high or (low > 0 and size < low / OUT / 10):
            found.append((name, size))
    return found


def usual_of(steps: list[Measured]) -> dict[str, tuple[float, float]]:
    """The smallest and largest size of each tensor in some steps."""
    usual: dict[str, tuple[float, float]] = {}
    for m in steps:
        for name, size in sizes(m).items():
            if math.isfinite(size):
                low, high = usual.get(name, (math.inf, 0.0))
                usual[name] = min(low, size), max(high, size)
    return usual


def first_cause(
    run: Run, evidence: Evidence, finding: Finding, looks: Callable[[Evidence], bool], until: float
) -> Finding:
    """Add to a finding the first step and tensor that left their usual range, and who carried it.

    Args:
        run: the run.
        evidence: about it.
        finding: what was found.
        looks: whether the finding's rule finds it in evidence of a single step.
        until: when to stop, by `time.monotonic`.
    """
    if finding.step is None or not evidence.measured:
        return finding
    if finding.rule in SUDDEN:
        steps = [m for m in evidence.measured if m.step < finding.step and not m.refused]
        usual = usual_of(steps)

        def bad(m: Measured) -> bool:
            return bool(strangers(m, usual)) or bool(m.refused)
    elif finding.rule in SLOW:
        steps, usual = evidence.measured, {}

        def bad(m: Measured) -> bool:
            return bool(looks(replace(evidence, measured=[m])))
    else:
        return finding
    low = max((m.step for m in steps if not bad(m)), default=None)
    if low is None:
        return finding
    high = next((m for m in evidence.measured if m.step > low and bad(m)), None)
    if high is None:
        return finding
    while high.step - low > 1 and time.monotonic() < until:
        middle = (low + high.step) // 2
        _, cost = estimate(run, middle)
        if time.monotonic() + cost > until:
            break
        m, _ = measure(visit(go_to(run, middle, approximate=True), middle))
        if bad(m):
            high = m
        else:
            low = middle
    facts = [Fact("the last step where all was as usual", low, step=low)]
    odd = strangers(high, usual)[:1] if usual else []
    facts += [
        Fact("first tensor out of its usual range", size, _range(usual, name), high.step, name)
        for name, size in odd
    ]
    facts += carriers(run, high.step)
    return replace(finding, step=high.step, facts=(*finding.facts, *facts))


def _range(usual: dict[str, tuple[float, float]], name: str) -> str:
    low, high = usual.get(name, (math.nan, math.nan))
    return f"usual: {low:.3g} to {high:.3g}"


def carriers(run: Run, step: int) -> list[Fact]:
    """Name the examples, with their text, that made a step's largest gradient: by its receipt."""
    try:
        trace = trace_moment(go_to(run, step, approximate=True))
        names = [n for n in trace.parameters if trace[n].ref.dtype == torch.float32]
        found = []
        for name in names:
            try:
                found.append((float(trace[name].grad.value.abs().max()), name))
            except WhenceError:
                continue
        _, name = max(found)
        grad = trace[name].grad
        at = int(grad.value.abs().reshape(-1).argmax())
        number = trace.number_at(grad.ref, at)
        largest = number.attribution("example").shares[:2]
        where = number.attribution("where").shares[:1] if trace.labels.where else ()
    except (WhenceError, RuntimeError, ValueError):
        return []
    facts = [Fact("the largest gradient", number.value, "", step, number.address)]
    facts += [Fact(f"{share.label} accounts for", share.share, "of it", step) for share in largest]
    return facts + [Fact("most of it stands at", share.label, "", step) for share in where]
