"""A crash: its step on disk, then the report of it beside the step."""

from __future__ import annotations

from pathlib import Path

from whence.runs.store.files import write_whole
from whence.watch.again.past import Past
from whence.watch.disk.ondisk import write_step
from whence.watch.reports.report import Asked, report_of
from whence.watch.step.world import World


def write_crash(run: Path, world: World, past: Past, asked: Asked) -> tuple[Path, list[str]]:
    """Write a step and its report; where there is one of that step, beside it.

    The step comes first: a process that is ended while the report is made leaves what
    `whence why` needs.

    Returns:
        The folder, and the report's lines for a terminal.

    Raises:
        WhenceError: it can't be written.
    """
    folder = run / "crashes" / f"{past.step.number:06d}"
    name, number = folder.name, 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{name}-{number}")
    write_step(folder, world, past.step, past.state_before(), asked.reason)
    report = report_of(past, run, asked)
    write_whole(folder / "report.md", report.markdown())
    write_whole(folder / "report.html", report.html())
    return folder, report.terminal()
