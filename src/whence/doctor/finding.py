"""What the doctor says: findings with their numbers, and what it looked at to say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from whence.receipt.figures import figure, finite

Level = Literal["act", "watch"]
Outcome = Literal["cured", "better", "no difference", "worse"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One number that a finding rests on.

    Attributes:
        what: in a few words.
        value: the number, or the words where it is none.
        limit: what it is held against; empty: nothing.
        step: of which step it is; None: of none in particular.
        address: where it can be opened, such as `blocks.0.mlp.up.weight`; empty: nowhere.

    Example:
        >>> print(Fact("loss", 9.5, "ln 65 = 4.17", step=0))
        loss at step 0: 9.5 (ln 65 = 4.17)
    """

    what: str
    value: float | str
    limit: str = ""
    step: int | None = None
    address: str = ""

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, str) else figure(float(f"{self.value:.4g}"))
        where = f" of {self.address}" if self.address else ""
        when = f" at step {self.step:,}" if self.step is not None else ""
        limit = f" ({self.limit})" if self.limit else ""
        return f"{self.what}{where}{when}: {value}{limit}"


@dataclass(frozen=True, slots=True)
class Change:
    """The one change that is tried to prove a finding's advice.

    Attributes:
        settings: dotted fields of the recipe → values.
        step: the fork parts here from the run; 0: a new run.

    Example:
        >>> dict(Change({"optimizer.learning_rate": 1e-4}, step=200).settings)
        {'optimizer.learning_rate': 0.0001}
    """

    settings: Mapping[str, Any]
    step: int = 0


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of a change, tried beside a control without it.

    Attributes:
        outcome: cured, better, no difference or worse.
        with_change: the measure in each fork with the change, one for each seed.
        control: the measure in each fork without it.
        measure: what was measured.
        detail: a sentence on how it was judged.

    Example:
        >>> Proof("better", (2.0, 2.1), (2.5, 2.4), "loss", "lower with each seed").outcome
        'better'
    """

    outcome: Outcome
    with_change: tuple[float, ...]
    control: tuple[float, ...]
    measure: str
    detail: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong in a run.

    Attributes:
        verdict: what is wrong, in one sentence.
        level: act, or watch where it may be meant or does little harm.
        facts: the numbers it rests on.
        advice: what to do, in one sentence.
        step: the first bad step, where there is one.
        open: the address of the number to open next.
        weight: findings of one level are told in the order of this, the largest first.
        change: what `--prove` tries.
        flatters: whether the fault makes the loss lower than it should be: a cure raises it.
        rule: the name of the rule; put in by whoever asked it.
        proof: what came of trying.

    Example:
        >>> high = Fact("loss", 9.5, "ln 65 = 4.17", step=0)
        >>> Finding("the first loss is too high", "act", (high,), "start the head at 0").level
        'act'
    """

    verdict: str
    level: Level
    facts: tuple[Fact, ...]
    advice: str
    step: int | None = None
    open: str = ""
    weight: float = 1.0
    change: Change | None = None
    flatters: bool = False
    rule: str = ""
    proof: Proof | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""
        return finite(asdict(self))


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the doctor found, and what that rests on.

    Attributes:
        of: what was looked at, such as the run's folder.
        findings: worst first.
        looked: a sentence for each kind of evidence there was.
        judged: names of the rules that had what they need.
        not_judged: name of a rule → why it could not judge.
        seconds: how long it took.
        notes: sentences a reader needs.

    Example:
        >>> spike = Finding("the loss jumps at step 31", "watch", (), "open that batch", step=31)
        >>> found = Diagnosis("runs/mine", (spike,), ("the record",), ("spike",), {})
        >>> len(found), found.worst.step
        (1, 31)
    """

    of: str
    findings: tuple[Finding, ...]
    looked: tuple[str, ...]
    judged: tuple[str, ...]
    not_judged: Mapping[str, str]
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def __iter__(self):
        """Give the findings."""
        return iter(self.findings)

    def __len__(self) -> int:
        """How many findings there are."""
        return len(self.findings)

    @property
    def worst(self) -> Finding | None:
        """The first finding, if there is one."""
        return self.findings[0] if self.findings else None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain numbers, strings and lists, ready for JSON."""
        return {
            "schema": 1,
            "of": self.of,
            "findings": [finding.to_dict() for finding in self.findings],
            "looked": list(self.looked),
            "judged": list(self.judged),
            "not_judged": dict(self.not_judged),
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return it line by line, as the command prints it."""
        lines: list[str] = []
        for number, finding in enumerate(self.findings, start=1):
            lines.append(f"{number}. {finding.level}: {finding.verdict}  [{finding.rule}]")
            lines += [f"     {fact}" for fact in finding.facts]
            lines.append(f"   do: {finding.advice}")
            if finding.open:
                lines.append(f"   open: {finding.open}")
            if finding.proof is not None:
                lines.append(f"   tried: {finding.proof.outcome}; {finding.proof.detail}")
        if not self.findings:
            lines.append("nothing found")
        lines.append("looked at: " + "; ".join(self.looked or ("nothing",)))
        lines.append(f"rules that could judge: {len(self.judged)}")
        return [*lines, *self.silent(), *self.notes, f"took {self.seconds:.1f} s"]

    def silent(self) -> list[str]:
        """Say which rules could not judge, by their reasons."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.not_judged.items():
            reasons.setdefault(reason, []).append(name)
        return [f"not judged, {why}: {', '.join(names)}" for why, names in reasons.items()]
