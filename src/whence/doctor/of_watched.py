"""Evidence about a loop that is watched, or about the one step that a crash left on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whence.doctor import signs
from whence.doctor.evidence import Evidence, Setup, Texts
from whence.doctor.measure import Visit, measure
from whence.doctor.predicted import Caught
from whence.doctor.probing import probe
from whence.doctor.texts import look_at_order, look_at_rows
from whence.errors import WhenceError
from whence.runs.store.record import Logs
from whence.runs.store.watched import Watched
from whence.watch.events import Backward, Call, Step
from whence.watch.past import Past
from whence.watch.recorder import Recorder
from whence.watch.redo import Redo
from whence.watch.reopen import open_step, stored_steps

MOST_STEPS = 6
READS = 4
WINDOWS = ("context_length", "max_position_embeddings", "n_positions", "block_size")


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
    for i in chosen:
        if time.monotonic() > until and len(found.measured) > 1:
            found.looked.append(f"not step {kept[i].step.number:,}: the time was up")
            break
        number = kept[i].step.number
        before = kept[i - 1].step if i and kept[i - 1].step.number == number - 1 else None
        other = [s.step for s in kept[max(0, i - READS) : i + READS + 1] if s is not kept[i]]
        redone, calls = _measure(found, kept[i], before, other)
    _finish(found, redone, calls, [past.step for past in kept])
    return found


def evidence_of_past(past: Past) -> Evidence:
    """Gather evidence about one step, such as `open_crash` returns."""
    found = Evidence(f"step {past.step.number:,}")
    found.lacks["record"] = "a single step was kept"
    redone, calls = _measure(found, past, None, [])
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
    if found.crashed is not None:
        at = next((i for i in usable if steps[i].number >= found.crashed), usable[-1])
        return sorted({usable[0], max(usable[0], at - 1), at})
    spread = np.linspace(0, len(usable) - 1, min(MOST_STEPS - 1, len(usable)))
    chosen = {usable[round(i)] for i in spread}
    if len(usable) > 1:
        chosen.add(usable[1])
    for step in signs.first_of_run(signs.spikes(found.loss))[:2]:
        chosen |= {i for i in usable if steps[i].number == step}
    return sorted(chosen)


def _measure(
    found: Evidence, past: Past, before: Step | None, others: list[Step]
) -> tuple[Redo, list[Caught]]:
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
    unseen = [u for u in step.updates if not any(g is not None for g in u.gradients.values())]
    one.cleared = bool(unseen) and backward is not None and len(unseen) == len(step.updates)
    if not one.cleared and backward is not None and one.seen == 0:
        one.cleared = True
    found.measured.append(one)
    return redone, caught


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
    batches = [_inputs(step) for step in steps if step.calls]
    look_at_rows(texts, [b for b in batches if b is not None])
    look_at_order(texts, predictions)
    setup = found.setup = _setup(found, redone, steps)
    if redone is None:
        return
    if any(isinstance(c.args, tuple) and c.tokens is not None for c in calls):
        texts.vocabulary = _vocabulary(steps, setup.vocab_size)
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


def _inputs(step: Step) -> np.ndarray | None:
    """What a step's calls read, an example a row."""
    rows = []
    for call in step.calls:
        value = next(
            (v for v in (*call.args, *call.kwargs.values()) if isinstance(v, Tensor)), None
        )
        if value is not None and value.ndim >= 1:
            whole = value.detach().reshape(len(value), -1)
            whole = whole.float() if whole.is_floating_point() else whole  # NumPy has no bfloat16
            rows.append(whole.numpy(force=True))
    widths = {r.shape[1] for r in rows}
    return np.concatenate(rows) if len(widths) == 1 else (rows[0] if rows else None)


def _vocabulary(steps: list[Step], vocab_size: int) -> float:
    ids = [
        v.reshape(-1)
        for step in steps
        for call in step.calls
        for v in (*call.args, *call.kwargs.values())
        if isinstance(v, Tensor) and v.dtype == torch.int64 and v.ndim == 2
    ]
    if not ids or not vocab_size:
        return float("nan")
    seen = torch.cat(ids)
    return len(seen[(seen >= 0) & (seen < vocab_size)].unique()) / vocab_size


def _setup(found: Evidence, redone: Redo | None, steps: list[Step]) -> Setup:
    setup = Setup()
    setup.has_attention = any(m.readings for m in found.measured)
    p = next((m.predicted for m in found.measured if m.predicted is not None), None)
    if p is not None and p.known:
        setup.kind = "tokens" if p.tokens is not None else "classes"
    if redone is None:
        return setup
    optimizers = redone.world.optimizers
    setup.optimizer = ", ".join(type(o).__name__ for o in optimizers)
    setup.adaptive = any("Adam" in type(o).__name__ for o in optimizers)
    updates = [u for step in steps for u in step.updates]
    if updates:
        group = updates[-1].settings[0]
        setup.rate = float(group.get("initial_lr", group.get("lr", float("nan"))))
        setup.scheduled = "initial_lr" in group
    for model in redone.copies.models.values():
        tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
        if tables:
            setup.vocab_size = tables[0].num_embeddings
        config = getattr(model, "config", None)
        setup.window = next(
            (int(w) for n in WINDOWS if isinstance(w := getattr(config, n, None), int)), 0
        )
        _ties(setup, model, config)
    return setup


def _ties(setup: Setup, model: nn.Module, config: Any) -> None:
    asked = getattr(config, "tie_word_embeddings", getattr(config, "tied_embeddings", False))
    if not asked:
        return
    try:
        theirs: Any = model  # transformers' models have these two
        given, taken = theirs.get_input_embeddings(), theirs.get_output_embeddings()
    except (AttributeError, NotImplementedError):  # others, and those without embeddings
        given, taken = getattr(model, "embed", None), getattr(model, "head", None)
    if given is not None and taken is not None:
        setup.tied_asked, setup.tied = True, given.weight is taken.weight


def trace_first_bad(past: Past) -> tuple[str, str] | None:
    """Trace a step that failed, and tell the first number that wasn't finite."""
    from whence.why import first_bad

    try:
        bad = first_bad(past.trace())
    except (WhenceError, RuntimeError, ValueError):
        return None
    return None if bad is None else (str(bad), bad.receipt.address)
