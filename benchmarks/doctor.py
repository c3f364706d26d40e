"""The doctor held against faults: recall, precision, false alarms, right causes and steps.

`python -m benchmarks doctor` puts each fault of `faults/catalogue.py` into a small training, five
times with other seeds, beside as many sound trainings, and diagnoses each. Results are kept in
`build/doctor/`, so that it goes on where it was stopped.

- `--part=1/4` does a quarter, `--seeds=1` takes one seed and a fifth of the sound trainings.
- `--tuning` takes the faults and seeds that thresholds were chosen on, not those set aside.
- `--show` prints what was missed; `--fresh` forgets what is kept.
- `--runs` judges runs of `whence train` and tries the advice; `--live` says what the rules cost
  while a run trains.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.catalogue import FAULTS, Fault, clean
from benchmarks.faults.loop import train
from benchmarks.faults.published import MEANS, autotrainer, umlaut
from benchmarks.timing import table
from whence.doctor import RULES, gather
from whence.doctor.live import Live
from whence.doctor.rules import ask_all
from whence.runs.recipe import Recipe
from whence.runs.run import Run
from whence.runs.training.events import Stepped

KEPT = Path("build/doctor")
TUNING_SEEDS, SEEDS = range(2), range(100, 105)
CLEAN_TUNING, CLEAN = range(1000, 1060), range(5000, 5300)


def main() -> None:
    words = sys.argv
    tuning = "--tuning" in words
    if "--fresh" in words:
        shutil.rmtree(KEPT, ignore_errors=True)
    if "--runs" in words:
        from benchmarks.faults import runs

        runs.main()
        return
    if "--live" in words:
        live()
        return
    part, parts = _part(words)
    most = next((int(w.partition("=")[2]) for w in words if w.startswith("--seeds=")), 5)
    rows = list(_results(tuning, part, parts, most))
    faulty = [r for r in rows if r["right"]]
    sound = [r for r in rows if not r["right"]]
    print(
        f"{len({r['key'] for r in faulty})} faults, {len(faulty)} faulty trainings, "
        f"{len(sound)} sound ones{' (tuning)' if tuning else ', all set aside before tuning'}"
    )
    if "--show" in words:
        _show(faulty, sound)
    _report(faulty, sound)


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


def _part(words: list[str]) -> tuple[int, int]:
    given = next((w.partition("=")[2] for w in words if w.startswith("--part=")), "1/1")
    part, _, parts = given.partition("/")
    return int(part) - 1, int(parts)


def _results(tuning: bool, part: int, parts: int, most: int) -> Iterator[dict[str, Any]]:
    """What came of each training, done now or kept."""
    KEPT.mkdir(parents=True, exist_ok=True)
    seeds, clean_seeds = (TUNING_SEEDS, CLEAN_TUNING) if tuning else (SEEDS, CLEAN)
    each = len(clean_seeds) // len(seeds)
    work: list[tuple[Fault | None, int]] = []
    for i, seed in enumerate(seeds[:most]):  # a seed at a time: what is stopped early is balanced
        work += [(fault, seed) for fault in FAULTS if fault.held_out != tuning]
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


def judge(fault: Fault | None, seed: int) -> dict[str, Any]:
    """Train with a fault, or soundly, and write down what each doctor says."""
    setting = fault.setting(seed) if fault else clean(seed)
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp())
    try:
        done = train(setting, fault.switches if fault else {}, folder / "run")
        began = time.perf_counter()
        evidence = gather(done.recorder, 60.0)
        findings, judged, _ = ask_all(RULES, evidence)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "key": fault.key if fault else "clean",
        "seed": seed,
        "right": list(fault.right) if fault else [],
        "bad_step": None if not fault or fault.bad_step is None else int(
            fault.bad_step * setting.steps
        ),
        "found": [[f.rule, f.level, f.step] for f in findings],
        "judged": len(judged),
        "seconds": time.perf_counter() - began,
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
