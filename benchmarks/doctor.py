"""The doctor held against faults: recall, precision, false alarms, right causes and steps.

`python -m benchmarks doctor` puts each fault of `faults/catalogue.py` into a small training, three
times with other seeds, beside as many sound trainings, and diagnoses each. Results are kept in
`build/doctor/`, so that it goes on where it was stopped.

- `--part=1/4` does a quarter (several at once share what is kept), `--seeds=1` takes one seed and
  a third of the sound trainings.
- `--begun` takes only the faults that begin at a step, and no sound trainings.
- `--tuning` takes the faults and seeds that thresholds were chosen on, not those set aside.
- `--show` prints what was missed; `--fresh` forgets what is kept.
- `--runs` judges runs of `whence train` and tries the advice; `--live` says what the rules cost
  while a run trains; `--default` how long a diagnosis of the default run takes.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.faults.catalogue import FAULTS, Fault, clean
from benchmarks.faults.loop import train
from benchmarks.faults.published import MEANS, autotrainer, umlaut
from benchmarks.timing import table
from whence.doctor import Evidence, Finding, diagnose, gather
from whence.doctor.diagnose import judge as of_diagnose
from whence.doctor.live import Live
from whence.runs.recipe import Recipe
from whence.runs.run import Run
from whence.runs.training.events import Stepped

KEPT = Path("build/doctor")
# 100 to 104, 200 to 204, 400 to 404, 600 and 601 were looked at, as were 5000 to 5299, 7000 to
# 7299, 9000 to 9059 and 11000 to 11119: rules were mended after each time, so that the next
# measurement takes others
TUNING_SEEDS, SEEDS = range(2), range(602, 605)
CLEAN_TUNING, CLEAN = range(1000, 1060), range(11120, 11300)
NEWEST = max(fault.added for fault in FAULTS)


def main() -> None:
    words = sys.argv
    torch.set_num_threads(1)  # the models are so small that more threads wait for each other
    tuning = "--tuning" in words
    if "--fresh" in words:
        shutil.rmtree(KEPT, ignore_errors=True)
    if "--runs" in words:
        from benchmarks.faults import runs

        runs.main(*_part(words))
        return
    if "--live" in words:
        live()
        return
    if "--default" in words:
        default()
        return
    part, parts = _part(words)
    most = next((int(w.partition("=")[2]) for w in words if w.startswith("--seeds=")), 5)
    rows = list(_results(tuning, part, parts, most, begun="--begun" in words))
    faulty = [r for r in rows if r["right"]]
    drawn = [r for r in rows if not r["right"]]
    sound = [r for r in drawn if r["sound"]]
    print(
        f"{len({r['key'] for r in faulty})} faults, {len(faulty)} faulty trainings, "
        f"{len(sound)} sound ones{' (tuning)' if tuning else ', all set aside before tuning'}"
    )
    if "--show" in words:
        _show(faulty, sound)
    _report(faulty, sound)
    for words, rows in (
        ("from earlier measurements", [r for r in faulty if r["added"] < NEWEST]),
        ("that were added last", [r for r in faulty if r["added"] == NEWEST]),
    ):
        print(f"of these, {len({r['key'] for r in rows})} faults {words}:")
        _report(rows, sound)
    if crashed := [r for r in faulty + drawn if r["crashed"]]:
        print(f"{len(crashed)} diagnoses broke off, and count as nothing found")
    if broken := [r for r in drawn if not r["sound"]]:
        told = sum(bool(_names(r, "whence", act=True)) for r in broken)
        print(
            f"{len(broken)} of {len(drawn)} trainings without a fault went badly by themselves "
            f"(not finite, or no lower at the end), so that they are no controls: Whence says so "
            f"of {told}"
        )


def live(steps: int = 40) -> None:
    """What the rules cost while the default model trains, of the time of its steps."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Recipe(steps=steps), Path(folder) / "run")
        doctor, of_steps, of_rules = Live(run), [], []
        for event in run.train():
            began = time.perf_counter()
            list(doctor.note(event))
            of_rules.append(time.perf_counter() - began)
            if isinstance(event, Stepped):
                of_steps.append(event.seconds)
    share = sum(of_rules) / sum(of_steps)
    print(f"{1e6 * sum(of_rules) / len(of_steps):.0f} µs a step, {share:.3%} of its time")


