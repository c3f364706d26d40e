"""The doctor during a training: what the record alone shows, as it happens.

At each step it only compares the loss with those of the 20 steps before, which takes microseconds;
the rules that read the whole record are asked at each measurement on other text.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

from whence.doctor import signs
from whence.doctor.evidence import Evidence
from whence.doctor.finding import Fact, Finding
from whence.doctor.of_run import evidence_of_run
from whence.doctor.rules import RULES, Rule
from whence.doctor.rules.loss import START_ABOVE, START_MORE
from whence.runs.run import Run
from whence.runs.training.events import Ended, Evaluated, Event, Stepped

# What the record and the measurements alone can show.
RECORD = ("record", "20 steps", "losses", "rates", "gradient norms", "validation", "crash")
RULES_ON_RECORD: tuple[Rule, ...] = tuple(
    rule
    for rule in RULES
    if set(rule.needs) <= set(RECORD) and rule.name not in ("spike", "stopped-early")
)
AGAIN = 50  # steps before a jump is told again


class Live:
    """Tells findings while a run trains.

    Args:
        run: the run.

    Example:
        >>> live = Live(Run.open("runs/mine"))
        >>> usual = Stepped(1, 3.3, 1e-3, 1.0, 0.01, 64)
        >>> list(live.note(usual))
        []
    """

    def __init__(self, run: Run):
        self.run = run
        self.before: deque[float] = deque(maxlen=signs.BEFORE)
        self.told: set[str] = set()
        self.told_jump = -AGAIN

    def note(self, event: Event) -> Iterator[Finding]:
        """Take in an event, and yield what it shows."""
        if isinstance(event, Stepped):
            yield from self._stepped(event)
        elif isinstance(event, Evaluated | Ended) and event.step:
            yield from self._measured()

    def _stepped(self, event: Stepped) -> Iterator[Finding]:
        if event.step == 0:
            yield from self._started(event.loss)
        loss = event.loss
        if len(self.before) == signs.BEFORE and event.step - self.told_jump >= AGAIN:
            far, middle = signs.far_off(self.before, loss)
            if far is not None:
                self.told_jump = event.step
                yield Finding(
                    f"the loss jumps at step {event.step:,}", "watch",
                    (Fact("loss", loss, f"median of the 20 before: {middle:.4g}", event.step),),
                    "open that batch when the run is over: whence doctor",
                    step=event.step, rule="spike", open="loss",
                )  # fmt: skip
        self.before.append(loss)

    def _started(self, loss: float) -> Iterator[Finding]:
        size = self.run.tokenizer.vocab_size
        if type(self.run.task).__name__ == "Labels" or size < 2:
            return
        even = math.log(size)
        if loss > START_ABOVE * even + START_MORE:
            yield Finding(
                f"the first loss is {loss:.2f}, far above the {even:.2f} of an even guess", "act",
                (Fact("loss", loss, f"ln {size} = {even:.3f}", 0),),
                "draw the first weights smaller, above all the head's",
                step=0, rule="loss-at-start", open="loss",
            )  # fmt: skip

    def _measured(self) -> Iterator[Finding]:
        evidence = evidence_of_run(self.run, 0.0)
        for finding in on_record(evidence):
            if finding.rule not in self.told:
                self.told.add(finding.rule)
                yield finding


def on_record(evidence: Evidence) -> list[Finding]:
    """Ask the rules that need nothing but the record; worst first.

    Example:
        >>> on_record(Evidence("runs/mine"))  # no record, so nothing to judge
        []
    """
    answers = [rule.ask(evidence) for rule in RULES_ON_RECORD]
    found = [answer for answer in answers if isinstance(answer, Finding)]
    return sorted(found, key=lambda f: (f.level != "act", -f.weight))
