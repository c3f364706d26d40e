"""`whence doctor`: what is wrong with a run, on what evidence, and whether the cure helps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.text import Text

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.errors import WhenceError, shell_word
from whence.runs.run import Run
from whence.runs.store.watched import Watched, is_watched

if TYPE_CHECKING:
    from whence.doctor import Diagnosis, Finding

COLOURS = {"act": "red", "watch": "yellow"}


def doctor(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    seconds: float = 20.0,
    json: bool = False,
    prove: bool = False,
    seeds: int = 3,
    model: str | None = None,
) -> int:
    """Say what is wrong with a run, worst first, with the numbers and the step to open.

    The exit code is 1 if something should be done, and 0 otherwise.

    Args:
        run: the folder of a run, or of a loop that was watched.
        seconds: about how long going back to steps and measuring there may take.
        json: print JSON instead of text.
        prove: try the advice: train with the one change and without it, and say what came of it.
        seeds: how many trainings of each, with different seeds.
        model: for a loop that was watched: `module:function` that builds its model, to do stored
            steps again.
    """
    from whence.doctor import diagnose
    from whence.doctor.prove import prove as try_advice

    if not seconds > 0:
        raise WhenceError(f"--seconds is {seconds:g}: give more than 0.")
    if seeds < 1:
        raise WhenceError(f"--seeds is {seeds}: give 1 or more.")
    if prove and is_watched(run):
        raise WhenceError(
            f"{run} is the record of a loop of your own, which can't be trained from here: try the "
            "advice in your code, and diagnose the new run."
        )
    found = diagnose(run, seconds=seconds, built=_built(run, model), tell=_tell)
    if prove:
        found = try_advice(Run.open(run), found, seeds, tell=_tell)
    if json:
        print(strict(found.to_dict()))
    else:
        show(Console(soft_wrap=True), found, run)
    return 1 if any(finding.level == "act" for finding in found) else 0


def _built(run: Path, model: str | None) -> Any:
    """The model of a watched loop; none where it isn't known what builds it."""
    if not is_watched(run) or not (model or Watched.read(run).build):
        return None
    from whence.cli.inside.watched import built

    return built(run, model)


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def show(console: Console, found: Diagnosis, run: Path) -> None:
    """Print a diagnosis."""
    console.print(Text.assemble((f"{run}: ", "bold"), _summary(found)))
    for number, finding in enumerate(found, start=1):
        console.print("")
        console.print(
            Text.assemble(
                f"{number}. ",
                (finding.level, COLOURS[finding.level]),
                f": {finding.verdict}  ",
                (finding.rule, "dim"),
            )
        )
        for fact in finding.facts:
            console.print(f"     {fact}", markup=False)
        console.print(Text.assemble(("   do    ", "dim"), finding.advice))
        if finding.open:
            console.print(Text.assemble(("   open  ", "dim"), opener(run, finding)))
        if finding.proof is not None:
            console.print(
                Text.assemble(
                    ("   tried ", "dim"),
                    (finding.proof.outcome, "bold"),
                    f": {finding.proof.detail}",
                )
            )
    console.print("")
    console.print(f"looked at: {'; '.join(found.looked)}", style="dim", markup=False)
    console.print(f"{len(found.judged)} rules could judge, in {found.seconds:.1f} s", style="dim")
    for line in found.silent():
        console.print(line, style="dim", markup=False)


def opener(run: Path, finding: Finding) -> str:
    """The command that opens what a finding points at."""
    command = f"whence why {shell_word(run)}"
    if finding.step is not None:
        command += f" --step {finding.step}"
    number = finding.open if "[" in finding.open or finding.open == "loss" else ""
    return f"{command} {shell_word(number)}" if number else f"{command} --list {finding.open}"


def _summary(found: Diagnosis) -> str:
    if not found.findings:
        return "nothing found"
    act = sum(finding.level == "act" for finding in found)
    return f"{act} to act on, {len(found) - act} to watch"