def default(steps: int = 1000) -> None:
    """How long a diagnosis of the default run takes, with the limit that it has by itself."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Recipe(steps=steps), Path(folder) / "run")
        for _ in run.train():
            pass
        began, cpu = time.perf_counter(), time.process_time()
        found = diagnose(Path(folder) / "run")
        print(found)
        print(
            f"{time.perf_counter() - began:.1f} s, {time.process_time() - cpu:.1f} s of CPU, "
            f"for a run of {steps:,} steps"
        )


def _part(words: list[str]) -> tuple[int, int]:
    given = next((w.partition("=")[2] for w in words if w.startswith("--part=")), "1/1")
    part, _, parts = given.partition("/")
    return int(part) - 1, int(parts)


def _results(
    tuning: bool, part: int, parts: int, most: int, begun: bool = False
) -> Iterator[dict[str, Any]]:
    """What came of each training, done now or kept."""
    KEPT.mkdir(parents=True, exist_ok=True)
    seeds, clean_seeds = (TUNING_SEEDS, CLEAN_TUNING) if tuning else (SEEDS, CLEAN)
    each = len(clean_seeds) // len(seeds)
    work: list[tuple[Fault | None, int]] = []
    for i, seed in enumerate(seeds[:most]):  # a seed at a time: what is stopped early is balanced
        faults = [fault for fault in FAULTS if fault.held_out != tuning]
        work += [(fault, seed) for fault in faults if fault.bad_step is not None or not begun]
        if not begun:
            work += [(None, number) for number in clean_seeds[i * each : (i + 1) * each]]
    for number, (fault, seed) in enumerate(work):
        name = f"{fault.key if fault else 'clean'} {seed}".replace(" ", "-").replace("/", "-")
        path = KEPT / f"{name}.json"
        if path.is_file():
            yield json.loads(path.read_text())
        elif number % parts == part:
            row = judge(fault, seed)
            path.write_text(json.dumps(row))
            yield row


def is_sound(loss: np.ndarray) -> bool:
    """Whether a training without a fault went well: else it is no control.

    No rule of a doctor is asked: all losses are finite, and those of the last tenth are lower in
    the mean than those of the first tenth.
    """
    tenth = max(1, len(loss) // 10)
    return bool(
        len(loss) and np.isfinite(loss).all() and loss[-tenth:].mean() < loss[:tenth].mean()
    )


def judge(fault: Fault | None, seed: int) -> dict[str, Any]:
    """Train with a fault, or soundly, and write down what each doctor says."""
    setting = fault.setting(seed) if fault else clean(seed)
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp())
    evidence, crashed = Evidence("a training"), ""
    findings: list[Finding] = []
    judged: list[str] = []
    try:
        done = train(setting, fault.switches if fault else {}, folder / "run")
        began = time.process_time()
        try:
            evidence = gather(done.recorder, 60.0)
            findings, judged, _ = of_diagnose(done.recorder, evidence)
        except Exception as error:  # a diagnosis that breaks off has found nothing
            crashed = f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "key": fault.key if fault else "clean",
        "seed": seed,
        "added": fault.added if fault else 0,
        "crashed": crashed,
        "right": list(fault.right) if fault else [],
        "bad_step": None if not fault or fault.bad_step is None else int(
            fault.bad_step * setting.steps
        ),
        "found": [[f.rule, f.level, f.step] for f in findings],
        "judged": len(judged),
        "seconds": time.process_time() - began,
        "sound": is_sound(np.array(done.loss)),
        "autotrainer": autotrainer(evidence, done.accuracy),
        "umlaut": umlaut(evidence, done.accuracy, done.largest_input),
    }  # fmt: skip


def _report(faulty: list[dict], sound: list[dict]) -> None:
    """Print recall, precision, false alarms, right causes and steps of the three."""
    rows = []
    for who in ("whence", "autotrainer", "umlaut"):
        hits = [_names(r, who) for r in faulty]
        alarms = [_names(r, who, act=True) for r in sound]
        found = sum(bool(h) for h in hits)
        false = sum(bool(a) for a in alarms)
        right = [_is_right(r, h, who) for r, h in zip(faulty, hits, strict=True)]
        steps = [_step_is_right(r) for r in faulty if r["bad_step"] is not None]
        rows.append({
            "rules of": who,
            "recall": _share(found, len(faulty)),
            "precision": _share(found, found + false),
            "false act in 100": f"{100 * false / len(sound):.1f}" if sound else "–",
            "right cause first": _share(sum(right), len(right)),
            "right step": _share(sum(steps), len(steps)) if who == "whence" else "–",
        })  # fmt: skip
    table(rows)
    every = [r["seconds"] for r in faulty + sound]
    if every:
        print(f"a diagnosis: {sum(every) / len(every):.2f} s in the mean, {max(every):.1f} at most")


def _names(row: dict, who: str, act: bool = False) -> list[str]:
    if who != "whence":
        return row[who]
    return [rule for rule, level, _ in row["found"] if not act or level == "act"]


def _is_right(row: dict, names: list[str], who: str) -> bool:
    if not names:
        return False
    if who == "whence":
        return names[0] in row["right"]
    return bool(MEANS[names[0]] & set(row["right"]))


def _step_is_right(row: dict) -> bool:
    named = [step for rule, _, step in row["found"] if rule in row["right"] and step is not None]
    return any(abs(step - row["bad_step"]) <= 1 for step in named[:1])


def _share(n: int, of: int) -> str:
    return f"{n / of:.3f} ({n}/{of})" if of else "–"


def _show(faulty: list[dict], sound: list[dict]) -> None:
    for r in faulty:
        names = _names(r, "whence")
        if not names or names[0] not in r["right"]:
            print("missed", r["key"], r["seed"], "→", ", ".join(names) or "nothing")
        elif r["bad_step"] is not None and not _step_is_right(r):
            print("wrong step", r["key"], r["seed"], r["bad_step"], r["found"][:2])
    for r in sound:
        if names := _names(r, "whence", act=True):
            print("false", r["seed"], clean(r["seed"]).family, names)
