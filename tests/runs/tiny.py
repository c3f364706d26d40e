"""Tiny runs for tests: one layer, width 16."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from whence.data import text_source
from whence.models import GPTConfig, gpt2
from whence.runs.recipe import Data, Recipe, Record
from whence.runs.run import Run
from whence.scale.hardware import Hardware
from whence.train.optimizers import SGD, AdamW

TEXT = "".join(f"{i} bottles of beer on the wall, {i} bottles of beer.\n" for i in range(99, 9, -1))
SOURCE = text_source("bottles", lambda: [TEXT])
SIZES = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16}
CPU = Hardware(device="cpu", precision="fp32", threads=1)

RECIPE = Recipe(
    data=Data(source=("bottles",)),
    model=GPTConfig(**SIZES),
    hardware=CPU,
    record=Record(evaluate_every=5, evaluate_tokens=200, sample_tokens=5, checkpoint_every=5),
    batch_size=4,
    steps=20,
)

# One of each of what the bits could depend on; rungs of the ladder are added here.
RECIPES = {
    "muon": RECIPE,
    "adamw": replace(RECIPE, optimizer=AdamW()),
    "momentum": replace(RECIPE, optimizer=SGD(momentum=0.9)),
    "gpt2, tied": replace(RECIPE, model=gpt2(**SIZES), optimizer=AdamW()),
    "dropout": replace(RECIPE, model=GPTConfig(**SIZES, dropout=0.2)),
    "accumulation": replace(RECIPE, model=GPTConfig(**SIZES, dropout=0.1), accumulate=2),
    "bf16": replace(RECIPE, hardware=replace(CPU, precision="bf16")),
    "two threads": replace(RECIPE, hardware=replace(CPU, threads=2), steps=9),
}


def make(path: Path, recipe: Recipe = RECIPE, **changes: Any) -> Run:
    """Make a run that isn't trained yet."""
    return Run.create(replace(recipe, **changes), path, SOURCE)


def finish(run: Run, *, until: int | None = None, steps: int | None = None) -> list:
    """Train to the end, or stop (saving) before a step; give the events."""
    done = []
    for event in run.train(steps, should_stop=lambda: until is not None and _at(done) >= until):
        done.append(event)  # noqa: PERF402  # should_stop reads it
    return done


def _at(events: list) -> int:
    return 1 + max((e.step for e in events if type(e).__name__ == "Stepped"), default=-1)


def abandon(run: Run, before: int) -> None:
    """Train up to a step and leave without saving, as a kill would."""
    training = run.train()
    for event in training:
        if type(event).__name__ == "Stepped" and event.step == before - 1:
            break
    training.close()


def losses(run: Run) -> list[str]:
    """The recorded losses, to the bit."""
    return [record["loss_hex"] for record in run.steps]


def files(run: Run, step: int) -> tuple[bytes, bytes]:
    """The bytes of a checkpoint."""
    folder = run.path / "checkpoints" / f"{step:06d}"
    return tuple((folder / f"{n}.safetensors").read_bytes() for n in ("model", "optimizer"))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two states are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
