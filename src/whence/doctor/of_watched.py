"""Evidence about a loop that is watched, or about the one step that a crash left on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from whence.doctor import signs
from whence.doctor.evidence import Evidence, Texts
from whence.doctor.measuring.measure import Visit, measure
from whence.doctor.measuring.measured import Measured
from whence.doctor.measuring.predicted import Caught
from whence.doctor.probing import probe
from whence.doctor.texts import look_at_order, look_at_rows, look_at_sizes
from whence.doctor.watched_setup import inputs_of, setup_of, vocabulary_used
from whence.errors import WhenceError
from whence.runs.store.records.record import Logs
from whence.runs.store.watched import Watched
from whence.watch.again.past import Past
from whence.watch.again.redo import Redo
from whence.watch.again.reopen import open_step, stored_steps
from whence.watch.recorder import Recorder
from whence.watch.step.events import Backward, Call, Step

MOST_STEPS = 6
READS = 4


def evidence_of_recorder(recorder: Recorder, seconds: float = 20.0) -> Evidence:
    """Gather evidence about a loop that is being watched, or was until now.

    Args:
        recorder: what `whence.watch` gave.
        seconds: what doing steps again may take, about.
    """
    found = Evidence(str(recorder.path))
    _record(found, recorder.path)
    kept = [recorder.at(number) for number in recorder.steps]
    found.looked.append(f"{len(kept)} steps that are in memory")
    return _of_steps(found, kept, time.monotonic() + seconds)


def _of_steps(found: Evidence, kept: list[Past], until: float) -> Evidence:
    """Measure some of the steps that can be done again, until the time is up."""
    if found.crashed is not None:
        found.lacks["measured"] = "the step that failed is the only one"
    chosen = _chosen(found, [past.step for past in kept])
    calls: list[Caught] = []
    redone: Redo | None = None
    sudden = signs.onset(found.loss, found.grad_norm)
    for i in chosen:
        if time.monotonic() > until and len(found.measured) > 1:
            found.looked.append(f"not step {kept[i].step.number:,}: the time was up")
            break
        one, again, caught = measure_at(kept, i)
        found.measured.append(one)
        if redone is None or sudden is None or kept[i].step.number < sudden:
            redone, calls = again, caught  # a model that broke down answers no question
    _finish(found, redone, calls, [past.step for past in kept])
    return found


def evidence_of_past(past: Past) -> Evidence:
    """Gather evidence about one step, such as `open_crash` returns."""
    found = Evidence(f"step {past.step.number:,}")
    found.lacks["record"] = "a single step was kept"
    one, redone, calls = _measure(past, None, [])
    found.measured.append(one)
    if found.measured[0].refused or not np.isfinite(found.measured[0].seen):
        found.crashed = past.step.number
    found.looked.append(f"step {past.step.number:,}, done again")
    _finish(found, redone, calls, [past.step])
    return found


def evidence_of_folder(folder: Path, built: Any = None, seconds: float = 20.0) -> Evidence:
    """Gather evidence about a watched loop of which only the folder is there.

    Args:
        folder: the run's.
        built: what its model is built by, as `whence.watch.open_step` takes it; none: only the
            record is read.
        seconds: what doing stored steps again may take, about.
    """
    until = time.monotonic() + seconds
    found = Evidence(str(folder))
    _record(found, folder)
    found.setup.optimizer = ", ".join(Watched.read(folder).optimizers)
    stored = stored_steps(folder)
    if built is None or not stored:
        reason = (
            "only your code can build the model: give --model my_module:build to do its steps again"
            if stored
            else "the loop stored no steps: watch(keep='every 100') stores some, and "
            "diagnose(recorder) measures while the loop runs"
        )
        found.lacks = dict.fromkeys(("measured", "probes", "texts", "start", "two steps"), reason)
        return found
    kept = [open_step(folder, number, built)[0] for number in _near(found, stored)]
    found.looked.append(f"{len(stored):,} stored steps")
    found = _of_steps(found, kept, until)
    if found.crashed is not None and kept[-1].step.number == found.crashed:
        found.first_bad = trace_first_bad(kept[-1])
    return found


def _near(found: Evidence, stored: list[int]) -> list[int]:
    """Which stored steps are read: to the crash, or spread, at spikes, each with the one before."""
    if found.crashed is not None:
        stored = [step for step in stored if step <= found.crashed] or stored[:1]
    spread = {stored[round(i)] for i in np.linspace(0, len(stored) - 1, MOST_STEPS - 1)}
    chosen = spread | {stored[-1]} | set(signs.first_of_run(signs.spikes(found.loss))[:2])
    return [step for step in stored if step in chosen or step + 1 in chosen]


def _record(found: Evidence, folder: Path) -> None:
    steps = Logs(folder).read_steps()
    found.loss, found.rate = steps.column("loss"), steps.column("rate")
    found.grad_norm = steps.column("grad_norm")
    found.looked.append(f"the record of {len(steps):,} steps")
    if len(steps) and not np.isfinite(found.loss).any():
        found.lacks["losses"] = "the loop never told its loss: recorder.log(loss=loss) does"
        found.loss = np.zeros(0)
    bad = [
        b for b in (signs.first_bad(found.loss), signs.first_bad(found.grad_norm)) if b is not None
    ]
    found.crashed = min(bad) if bad else None


def _chosen(found: Evidence, steps: list[Step]) -> list[int]:
    """Which of the steps in memory are measured."""
    usable = [i for i, step in enumerate(steps) if not step.lost and step.calls]
    if not usable:
        return []
    begins = signs.onset(found.loss, found.grad_norm)
    sudden = {i for i in usable if begins is not None and 0 <= begins - steps[i].number <= 1}
    if found.crashed is not None:
        at = next((i for i in usable if steps[i].number >= found.crashed), usable[-1])
        early = {i for i in usable[1:4] if steps[i].number < found.crashed - 1}
        return sorted({usable[0], max(usable[0], at - 1), at} | sudden | early)
    spread = np.linspace(0, len(usable) - 1, min(MOST_STEPS - 1, len(usable)))
    chosen = {usable[round(i)] for i in spread} | sudden
    if len(usable) > 1:
        chosen.add(usable[1])
    for step in signs.first_of_run(signs.spikes(found.loss))[:2]:
        chosen |= {i for i in usable if steps[i].number == step}
    return sorted(chosen)


def measure_at(kept: list[Past], i: int) -> tuple[Measured, Redo, list[Caught]]:
    """Do one of the steps that are kept again, and measure it.

    Returns:
        What was measured, what it was done on, and the calls of the model.
    """
    number = kept[i].step.number
    before = kept[i - 1].step if i and kept[i - 1].step.number == number - 1 else None
    others = [s.step for s in kept[max(0, i - READS) : i + READS + 1] if s is not kept[i]]
    return _measure(kept[i], before, others)


def _measure(
    past: Past, before: Step | None, others: list[Step]
) -> tuple[Measured, Redo, list[Caught]]:
    redone = past.prepare()
    world, copies, step = redone.world, redone.copies, past.step
    names = world.names
    models = copies.models
    model: Any = next(iter(models.values())) if len(models) == 1 else nn.ModuleDict(models)
    decays: dict[str, float | None] = {}
    for update in step.updates:
        groups = copies.optimizers[update.optimizer].param_groups
        for group, settings in zip(groups, update.settings, strict=True):
            for p in group["params"]:
                number = next((n for n, q in enumerate(copies.parameters) if q is p), None)
                if number is not None:
                    decays[names[number]] = float(settings.get("weight_decay", 0.0) or 0.0)
    backward = next((e for e in step.events if isinstance(e, Backward) and e.adds), None)
    began = {
        names[n]: g
        for n, g in (backward.before if backward else {}).items()
        if g is not None and not g.is_sparse and bool(g.count_nonzero())
    }
    last = {
        names[n]: g
        for update in (before.updates if before else [])
        for n, g in update.gradients.items()
        if g is not None
    }
    seen = {
        names[n]: g for update in step.updates for n, g in update.gradients.items() if g is not None
    }
    calls = [c for other in others for c in other.calls]
    reads = [lambda c=c: _read(models, c) for c in calls]
    visit = Visit(
        step.number, model, dict(zip(names, copies.parameters, strict=True)),
        lambda: _do(redone, step), decays, reads, began, last, seen,
    )  # fmt: skip
    one, caught = measure(visit)
    one.multiplied_by = redone.multiplied_by
    unseen = [u for u in step.updates if not any(g is not None for g in u.gradients.values())]
    one.cleared = bool(unseen) and backward is not None and len(unseen) == len(step.updates)
    if not one.cleared and backward is not None and one.seen == 0:
        one.cleared = True
    return one, redone, caught


def _do(redone: Redo, step: Step) -> float | None:
    redone.run()
    return None if step.loss is None else float(step.loss)


def _read(models: dict[str, nn.Module], call: Call) -> None:
    model = list(models.values())[call.model]
    modes = [m.training for m in model.modules()]
    model.eval()
    try:
        model(*call.args, **call.kwargs)
    finally:
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode


def _finish(found: Evidence, redone: Redo | None, calls: list[Caught], steps: list[Step]) -> None:
    predictions = [m.predicted for m in found.measured if m.predicted is not None]
    texts = found.texts = Texts()
    read = [(b, step.number) for step in steps if step.calls and (b := inputs_of(step)) is not None]
    batches, numbers = [batch for batch, _ in read], [number for _, number in read]
    look_at_rows(texts, batches, numbers)
    look_at_sizes(texts, batches, numbers)
    look_at_order(texts, predictions)
    setup = found.setup = setup_of(found, redone, steps)
    if redone is None:
        return
    if any(isinstance(c.args, tuple) and c.tokens is not None for c in calls):
        texts.vocabulary = vocabulary_used(steps, setup.vocab_size)
        if setup.window:
            lengths = [c.tokens.shape[1] for c in calls if c.tokens is not None]
            texts.window = float(np.mean(lengths)) / setup.window
    call = next((c for c in calls if c.tokens is not None), None)
    model = next(iter(redone.copies.models.values()))
    if call is not None and setup.vocab_size:
        found.probes = probe(model, call, setup.vocab_size, setup.kind == "tokens")
        if found.probes is not None:
            found.looked.append("the model's answers to changed tokens")
            _count_padding(found, call)


def _count_padding(found: Evidence, call: Caught) -> None:
    """How many of the positions that are padding have a target that counts."""
    from whence.doctor.probing import Asked, _mask, _tail

    p = found.measured[-1].predicted
    if found.probes is None or p is None or p.tokens is None or call.tokens is None:
        return
    asked = Asked(nn.Identity(), call)
    asked.tokens, asked.n = call.tokens, len(call.tokens)
    mask = _mask(asked)
    pad = ~mask if mask is not None else _tail(call.tokens)
    flat = pad.reshape(-1).numpy(force=True)
    counted = p.targets[-len(flat) :] >= 0
    if flat.any() and len(counted) == len(flat):
        found.probes.pad_counted = float(counted[flat].mean())


def trace_first_bad(past: Past) -> tuple[str, str] | None:
    """Trace a step that failed, and tell the first number that wasn't finite."""
    from whence.why import first_bad

    try:
        bad = first_bad(past.trace())
    except (WhenceError, RuntimeError, ValueError):
        return None
    return None if bad is None else (str(bad), bad.receipt.address)
