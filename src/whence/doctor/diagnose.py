"""The doctor's visit: gather evidence, ask every rule, and find the first cause."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from whence.doctor import of_run, of_watched
from whence.doctor.cause import SLOW, SUDDEN, first_cause
from whence.doctor.evidence import Evidence
from whence.doctor.finding import Diagnosis, Finding
from whence.doctor.rules import RULES, Rule, ask_all
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.watched import is_watched
from whence.watch.past import Past
from whence.watch.recorder import Recorder

Subject = Run | Recorder | Past | Path | str


def diagnose(
    subject: Subject,
    *,
    seconds: float = 20.0,
    built: Any = None,
    rules: Sequence[Rule] = RULES,
    tell: Callable[[str], None] | None = None,
) -> Diagnosis:
    """Say what is wrong with a training, and on what that rests.

    Args:
        subject: a run; the recorder of a watched loop; a step that `open_crash` gave; or a folder
            of any of these.
        seconds: what replaying and measuring may take, about.
        built: for the folder of a watched loop, the model that its stored steps are done again
            with: built as it was; (model, optimizer); or a dict, as `whence.watch.open_step` takes.
        rules: which rules are asked.
        tell: is given a sentence before something that takes a while.

    Returns:
        The findings, worst first, what was looked at, and what could not be judged.

    Raises:
        WhenceError: the folder isn't a run.

    Example:
        >>> print(diagnose("runs/mine"))  # doctest: +SKIP
    """
    began = time.monotonic()
    evidence = gather(subject, seconds, tell, built)
    findings, judged, not_judged = ask_all(rules, evidence)
    if isinstance(subject, str | Path) and not is_watched(Path(subject)):
        subject = Run.open(subject)
    if isinstance(subject, Run):
        findings = _with_first_cause(subject, evidence, findings, rules, began + seconds)
    return Diagnosis(
        evidence.of,
        tuple(findings),
        tuple(evidence.looked),
        tuple(judged),
        not_judged,
        time.monotonic() - began,
    )


def _with_first_cause(
    run: Run, evidence: Evidence, findings: list[Finding], rules: Sequence[Rule], until: float
) -> list[Finding]:
    """The first finding that a bisection can trace back gets its first cause."""
    by_name = {rule.name: rule for rule in rules}
    traced = next((f for f in findings if f.rule in SUDDEN | SLOW), None)
    if traced is None:
        return findings
    rule = by_name[traced.rule]
    found = first_cause(run, evidence, traced, lambda e: isinstance(rule.ask(e), Finding), until)
    return [found if f is traced else f for f in findings]


def gather(
    subject: Subject,
    seconds: float = 20.0,
    tell: Callable[[str], None] | None = None,
    built: Any = None,
) -> Evidence:
    """Gather the evidence that the rules look at.

    Args:
        subject: as of `diagnose`.
        seconds: as of `diagnose`.
        tell: as of `diagnose`.
        built: as of `diagnose`.
    """
    if isinstance(subject, str | Path):
        folder = Path(subject)
        if is_watched(folder):
            return of_watched.evidence_of_folder(folder, built, seconds)
        subject = Run.open(folder)
    if isinstance(subject, Recorder):
        return _with_cause(of_watched.evidence_of_recorder(subject, seconds), subject)
    if isinstance(subject, Past):
        evidence = of_watched.evidence_of_past(subject)
        if evidence.crashed is not None:
            evidence.first_bad = of_watched.trace_first_bad(subject)
        return evidence
    evidence = of_run.evidence_of_run(subject, seconds, tell)
    if evidence.crashed is not None:
        try:
            evidence.first_bad = of_run.trace_first_bad(subject, evidence.crashed)
        except WhenceError as error:
            evidence.lacks["cause"] = str(error)
    return evidence


def _with_cause(evidence: Evidence, recorder: Recorder) -> Evidence:
    if evidence.crashed is not None and evidence.crashed in recorder.steps:
        evidence.first_bad = of_watched.trace_first_bad(recorder.at(evidence.crashed))
    return evidence
