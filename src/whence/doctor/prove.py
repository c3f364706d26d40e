"""Proof of advice: the run with one change, next to the same without it, over several seeds."""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from whence.data.files import second_name
from whence.doctor.evidence import Evidence
from whence.doctor.finding import Change, Diagnosis, Finding, Outcome, Proof
from whence.doctor.of_run import evidence_of_run
from whence.doctor.rules import RULES, Rule
from whence.errors import WhenceError
from whence.runs.fork import fork
from whence.runs.recipe import Recipe
from whence.runs.run import Run
from whence.runs.settings import nested
from whence.runs.store.header import Header
from whence.runs.training.creation import now

BETTER = 0.01  # of the measure: a smaller difference is none
STEADY = 2.0  # standard deviations of the difference between seeds


def prove(
    run: Run,
    diagnosis: Diagnosis,
    seeds: int = 3,
    rules: Sequence[Rule] = RULES,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Diagnosis:
    """Try the advice of each finding that names a change.

    Args:
        run: the run.
        diagnosis: what was found in it.
        seeds: so many trainings with the change, and as many without.
        rules: those that the findings came from.
        tell: is given a sentence before each training.

    Returns:
        The diagnosis, its findings with what came of it.

    Example:
        >>> run = Run.open("runs/mine")
        >>> nothing = Diagnosis("runs/mine", (), (), (), {})
        >>> len(prove(run, nothing))  # no finding, so no training
        0
    """
    by_name = {rule.name: rule for rule in rules}
    found = []
    for finding in diagnosis.findings:
        if finding.change is None or finding.level != "act":
            found.append(finding)
            continue
        tell(f"trying: {finding.advice} [{finding.rule}]")
        found.append(replace(finding, proof=try_change(run, finding, by_name[finding.rule], seeds)))
    return replace(diagnosis, findings=tuple(found))


def try_change(run: Run, finding: Finding, rule: Rule, seeds: int = 3) -> Proof:
    """Train with a finding's change and without it, and judge by loss and by the rule itself.

    From a change at a later step the run is forked there; a change from the first weights on is a
    new run on the same tokens. Seeds after the run's own change the first weights, or in a fork
    the order of the windows.

    Args:
        run: the run.
        finding: has a `change`.
        rule: which is asked again.
        seeds: how many.

    Example:
        >>> from whence.doctor import Change, Finding, Rule
        >>> unknown = Change({"optimizer.lr": 1e-4})
        >>> finding = Finding("the rate is high", "act", (), "lower it", change=unknown)
        >>> rule = Rule(lambda evidence: None, ("record",))
        >>> proof = try_change(Run.open("runs/mine"), finding, rule, seeds=1)
        >>> proof.outcome, proof.detail.partition(":")[0]
        ('no difference', "the change can't be tried")
    """
    assert finding.change is not None
    change, folder = finding.change, Path(tempfile.mkdtemp(prefix="whence-doctor-"))
    with_change, control, still, before = [], [], 0, 0
    try:
        for number in range(seeds):
            seed = run.recipe.seed + number
            for settings, measures in ((change.settings, with_change), ({}, control)):
                there, loss = _train(run, change, {**settings, "seed": seed}, folder)
                measures.append(loss)
                has = there is None or _still(there, rule)
                if settings:
                    still += has
                else:
                    before += has
    except WhenceError as error:
        return Proof("no difference", (), (), "", f"the change can't be tried: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _judged(with_change, control, still, before, finding.flatters)


def _judged(
    with_change: list[float], control: list[float], still: int, before: int, flatters: bool
) -> Proof:
    n = len(control)
    gains = [c - w for w, c in zip(with_change, control, strict=True)]
    finite = [g for g in gains if math.isfinite(g)]
    mean = statistics.fmean(finite) if finite else 0.0
    spread = statistics.stdev(finite) / math.sqrt(len(finite)) if len(finite) > 1 else 0.0
    scale = statistics.median([abs(c) for c in control if math.isfinite(c)] or [1.0])
    saved = sum(math.isfinite(w) and not math.isfinite(c)
                for w, c in zip(with_change, control, strict=True))  # fmt: skip
    clear = abs(mean) > max(BETTER * scale, STEADY * spread)
    outcome: Outcome = "no difference"
    if still == 0 and before > 0 and (flatters or not (clear and mean < 0)):
        outcome = "cured"
    elif saved or (clear and mean > 0):
        outcome = "better"
    elif clear or any(math.isinf(w) and math.isfinite(c)
                      for w, c in zip(with_change, control, strict=True)):  # fmt: skip
        outcome = "worse"
    detail = (
        f"loss {_mean(with_change)} with the change, {_mean(control)} without, over {n} seeds; the "
        f"finding is there in {still} of {n} with it and in {before} of {n} without"
    )
    if flatters:
        detail += "; the fault flatters the loss, which is not held against the cure"
    return Proof(outcome, tuple(with_change), tuple(control), "loss on validation", detail)


def _mean(losses: list[float]) -> str:
    finite = [x for x in losses if math.isfinite(x)]
    if len(finite) < len(losses):
        return "not finite"
    spread = f" ± {statistics.stdev(finite):.2g}" if len(finite) > 1 else ""
    return f"{statistics.fmean(finite):.4g}{spread}"


def _train(
    run: Run, change: Change, settings: Mapping[str, Any], folder: Path
) -> tuple[Run | None, float]:
    """Train with some settings; return the run, None if it didn't finish, and its loss."""
    path = folder / f"{len(list(folder.iterdir())):03d}"
    start = run.origin.step if run.origin else 0
    if change.step > start or run.origin is not None or 0 in run.checkpoints:
        made = fork(run, max(change.step, start), path, settings, approximate=True)
    else:
        made = fresh(run, Recipe.from_dict(nested(settings), run.recipe), path)
    try:
        for _ in made.train():
            pass
    except WhenceError:
        return None, math.inf
    done = Run.open(path)
    evals = [e["loss"] for e in done.evals]
    loss = evals[-1] if evals else float(done.steps.column("loss")[-5:].mean())
    return done, loss if math.isfinite(loss) else math.inf


def fresh(run: Run, recipe: Recipe, path: Path) -> Run:
    """Make a new run on the tokens of another.

    Args:
        run: the other.
        recipe: how to train.
        path: the folder, not there yet.

    Example:
        >>> run = Run.open("runs/mine")
        >>> other = fresh(run, replace(run.recipe, seed=1), Path(tempfile.mkdtemp()) / "other")
        >>> other.recipe.seed, other.dataset.tokenizer.kind == run.tokenizer.kind
        (1, True)
    """

    def fill(folder: Path) -> Header:
        for name in ("tokenizer.json", "tokens.json"):
            shutil.copyfile(run.path / name, folder / name)
        second_name(run.path / "tokens.bin", folder / "tokens.bin")
        return Header(recipe, now())

    return Run.make(path, fill)


def _still(run: Run, rule: Rule) -> bool:
    """Whether a rule finds in a run what it found before."""
    evidence: Evidence = evidence_of_run(run, 10.0)
    answer = rule.ask(evidence)
    return isinstance(answer, Finding)
