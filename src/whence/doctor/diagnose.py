"""The doctor's visit: gather evidence, ask every rule, and find the first cause."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from whence.doctor import of_run, of_watched
from whence.doctor.cause import (
    TRACED,
    Again,
    first_cause,
    of_a_run,
    of_folder,
    of_kept,
)
from whence.doctor.evidence import Evidence
from whence.doctor.finding import Diagnosis, Finding
from whence.doctor.rules import RULES, Rule, ask_all
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.store.watched import is_watched
from whence.watch.again.past import Past
from whence.watch.recorder import Recorder

MOST_TRACED = 3  # findings: symptoms of one fault share what is measured on the way

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
        >>> found = diagnose("runs/watched", rules=RULES[:3])
        >>> len(found.judged) + len(found.not_judged)
        3
    """
    began = time.monotonic()
    evidence = gather(subject, seconds, tell, built)
    findings, judged, not_judged = judge(subject, evidence, rules, began + seconds, built)
    return Diagnosis(
        evidence.of,
        tuple(findings),
        tuple(evidence.looked),
        tuple(judged),
        not_judged,
        time.monotonic() - began,
    )


def judge(
    subject: Subject,
    evidence: Evidence,
    rules: Sequence[Rule] = RULES,
    until: float = math.inf,
    built: Any = None,
) -> tuple[list[Finding], list[str], dict[str, str]]:
    """Ask the rules, and trace what came suddenly back to its first cause.

    Args:
        subject: as of `diagnose`.
        evidence: about it.
        rules: which are asked.
        until: when to stop, by `time.monotonic`.
        built: as of `diagnose`.

    Returns:
        As of `ask_all`.

    Example:
        >>> findings, judged, not_judged = judge("runs/watched", gather("runs/watched"), RULES[:3])
        >>> len(judged) + len(not_judged)
        3
    """
    findings, judged, not_judged = ask_all(rules, evidence)
    again = _again(subject, built)
    if again is not None:
        findings = _with_first_cause(again, evidence, findings, rules, until)
    return findings, judged, not_judged


def _again(subject: Subject, built: Any) -> Again | None:
    """How steps of it are done again; None where it is a single step, or nothing can be."""
    if isinstance(subject, Recorder):
        return of_kept([subject.at(number) for number in subject.steps])
    if isinstance(subject, str | Path):
        folder = Path(subject)
        if is_watched(folder):
            return None if built is None else of_folder(folder, built)
        subject = Run.open(folder)
    return of_a_run(subject) if isinstance(subject, Run) else None


def _with_first_cause(
    again: Again, evidence: Evidence, findings: list[Finding], rules: Sequence[Rule], until: float
) -> list[Finding]:
    """The first findings that a bisection can trace back get their first causes."""
    by_name = {rule.name: rule for rule in rules}
    traced = [f.rule for f in findings if f.rule in TRACED][:MOST_TRACED]
    again = replace(again, measure=cache(again.measure), carriers=cache(again.carriers))

    def cause(finding: Finding) -> Finding:
        rule = by_name[finding.rule]
        return first_cause(
            again, evidence, finding, lambda e: isinstance(rule.ask(e), Finding), until
        )

    return [cause(f) if f.rule in traced else f for f in findings]


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

    Example:
        >>> evidence = gather("runs/watched")
        >>> len(evidence.loss), evidence.has("20 steps")
        (4, False)
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
