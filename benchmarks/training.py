"""Time to a validation loss: this package's recipe against 2,000 steps of Hugging Face's GPT-2.

`python -m benchmarks training` races on five seeds; with `--ablations` it takes the recipe's tricks
away one by one; with `--default` it trains as `whence train` does and says what it reached.

The text is tiny Shakespeare in characters, first 90 % to train on, the rest validated whole in
windows of 64 side by side. Both models have 4 layers, 4 heads, width 128 and window 64. The
reference's steps are 12 windows, fp32, AdamW; one of them runs after each of ours, so that both see
the same machine, and 2,000 times their mean is what the race is against: so many are what the
well-known public recipe needs for a loss of 1.898. Only training is on the clock.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import ratio, table
from whence.data import Dataset, WindowBatches, open_source, prepare
from whence.models import GPTConfig
from whence.runs.recipe import Recipe
from whence.runs.training.session import Session, assemble
from whence.scale.hardware import Hardware
from whence.train.losses import cross_entropy
from whence.train.optimizers import AdamWConfig, MuonConfig
from whence.train.schedules import Schedule

TEXT = Path(__file__).resolve().parents[2] / "shared" / "data" / "tinyshakespeare.txt"
GOAL, REFERENCE_STEPS = 1.898, 2000
RECIPE = Recipe(
    model=GPTConfig(n_layers=4, n_heads=4, d_model=128, context_length=64, bigram_embedding=True),
    optimizer=MuonConfig(0.03, momentum=0.85, weight_decay=0, embedding_rate=0.1, head_rate=0.02),
    schedule=Schedule("wsd", warmup=0, cooldown=0.5),
    steps=120,
    batch_size=24,
)


def shakespeare(folder: str) -> Dataset:
    """The text's tokens, or an exit that says what is missing."""
    if not TEXT.exists():
        sys.exit(f"this benchmark reads {TEXT}, which isn't there.")
    return prepare(open_source(str(TEXT)), "chars", None, 0.1, Path(folder))


