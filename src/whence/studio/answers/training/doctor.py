"""What the doctor says of a run: findings, and where they are on its curves."""

from pathlib import Path
from typing import Any

from whence.errors import shell_word
from whence.studio.answers.place import open_run, python_path

LONGEST = 60.0  # seconds that a page may ask for


def doctor(folder: Path, *, run: str, seconds: float = 0.0) -> dict[str, Any]:
    """Give the findings on a run and the marks that they make on its curves.

    Args:
        folder: the folder of runs.
        run: the run's name.
        seconds: what going back to steps and measuring there may take; 0: only what the record
            shows, which is quick enough to ask while the run trains.
    """
    # Here, as the studio's own process answers other questions without PyTorch.
    from whence.doctor import diagnose
    from whence.doctor.finding import Diagnosis
    from whence.doctor.live import on_record
    from whence.doctor.of_run import evidence_of_run
    from whence.doctor.signs import first_of_run, spikes

    opened = open_run(folder, run)
    if seconds > 0:
        found = diagnose(opened, seconds=min(seconds, LONGEST))
    else:
        evidence = evidence_of_run(opened, 0.0)
        found = Diagnosis(
            str(opened.path), tuple(on_record(evidence)), tuple(evidence.looked), (), {}
        )
    loss = opened.steps.column("loss")
    jumps = first_of_run(spikes(loss))
    marks = [
        {"step": f.step, "level": f.level, "rule": f.rule, "verdict": f.verdict}
        for f in found
        if f.step is not None
    ]
    known = {mark["step"] for mark in marks}
    marks += [
        {"step": step, "level": "watch", "rule": "spike", "verdict": f"the loss jumps at {step:,}"}
        for step in jumps
        if step not in known
    ]
    plain = found.to_dict()
    return {
        "run": run,
        "findings": plain["findings"],
        "marks": sorted(marks, key=lambda mark: mark["step"]),
        "looked": plain["looked"],
        "not_judged": plain["not_judged"],
        "measured": seconds > 0,
        "python": f"from whence import Run; Run.open({python_path(opened.path)}).diagnose()",
        "shell": f"whence doctor {shell_word(opened.path)}",
    }
