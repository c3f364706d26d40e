"""Tiny runs for tests: one layer, width 16, of every rung of the ladder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from whence.data import text_source
from whence.models import (
    BigramConfig,
    ClassifierConfig,
    GPTConfig,
    GRUConfig,
    LSTMConfig,
    MLPConfig,
    NGramGPTConfig,
    RNNConfig,
    Seq2SeqConfig,
    gpt2_config,
)
from whence.runs.recipe import Data, Recipe, Record
from whence.runs.run import Run
from whence.runs.store.chain import note
from whence.runs.store.checkpoints import saved_steps
from whence.runs.store.files import sha256
from whence.runs.store.past import past_of
from whence.scale.hardware import Hardware
from whence.train.optimizers import AdamWConfig, SGDConfig

TEXT = "".join(f"{i} bottles of beer on the wall, {i} bottles of beer.\n" for i in range(99, 9, -1))
SOURCE = text_source("bottles", lambda: [TEXT])
PAIRS = "".join(f"{i} bottles\t{i:03d}\n" for i in range(99, 9, -1))
PAIR_SOURCE = text_source("counts", lambda: [PAIRS])
LABELS = "".join(f"{('few', 'many')[i > 50]}\t{i} bottles\n" for i in range(99, 9, -1))
LABEL_SOURCE = text_source("labels", lambda: [LABELS])
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


def rungs(recipe: Recipe, width: int, window: int) -> dict[str, Recipe]:
    """The same recipe for every kind of model."""
    size = {"d_model": width, "context_length": window}
    models = {
        "gpt": GPTConfig(n_layers=1, n_heads=2, **size),
        "bigram": BigramConfig(context_length=window),
        "mlp": MLPConfig(n_previous=3, d_model=width, d_ff=width, context_length=window),
        "rnn": RNNConfig(**size),
        "lstm": LSTMConfig(**size),
        "gru": GRUConfig(**size),
        "gru by formula": GRUConfig(**size, form="formula"),
        "ngram-gpt": NGramGPTConfig(order=3, n_layers=1, n_heads=2, **size),
        "encoder": ClassifierConfig(n_layers=1, n_heads=2, **size, dropout=0.0),
        "seq2seq": Seq2SeqConfig(n_layers=1, n_heads=2, **size, dropout=0.0, separator=0, end=1),
    }
    return {name: replace(recipe, model=model) for name, model in models.items()}


RUNGS = rungs(RECIPE, 16, 16)
# Two threads share the work only where there is enough of it.
WIDE = rungs(replace(RECIPE, batch_size=16, steps=3), 128, 64)
# A compiler writes a recurrence out, step after step: a minute or more for windows of 64.
SHORT = rungs(replace(RECIPE, batch_size=128, steps=3), 128, 8)


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """The same recipe with each of what makes bits harder to repeat."""
    wet = recipe.model
    if hasattr(wet, "dropout"):
        wet = replace(wet, dropout=0.2)
    return {
        "plain": recipe,
        "dropout": replace(recipe, model=wet),
        "accumulation": replace(recipe, model=wet, accumulate=2),
        "bf16": replace(recipe, hardware=replace(recipe.hardware, precision="bf16")),
    }


# One of each of what the bits could depend on.
RECIPES = {
    "adamw": replace(RECIPE, optimizer=AdamWConfig()),
    "momentum": replace(RECIPE, optimizer=SGDConfig(momentum=0.9)),
    "gpt2, tied": replace(RECIPE, model=gpt2_config(**SIZES), optimizer=AdamWConfig()),
    **RUNGS,
    **{name: recipe for name, recipe in variants(RECIPE).items() if name != "plain"},
    "two threads": replace(WIDE["gpt"], hardware=replace(CPU, threads=2), steps=9),
}


def make(path: Path, recipe: Recipe = RECIPE, **changes: Any) -> Run:
    """Make a run that isn't trained yet."""
    recipe = replace(recipe, **changes)
    sources = {Seq2SeqConfig: PAIR_SOURCE, ClassifierConfig: LABEL_SOURCE}
    return Run.create(recipe, path, sources.get(type(recipe.model), SOURCE))


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


def sign(run: Run) -> None:
    """Make every link of the chain fit again, whatever the files hold."""
    for step in saved_steps(run.checkpoint_folder):
        path = run.checkpoint_folder / f"{step:06d}/state.json"
        state = json.loads(path.read_text())
        for part in state["sha256"]:
            state["sha256"][part] = sha256(path.with_name(part))
            state["bytes"][part] = path.with_name(part).stat().st_size
        state["run"] = run.header.id
        for name in state.setdefault("past", {}):
            n = step if name == "steps.jsonl" else 0
            state["past"][name] = past_of(run.path / name, n)
        path.write_text(json.dumps(state) + "\n")
    note(run.path, run.header, saved_steps(run.checkpoint_folder))


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