def hugging_face_step(dataset: Dataset) -> Callable[[], object]:
    """One call, one training step of the reference on the next 12 windows."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    settings: dict[str, Any] = {"n_positions": 64, "n_embd": 128, "n_layer": 4, "n_head": 4}
    settings |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    settings |= {"bos_token_id": None, "eos_token_id": None}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=dataset.tokenizer.vocab_size, **settings))
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = WindowBatches(dataset.train, context_length=64, batch_size=12, seed=0)
    steps = iter(range(10**9))

    def step() -> None:
        torch.use_deterministic_algorithms(False)
        for _, part in batches[next(steps)]:
            adamw.zero_grad()
            logits = model(part.inputs).logits
            cross_entropy(logits, part.targets).backward()
            adamw.step()

    return step


def session_of(recipe: Recipe, dataset: Dataset, hardware: Hardware) -> Session:
    return assemble(replace(recipe, hardware=hardware), dataset)


def run_steps(session: Session, between: Callable[[], object] = lambda: None) -> list[float]:
    """Seconds of each training step of a session; `between` is off the clock."""
    seconds = []
    steps = range(session.recipe.steps)
    start = time.perf_counter()
    for _ in session.learn(steps):
        seconds.append(time.perf_counter() - start)
        between()
        start = time.perf_counter()
    return seconds


def say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def seconds_of(call: Callable[[], object], into: list[float]) -> None:
    start = time.perf_counter()
    call()
    into.append(time.perf_counter() - start)


def race(dataset: Dataset, hardware: Hardware, seeds: range) -> list[dict]:
    """Our whole training on each seed, a step of the reference after each of ours."""
    reference = hugging_face_step(dataset)
    for _ in range(5):
        reference()
    rows = []
    for seed in seeds:
        session = session_of(replace(RECIPE, seed=seed), dataset, hardware)
        theirs: list[float] = []
        ours = run_steps(session, lambda into=theirs: seconds_of(reference, into))
        needs = REFERENCE_STEPS * statistics.fmean(theirs)
        loss = session.evaluate().loss
        say(f"seed {seed}: {loss:.4f} in {sum(ours):.2f} s, {needs / sum(ours):.1f} times as fast")
        rows.append(
            {
                "seed": seed,
                "steps": f"{RECIPE.steps} × {RECIPE.batch_size}",
                "validation loss": f"{loss:.4f}",
                "reached": "yes" if loss <= GOAL else "no",
                "seconds": f"{sum(ours):.2f}",
                "ms a step": f"{1e3 * statistics.median(ours):.1f}",
                "reference ms a step": f"{1e3 * statistics.median(theirs):.1f}",
                "reference seconds": f"{needs:.1f}",
                "times as fast": f"{needs / sum(ours):.1f}",
            }
        )
    return rows


def variants() -> dict[str, tuple[Recipe, dict[str, Any]]]:
    """The recipe with one thing changed: name → (recipe, changes of the hardware)."""

    def model(**changes: Any) -> tuple[Recipe, dict[str, Any]]:
        return replace(RECIPE, model=replace(RECIPE.model, **changes)), {}

    def muon(**changes: Any) -> tuple[Recipe, dict[str, Any]]:
        return replace(RECIPE, optimizer=replace(RECIPE.optimizer, **changes)), {}

    def schedule(**changes: Any) -> tuple[Recipe, dict[str, Any]]:
        return replace(RECIPE, schedule=replace(RECIPE.schedule, **changes)), {}

    adamw = AdamWConfig(learning_rate=3e-3, betas=(0.9, 0.95))
    return {
        "the recipe": (RECIPE, {}),
        "AdamW for all, 3e-3": (replace(RECIPE, optimizer=adamw), {}),
        "Jordan's triple, 5 steps": muon(coefficients="jordan", orthogonalize_steps=5),
        "Polar Express, 5 steps": muon(orthogonalize_steps=5),
        "momentum 0.95": muon(momentum=0.95),
        "embedding rate 0.01": muon(embedding_rate=0.01),
        "head rate 0.005": muon(head_rate=0.005),
        "warm-up of 5 steps": schedule(warmup=5),
        "cosine": schedule(kind="cosine"),
        "no cooldown": schedule(kind="constant"),
        "learned positions": model(positions="learned"),
        "GELU": model(activation="gelu"),
        "SwiGLU": model(activation="swiglu"),
        "LayerNorm with weight and bias": model(norm="layer", norm_weight=True, bias=True),
        "norms with a weight": model(norm_weight=True),
        "no zero head": model(zero_head=False),
        "tied embeddings": model(zero_head=False, tied_embeddings=True),
        "QK norm": model(qk_norm=True),
        "blocks start at the identity": model(zero_residual=True),
        "no bigram embedding": model(bigram_embedding=False),
        "attention as its formula": model(attention="formula"),
        "fp32": (RECIPE, {"precision": "fp32"}),
    }


def ablations(dataset: Dataset, hardware: Hardware, seeds: range) -> list[dict]:
    """Loss at equal steps, and the time of a step against the recipe's, taken in turns."""
    table_of = variants()
    losses: dict[str, list[float]] = {name: [] for name in table_of}
    sessions: dict[str, Session] = {}
    for name, (recipe, changes) in table_of.items():
        for seed in seeds:
            session = session_of(replace(recipe, seed=seed), dataset, replace(hardware, **changes))
            run_steps(session)
            losses[name].append(session.evaluate().loss)
            say(f"{name}: {losses[name][-1]:.4f}")
            sessions[name] = session
    seconds: dict[str, list[float]] = {name: [] for name in table_of}
    for step in range(20):
        for name, s in sessions.items():
            steps = s.learn([step])
            seconds_of(lambda steps=steps: list(steps), seconds[name])
    base = statistics.mean(losses["the recipe"])
    return [
        {
            "change": name,
            "validation loss": f"{statistics.mean(found):.4f}",
            "against the recipe": f"{statistics.mean(found) - base:+.4f}",
            "worst seed": f"{max(found):.4f}",
            "time of a step": f"{ratio(seconds[name], seconds['the recipe']):.2f}",
        }
        for name, found in losses.items()
    ]


def default(folder: str) -> list[dict]:
    """The default recipe on the built-in text: what `whence train` reaches, and in what time."""
    recipe = Recipe()
    source = open_source(*recipe.data.source)
    dataset = prepare(source, "chars", None, recipe.data.validation, Path(folder))
    session = assemble(replace(recipe, hardware=recipe.hardware.resolved()), dataset)
    seconds = run_steps(session)
    found = session.evaluate()
    return [
        {
            "steps": f"{recipe.steps} × {recipe.batch_size} × {recipe.model.context_length}",
            "validation loss": f"{found.loss:.4f}",
            "bits per byte": f"{found.bits_per_byte:.4f}",
            "seconds": f"{sum(seconds):.1f}",
            "ms a step": f"{1e3 * statistics.median(seconds):.1f}",
        }
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if "--default" in sys.argv:
            return table(default(folder))
        dataset = shakespeare(folder)
        hardware = Hardware(device="cpu").resolved()
        if "--ablations" in sys.argv:
            return table(ablations(dataset, hardware, range(2)))
        return table(race(dataset, hardware, range(5)))


if __name__ == "__main__":
    main()
