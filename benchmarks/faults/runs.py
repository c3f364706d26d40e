"""Runs of `whence train` with a fault in recipe or text, diagnosed, and the advice tried."""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.timing import table
from whence.data import text_source
from whence.doctor import diagnose
from whence.doctor.prove import prove
from whence.errors import WhenceError
from whence.models import GPTConfig, LSTMConfig, MLPConfig
from whence.runs.recipe import Change, Data, Recipe, Record
from whence.runs.run import Run
from whence.scale.hardware import Hardware
from whence.train.optimizers import AdamWConfig, SGDConfig
from whence.train.schedules import Schedule

SEEDS = range(3)
PROOF_SEEDS = 3
WORDS = [
    "the",
    "owl",
    "sees",
    "a",
    "hen",
    "and",
    "sleeps",
    "by",
    "day",
    "near",
    "old",
    "barn",
    "while",
    "cow",
    "sings",
]


def text(seed: int, n: int = 3000) -> str:
    """Words in an order that is half foreseeable."""
    r = random.Random(seed)
    found = [r.choice(WORDS)]
    for _ in range(n):
        following = WORDS[(WORDS.index(found[-1]) + 3) % len(WORDS)]
        found.append(following if r.random() < 0.6 else r.choice(WORDS))
    return " ".join(found)


SOUND = Recipe(
    data=Data(source=("words",)),
    model=GPTConfig(n_layers=2, n_heads=2, d_model=32, context_length=24),
    optimizer=AdamWConfig(learning_rate=3e-3),
    hardware=Hardware(device="cpu", precision="fp32", threads=1),
    record=Record(evaluate_every=20, evaluate_tokens=600, sample_tokens=0, checkpoint_every=20),
    batch_size=8,
    steps=100,
)
LSTM = replace(SOUND, model=LSTMConfig(n_layers=1, d_model=32, context_length=24))
MLP = replace(SOUND, model=MLPConfig(n_previous=4, d_model=16, d_ff=64, context_length=24))


@dataclass(frozen=True)
class RunFault:
    """A fault of a recipe.

    Attributes:
        name: what is wrong.
        recipe: the recipe with it.
        right: the rules that name it.
        small: the text is short, so that it is read many times.
    """

    name: str
    recipe: Recipe
    right: tuple[str, ...]
    small: bool = False


HIGH = ("update-too-large", "diverging", "bouncing", "not-finite", "exploding-gradients")
LOW = ("update-too-small", "not-learning")
FAULTS = [
    *(
        RunFault(
            f"rate too high, {name}", replace(r, optimizer=AdamWConfig(learning_rate=1.0)), HIGH
        )
        for name, r in (("GPT", SOUND), ("LSTM", LSTM), ("MLP", MLP))
    ),
    *(
        RunFault(
            f"rate too low, {name}", replace(r, optimizer=AdamWConfig(learning_rate=3e-7)), LOW
        )
        for name, r in (("GPT", SOUND), ("LSTM", LSTM), ("MLP", MLP))
    ),
    RunFault("SGD that diverges", replace(SOUND, optimizer=SGDConfig(learning_rate=30.0)), HIGH),
    RunFault(
        "rate of 0", replace(SOUND, optimizer=AdamWConfig(learning_rate=0.0)), ("rate-is-zero",)
    ),
    RunFault(
        "warm-up longer than the run",
        replace(SOUND, schedule=Schedule("constant", warmup=5000)),
        ("warmup-too-long",),
    ),
    RunFault(
        "no mask",
        replace(SOUND, model=replace(SOUND.model, causal=False)),  # type: ignore[type-var]
        ("sees-the-future",),
    ),
    RunFault(
        "no positions",
        replace(SOUND, model=replace(SOUND.model, positions="none")),  # type: ignore[type-var]
        ("no-positions",),
    ),
    RunFault(
        "no residual",
        replace(SOUND, model=replace(SOUND.model, without=("residual",))),  # type: ignore[type-var]
        ("missing-residual",),
    ),
    RunFault(
        "head drawn too large",
        replace(SOUND, model=replace(SOUND.model, zero_head=False, init_std=3.0)),  # type: ignore[type-var]
        ("loss-at-start",),
    ),
    RunFault(
        "weight decay too strong",
        replace(SOUND, optimizer=AdamWConfig(learning_rate=3e-3, weight_decay=30.0)),
        ("decay-too-strong",),
    ),
    RunFault("half frozen", replace(SOUND, change=Change(freeze=("blocks.0",))), ("frozen",)),
    RunFault(
        "text read sixty times",
        replace(SOUND, optimizer=AdamWConfig(learning_rate=1e-2), steps=250),
        ("overfitting",),
        small=True,
    ),
]


def main(part: int = 0, parts: int = 1) -> None:
    """Judge every fault with each seed, and print shares.

    Args:
        part: does every so many of them, from this one on, and takes the others where they are
            kept.
        parts: how many parts there are.
    """
    work = [(fault, seed) for seed in SEEDS for fault in FAULTS]
    work += [(RunFault("sound", SOUND, ()), 50 + seed) for seed in range(10)]
    done = [_judged(*one, now=i % parts == part) for i, one in enumerate(work)]
    rows = [r for r in done if r is not None and r["right"]]
    sound = [r for r in done if r is not None and not r["right"]]
    found = sum(bool(r["found"]) for r in rows)
    right = sum(r["found"][:1] != [] and r["found"][0] in r["right"] for r in rows)
    tried = [r for r in rows if r["outcome"]]
    cured = sum(r["outcome"] == "cured" for r in tried)
    better = sum(r["outcome"] == "better" for r in tried)
    false = sum(bool(r["act"]) for r in sound)
    print(f"recall {found}/{len(rows)}; right cause first {right}/{len(rows)}")
    print(f"false act in {false} of {len(sound)} sound runs")
    print(f"advice tried in {len(tried)}: cured {cured}, better {better}")
    by_name: dict[str, list[str]] = {}
    for r in rows:
        by_name.setdefault(r["name"], []).append(
            f"{(r['found'] or ['–'])[0]}: {r['outcome'] or '–'}"
        )
    table(
        [{"fault": name, "first finding: proof": "; ".join(told)} for name, told in by_name.items()]
    )


def _judged(fault: RunFault, seed: int, now: bool = True) -> dict[str, Any] | None:
    path = Path("build/doctor") / f"run-{fault.name}-{seed}.json".replace(" ", "-")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        return json.loads(path.read_text())
    if not now:
        return None
    folder = Path(tempfile.mkdtemp())
    try:
        words = text(seed, 150 if fault.small else 3000)
        source = text_source("words", lambda: [words])
        run = Run.create(replace(fault.recipe, seed=seed), folder / "run", source)
        try:
            for _ in run.train():
                pass
        except WhenceError:
            pass
        run = Run.open(run.path)
        began = time.process_time()
        diagnosis = diagnose(run, seconds=120)
        seconds = time.process_time() - began
        act = [f for f in diagnosis if f.level == "act"]
        outcome = ""
        first = next((f for f in diagnosis if f.rule in fault.right and f.change), None)
        if first is not None and "--no-proof" not in sys.argv:
            proven = prove(
                run, replace(diagnosis, findings=(replace(first, level="act"),)), PROOF_SEEDS
            )
            outcome = proven.findings[0].proof.outcome if proven.findings[0].proof else ""
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    row = {
        "name": fault.name,
        "right": list(fault.right),
        "found": [f.rule for f in diagnosis],
        "act": [f.rule for f in act],
        "outcome": outcome,
        "seconds": seconds,
    }
    path.write_text(json.dumps(row))
    return row
