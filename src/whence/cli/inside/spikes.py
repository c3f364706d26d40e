"""`whence spikes`: the steps of a run that stand out, and the command that opens each."""

from pathlib import Path
from typing import Annotated

import tyro

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.errors import WhenceError, shell_word
from whence.receipt.figures import short
from whence.runs.questions.spikes import FEWEST, KINDS, Spikes
from whence.runs.questions.spikes import spikes as spikes_of
from whence.runs.run import Run


def spikes(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    threshold: float = 5.0,
    top: int = 8,
    json: bool = False,
) -> int:
    """Find the steps whose loss or gradient norm stands out, each with the command that opens it.

    A step is compared with the 50 before it: z is its distance above the line through them, in
    robust standard deviations.

    Args:
        run: the run's folder.
        threshold: the z from which a step stands out.
        top: how many to show.
        json: print JSON.
    """
    if not threshold > 0 or top < 1:
        raise WhenceError("--threshold must be above 0 and --top at least 1.")
    opened = Run.open(run)
    found = spikes_of(opened, threshold)
    commands = {
        s.step: f"whence why {shell_word(run)} --step {s.step} --line worst" for s in found.found
    }
    if json:
        plain = found.to_dict()
        for row in plain["spikes"]:
            row["command"] = commands[row["step"]]
        print(strict({**plain, "run": str(run)}))
        return 0
    console = Console(soft_wrap=True)
    for line in _lines(found, commands, top):
        console.print(line, markup=False)
    return 0


def _lines(found: Spikes, commands: dict[int, str], top: int) -> list[str]:
    looked = f"looked at the loss and the gradient norm of {found.looked_at:,} steps"
    if not found.largest:
        return [f"{looked}: it takes more than {FEWEST} to know what is usual"]
    if not found.found:
        most = ", ".join(
            f"{KINDS[kind]} z = {z:.1f} at step {step:,}"
            for kind, (z, step) in found.largest.items()
        )
        far = f"{found.threshold:g} standard deviations above the 50 before it"
        return [f"{looked}: none lies {far}", f"  the largest: {most}"]
    lines = [f"{looked}: these stand out from the 50 before them"]
    by_step: dict[int, list[str]] = {}
    for spike in found.found:
        by_step.setdefault(spike.step, []).append(
            f"{KINDS[spike.kind]} {short(spike.value)} instead of about {short(spike.usual)} "
            f"(z = {spike.z:.1f})"
        )
    for step, words in list(by_step.items())[:top]:
        lines += [f"  step {step:,}: {'; '.join(words)}", f"    {commands[step]}"]
    if len(by_step) > top:
        lines.append(f"  and {len(by_step) - top} more: --top {len(by_step)} shows all")
    return lines
