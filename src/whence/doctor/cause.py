"""The first cause: the first step and tensor that leave their usual range, by bisection."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from whence.doctor import signs
from whence.doctor.evidence import Evidence
from whence.doctor.finding import Fact, Finding
from whence.doctor.measuring.measure import measure
from whence.doctor.measuring.measured import Measured
from whence.doctor.of_run import visit
from whence.doctor.of_watched import measure_at
from whence.errors import WhenceError
from whence.runs.replay import estimate, go_to
from whence.runs.run import Run
from whence.watch.again.past import Past
from whence.watch.again.reopen import open_step, stored_steps
from whence.why.history.moments import trace_moment
from whence.why.trace import Trace

OUT = 4.0  # times the largest, or below a quarter of the smallest, that was seen before: ours
SUDDEN = {"spike", "diverging", "exploding-gradients", "not-finite", "logit-drift"}
SLOW = {"update-too-large", "loss-rescaled", "dead-units", "saturated-units", "attention-collapse"}
# what one step does wrong and the step before it did not: no number grew, so nobody carried it
SWITCHED = {"gradients-not-cleared", "idle-dropout", "frozen-but-moved", "trains-though-frozen"}
TRACED = SUDDEN | SLOW | SWITCHED


def sizes(m: Measured) -> dict[str, float]:
    """The sizes of a step's tensors by name, in the order in which they are computed."""
    found: dict[str, float] = {}
    found.update(dict.fromkeys(m.bad_outputs, math.nan))
    for unit in m.units:
        if math.isfinite(unit.rms):  # else it may be the batch of another step, read beside it
            found[unit.name] = unit.rms
    for flow in m.flows:
        found[flow.name] = flow.rms
    if m.predicted is not None:
        found["logits"] = m.predicted.largest
    for w in m.weights.values():
        if math.isfinite(w.grad_norm):
            found[f"{w.name}.grad"] = w.grad_norm
    for w in m.weights.values():
        if w.update_rms > 0:
            found[f"{w.name}.update"] = w.update_rms
    return found


def strangers(m: Measured, usual: dict[str, tuple[float, float]]) -> list[tuple[str, float]]:
    """The tensors of a step that are out of their usual range, the first computed first."""
    found = []
    for name, size in sizes(m).items():
        low, high = usual.get(name, (0.0, math.inf))
        if name.endswith((".grad", ".update")):
            low = 0.0  # which become small where training goes well
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


@dataclass(frozen=True, slots=True)
class Again:
    """How steps of a training are done again.

    Attributes:
        steps: those that can be, in order.
        measure: does one and measures it.
        cost: about how many seconds that takes.
        carriers: names the examples that made a step's largest gradient.
    """

    steps: Sequence[int]
    measure: Callable[[int], Measured]
    cost: Callable[[int], float]
    carriers: Callable[[int], list[Fact]]


def first_cause(
    again: Again, evidence: Evidence, finding: Finding, looks: Callable[[Evidence], bool],
    until: float,
) -> Finding:  # fmt: skip
    """Add to a finding the first step and tensor that left their usual range, and who carried it.

    Args:
        again: how steps are done again.
        evidence: about the training.
        finding: what was found.
        looks: whether the finding's rule finds it in evidence.
        until: when to stop, by `time.monotonic`.
    """
    if finding.step is None or not evidence.measured:
        return finding
    if finding.rule in SUDDEN:
        start = signs.onset(evidence.loss, evidence.grad_norm)
        start = finding.step if start is None else min(start, finding.step)
        steps = [m for m in evidence.measured if m.step < start and not m.refused]
        usual = usual_of(steps)

        def bad(m: Measured) -> bool:
            return bool(strangers(m, usual)) or bool(m.refused)
    elif finding.rule in SLOW | SWITCHED:
        usual = {}

        def bad(m: Measured) -> bool:
            several = sorted({m.step: m, evidence.first.step: evidence.first}.items())
            return looks(replace(evidence, measured=[one for _, one in several]))
    else:
        return finding
    high = next((m for m in evidence.measured if bad(m)), None)
    if high is None or high.step <= evidence.first.step:
        return finding
    low = max(m.step for m in evidence.measured if m.step < high.step)
    low, high = _halve(again, low, high, bad, until)
    facts = [Fact("the last step where all was as usual", low, step=low)]
    odd = strangers(high, usual)[:1] if usual else []
    facts += [
        Fact("first tensor out of its usual range", size, _range(usual, name), high.step, name)
        for name, size in odd
    ]
    if finding.rule not in SWITCHED:
        facts += again.carriers(high.step)
    return replace(finding, step=high.step, facts=(*finding.facts, *facts))


def _halve(
    again: Again, low: int, high: Measured, bad: Callable[[Measured], bool], until: float
) -> tuple[int, Measured]:
    """Halve the distance from a good step to a bad one, as far as steps and time go."""
    while between := [s for s in again.steps if low < s < high.step]:
        middle = between[len(between) // 2]
        if time.monotonic() + again.cost(middle) > until:
            break
        m = again.measure(middle)
        if bad(m):
            high = m
        else:
            low = middle
    return low, high


def of_a_run(run: Run) -> Again:
    """Any step of a run is replayed from the checkpoint before it."""
    start = run.origin.step if run.origin else 0
    return Again(
        range(start, len(run.steps) + 1),
        lambda step: measure(visit(go_to(run, step, approximate=True), step))[0],
        lambda step: estimate(run, step)[1],
        lambda step: carriers(lambda: trace_moment(go_to(run, step, approximate=True)), step),
    )


def of_kept(kept: list[Past]) -> Again:
    """The steps of a watched loop that are in memory or on disk, and no others."""
    at = {past.step.number: i for i, past in enumerate(kept)}
    usable = [past.step.number for past in kept if not past.step.lost and past.step.calls]
    return Again(
        usable,
        lambda step: measure_at(kept, at[step])[0],
        lambda step: 0.0,
        lambda step: carriers(kept[at[step]].trace, step),
    )


def of_folder(folder: Path, built: Any) -> Again:
    """The steps of a watched loop that its folder keeps, read when they are needed."""
    stored = stored_steps(folder)

    def near(step: int) -> tuple[list[Past], int]:
        numbers = [n for n in stored if 0 <= step - n <= 1]
        return [open_step(folder, n, built)[0] for n in numbers], len(numbers) - 1

    return Again(
        stored,
        lambda step: measure_at(*near(step))[0],
        lambda step: 0.0,
        lambda step: carriers(open_step(folder, step, built)[0].trace, step),
    )


def _range(usual: dict[str, tuple[float, float]], name: str) -> str:
    low, high = usual.get(name, (math.nan, math.nan))
    return f"usual: {low:.3g} to {high:.3g}"


def carriers(traced: Callable[[], Trace], step: int) -> list[Fact]:
    """Name the examples, with their text, that made a step's largest gradient: by its receipt."""
    try:
        trace = traced()
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
    return facts + [Fact("where most of it is", share.label, "", step) for share in where]
