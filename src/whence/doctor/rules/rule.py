"""A rule: a function of the evidence, what it needs, and where its threshold comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from whence.doctor.evidence import Evidence
from whence.doctor.finding import Finding


@dataclass(frozen=True)
class Rule:
    """One thing that the doctor looks for.

    Attributes:
        look: evidence → a finding, or None where all is well. Its name is the rule's, and its
            docstring says what the rule is about.
        needs: kinds of evidence without which it can't judge; names of `NEEDS`.
        source: where its threshold comes from; "ours" where none is published.

    Example:
        >>> def too_long(e: Evidence) -> Finding | None:
        ...     "A run of more than a million steps."
        ...     return Finding("very long", "watch", (), "stop") if len(e.loss) > 1e6 else None
        >>> Rule(too_long, ("record",), "ours").name
        'too-long'
    """

    look: Callable[[Evidence], Finding | None]
    needs: tuple[str, ...]
    source: str = "ours"

    @property
    def name(self) -> str:
        """Its name, such as `loss-at-start`."""
        return self.look.__name__.replace("_", "-")

    @property
    def about(self) -> str:
        """What it is about, in one sentence."""
        return " ".join((self.look.__doc__ or "").split())

    def ask(self, evidence: Evidence) -> Finding | str | None:
        """Judge the evidence.

        Returns:
            A finding; None where all is well; or why it can't be judged.
        """
        for need in self.needs:
            if not evidence.has(need):
                return evidence.why_not(need)
        found = self.look(evidence)
        return None if found is None else replace(found, rule=self.name)


def ask_all(
    rules: Sequence[Rule], evidence: Evidence
) -> tuple[list[Finding], list[str], dict[str, str]]:
    """Ask rules, and return the findings (worst first), who could judge, and who could not.

    Args:
        rules: which.
        evidence: what they look at.

    Example:
        >>> def no_steps(e: Evidence) -> Finding | None:
        ...     "A run that did nothing."
        ...     return None if len(e.loss) else Finding("no steps", "act", (), "train it")
        >>> found, judged, not_judged = ask_all([Rule(no_steps, ())], Evidence("runs/mine"))
        >>> found[0].rule, judged, not_judged
        ('no-steps', ['no-steps'], {})
    """
    findings, judged, not_judged = [], [], {}
    for rule in rules:
        answer = rule.ask(evidence)
        if isinstance(answer, str):
            not_judged[rule.name] = answer
            continue
        judged.append(rule.name)
        if answer is not None:
            findings.append(answer)
    findings.sort(key=lambda f: (f.level != "act", -f.weight))
    return findings, judged, not_judged
