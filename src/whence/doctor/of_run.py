"""Evidence about a run of `whence train`: its record, its data, and steps done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from whence.doctor import signs
from whence.doctor.around import look_around
from whence.doctor.evidence import Evidence, Setup, Texts
from whence.doctor.measuring.measure import Visit, measure
from whence.doctor.measuring.predicted import Caught
from whence.doctor.probing import probe
from whence.doctor.texts import look_at_order, look_at_rows, look_at_text
from whence.errors import WhenceError
from whence.runs.recipe import kind_of
from whence.runs.replay import Moment, estimate, go_to
from whence.runs.run import Run
from whence.train.optimizers import OPTIMIZERS, SGDConfig
from whence.why import first_bad
from whence.why.history.moments import trace_moment

MOST_STEPS = 5
MOST_SPIKES = 2
EARLY = 2  # this many steps on, weights that began at 0 let gradients through
ROWS = 512  # examples that are compared
READS = 4  # more batches for the counts of units


def evidence_of_run(run: Run, seconds: float = 20.0, tell: Callable[[str], None] | None = None):
    """Gather evidence about a run.

    Args:
        run: the run.
        seconds: what replaying and measuring may take, about; 0: only the record is looked at.
        tell: is given a sentence before something that takes a while.

    Returns:
        The evidence.
    """
    until = time.monotonic() + seconds
    steps = run.steps
    found = Evidence(str(run.path), _setup(run))
    found.loss, found.rate = steps.column("loss"), steps.column("rate")
    found.grad_norm = steps.column("grad_norm")
    found.evals = [(e["step"], e["loss"]) for e in run.evals if not e["whole"]]
    found.looked.append(f"the record of {len(steps):,} steps, {len(found.evals)} measurements")
    if seconds <= 0:
        reason = "only the record was looked at"
        found.lacks = dict.fromkeys(("measured", "texts", "probes", "start", "two steps"), reason)
        found.crashed = signs.first_bad(found.loss)
        return found
    _texts(run, found)
    if not run.task.by_steps:
        found.lacks["measured"] = "the model was counted, so there are no steps"
        return found
    _find_crash(run, found)
    calls: list[Caught] = []
    last: Moment | None = None
    start = run.origin.step if run.origin else 0
    sudden = signs.onset(found.loss, found.grad_norm)
    # the start and the end say most, if time is short
    for step in sorted(_steps(run, found), key=lambda s: (s > start, -s)):
        n, cost = estimate(run, step) if step <= len(steps) else (0, 0.0)
        if time.monotonic() + cost > until and found.measured:
            found.lacks.setdefault("two steps", f"going back to step {step} takes {cost:.0f} s")
            found.looked.append(f"not step {step:,}: replaying {n:,} steps takes {cost:.0f} s")
            continue
        if tell is not None and n > 20:
            tell(f"going back to step {step:,} ({n:,} steps are replayed)")
        moment = go_to(run, step, approximate=True)
        one, caught = measure(visit(moment, step))
        asked = -1 if last is None else last.step
        if step >= asked and (last is None or sudden is None or step < sudden):
            last, calls = moment, caught  # a model that broke down answers no question
        found.measured.append(one)
    found.measured.sort(key=lambda m: m.step)
    if found.measured:
        told = ", ".join(f"{m.step:,}" for m in found.measured)
        found.looked.append(f"every weight, gradient and unit of step {told}, done again")
    _finish(found, last, calls)
    if last is not None:
        look_around(run, found, last, until)
    return found


def visit(moment: Moment, step: int) -> Visit:
    """Prepare a step of a run to be done under observation."""
    session, optimizer = moment.session, moment.optimizer
    decays: dict[str, float | None] = {}
    for name, parameter in optimizer.named.items():
        config = optimizer.config
        decays[name] = config.weight_decay if isinstance(config, SGDConfig) else (
            None if parameter.ndim < 2 else config.weight_decay
        )  # fmt: skip

    def do() -> float:
        return moment.do(moment.model)

    others = [step + 1 + 7 * i for i in range(READS)]
    reads = [lambda s=s: _read(session, s) for s in others]
    return Visit(step, moment.model, dict(moment.model.named_parameters()), do, decays, reads)


def _read(session: Any, step: int) -> None:
    for _, part in session.batches[step]:
        session.loss(session.model, part)


def _steps(run: Run, found: Evidence) -> list[int]:
    """Which steps to measure: those that a checkpoint leads to at once, and where signs point."""
    done = len(run.steps)
    sudden = signs.onset(found.loss, found.grad_norm)
    begins = [] if sudden is None else [sudden - 1, sudden]
    if found.crashed is not None:
        start = run.origin.step if run.origin else 0
        kept = [c for c in run.checkpoints if c < found.crashed]
        before = [s for s in (found.crashed - 1, *begins) if start <= s < found.crashed]
        return sorted({start, *kept[-1:], *before, found.crashed})
    start = run.origin.step if run.origin else 0
    saved = [c for c in run.checkpoints if start < c < done]
    spread = np.linspace(0, len(saved) - 1, min(MOST_STEPS - 2, len(saved))) if saved else []
    chosen = {start, start + EARLY, *(saved[round(i)] for i in spread), done - 1}
    spikes = signs.first_of_run(signs.spikes(found.loss))
    chosen |= {s for s in (*spikes[:MOST_SPIKES], *begins) if s >= start}
    return sorted(s for s in chosen if start <= s < max(1, done))


def _setup(run: Run) -> Setup:
    recipe = run.recipe
    optimizer = recipe.optimizer
    tasks = {"Labels": "classes"}
    return Setup(
        kind=tasks.get(type(run.task).__name__, "tokens"),
        optimizer=kind_of(optimizer, OPTIMIZERS),
        rate=optimizer.learning_rate,
        steps=recipe.steps,
        clip=optimizer.max_grad_norm,
        window=getattr(recipe.model, "context_length", 0),
        vocab_size=run.tokenizer.vocab_size,
        scheduled=recipe.schedule.kind != "constant" or recipe.schedule.warmup > 1,
        adaptive=not isinstance(optimizer, SGDConfig),
        warmup=recipe.schedule.warmup,
        tied_asked=bool(getattr(recipe.model, "tied_embeddings", False)),
        frozen_asked=recipe.change.freeze,
        sizes=recipe.to_dict(),
        is_run=True,
    )


def _texts(run: Run, found: Evidence) -> None:
    texts = found.texts = Texts()
    data, recipe = run.dataset, run.recipe
    same = data.validation is data.train
    validation = np.zeros(0, np.int64) if same else data.validation
    look_at_text(texts, data.train, validation, data.tokenizer.vocab_size, data.tokenizer.kind)
    found.looked.append(f"{len(data.train):,} training tokens and {len(validation):,} held back")
    if not run.task.by_steps:
        return
    batches, seen, rows = run.batches, set(), []
    start = run.origin.step if run.origin else 0
    for step in range(start, start + max(1, ROWS // recipe.batch_size)):
        try:
            parts = batches[step]
        except WhenceError:
            break
        for _, part in parts:
            new = [i for i, s in enumerate(part.starts) if int(s) not in seen]
            seen |= {int(s) for s in part.starts}
            if new:
                rows.append(part.inputs[new].numpy(force=True))
    if run.task.unit != "windows":  # windows overlap from epoch to epoch, by design
        look_at_rows(texts, rows)
    texts.same_batch = 0.0  # each example comes once in an epoch by its place
    texts.epochs = recipe.steps * run.task.tokens_per_step / max(1, len(data.train))
    if found.setup.window and rows and found.setup.window < 1 << 30:
        filled = [row.shape[1] for row in rows]
        texts.window = float(np.mean(filled)) / found.setup.window


def _find_crash(run: Run, found: Evidence) -> None:
    """A run that a number which isn't finite ended has a state saved where the record ends."""
    done = len(run.steps)
    bad = signs.first_bad(found.loss)
    if bad is not None:
        found.crashed = bad
    elif done < run.recipe.steps and done in run.checkpoints and run.state == "stopped":
        moment = go_to(run, done, approximate=True)
        try:
            moment.do(moment.model)
        except WhenceError:
            found.crashed = done


def _finish(found: Evidence, last: Moment | None, calls: Iterable[Caught]) -> None:
    texts = found.texts
    predictions = [m.predicted for m in found.measured if m.predicted is not None]
    if texts is not None:
        look_at_order(texts, predictions)
    found.setup.has_attention = any(m.readings for m in found.measured)
    if last is None:
        return
    model: Any = last.model
    if found.setup.tied_asked:
        found.setup.tied = model.head.weight is model.embed.weight
    call = next(iter(calls), None)
    if call is not None:
        vocab = last.tokenizer.vocab_size
        with last.session.hardware.in_force():
            found.probes = probe(model, call, vocab, found.setup.kind == "tokens")
    if found.probes is not None:
        found.looked.append("the model's answers to changed tokens")


def trace_first_bad(run: Run, step: int) -> tuple[str, str] | None:
    """Trace the step that failed, and tell the first number that wasn't finite."""
    trace = trace_moment(go_to(run, step, approximate=True))
    bad = first_bad(trace)
    return None if bad is None else (str(bad), bad.receipt.address)
