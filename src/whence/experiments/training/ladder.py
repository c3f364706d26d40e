"""Every kind of model on one text: the same split, the same seconds, one measure."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from whence.data import Dataset, Source, open_source, prepare
from whence.errors import WhenceError
from whence.generate import generate
from whence.models import NGram
from whence.models.kinds import KINDS
from whence.runs.recipe import Recipe, Record, choose, usual
from whence.runs.run import Run
from whence.runs.store.files import read_text, write_whole
from whence.runs.store.records.steps import Steps
from whence.runs.tasks import task_of
from whence.runs.training.creation import at_free, reserved, resolve
from whence.runs.training.events import Stepped
from whence.runs.training.session import assemble
from whence.train.losses import bits_per_byte

# name: the kind of model, and what of it is set otherwise
# Each rung: its kind of model, and the settings that differ from the usual ones.
RUNGS: dict[str, tuple[str, Mapping[str, Any]]] = {
    rung: (name, settings)
    for name, kind in sorted(KINDS.items(), key=lambda item: "gpt" in item[0])
    for rung, settings in kind.rungs.items()
}
FILE = "ladder.json"  # what was asked for
TRIAL_STEPS = 4
WRITTEN = 120  # tokens of each rung's writing
LATE = 1.2  # times the budget: a rung whose steps have become slower since is stopped


@dataclass(frozen=True)
class Row:
    """What one rung came to.

    Attributes:
        rung: its name.
        parameters: numbers learned, or n-grams kept.
        tokens: tokens seen in training.
        seconds: spent in training.
        bits_per_byte: on all of the validation text, in windows that overlap by half: counts and
            networks both see what is before a token, also where a window begins.
        writing_speed: tokens per second when it writes.
        text: a line of its writing.
        folder: its run, if it has one.
        curve: (seconds, bits per byte of the batch) during training.
    """

    rung: str
    parameters: int
    tokens: int
    seconds: float
    bits_per_byte: float
    writing_speed: float
    text: str
    folder: Path | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)

    @property
    def training_speed(self) -> float:
        """Tokens per second in training."""
        return self.tokens / max(self.seconds, 1e-9)


def climb(
    text: str | Sequence[str],
    seconds_each: float = 20.0,
    rungs: Sequence[str] = tuple(RUNGS),
    folder: Path | None = None,
    base: Recipe | None = None,
) -> Iterator[Row]:
    """Train each rung on a text for the same time, and measure it on the same validation part.

    The number of steps is the budget over the time of a step, tried out first, so that each
    rung's learning rate falls to its end within the budget. Where steps become slower later, the
    rung is stopped a fifth above its budget. Counted models take what time they need.

    Args:
        text: as `open_source` takes it.
        seconds_each: budget of a rung's training steps.
        rungs: names out of `RUNGS`.
        folder: where each run is saved; none: a free name under `runs/`. A ladder that was broken
            off there goes on: rungs that are done are only measured again.
        base: everything of the recipe but the model and the steps.

    Yields:
        A `Row` as soon as a rung is done.

    Raises:
        WhenceError: an unknown rung, a budget that isn't positive, or a text that can't be read.
    """
    for rung in rungs:
        choose("rung", rung, RUNGS)
    if not seconds_each > 0:
        raise WhenceError(f"--seconds-each is {seconds_each:g}: give more than 0.")
    source = open_source(text)
    recipe = base or Recipe()
    names = (text,) if isinstance(text, str) else tuple(text)
    recipe = resolve(replace(recipe, data=replace(recipe.data, source=names)), source)
    data = recipe.data
    folder = _begin(folder, source, seconds_each, recipe)
    dataset = prepare(source, data.tokenizer, data.vocab_size, data.validation, folder / "text")
    for rung in rungs:
        kind, settings = RUNGS[rung]
        shaped = usual(recipe, kind)
        shaped = replace(shaped, model=replace(shaped.model, **settings))
        yield _learn(rung, source, dataset, shaped, seconds_each, folder)


def _begin(folder: Path | None, source: Source, budget: float, recipe: Recipe) -> Path:
    """Make a ladder's folder, or find it as it was left, with the same text, budget and recipe."""
    asked = {"schema": 1, "text": source.sha256, "seconds": budget, "recipe": recipe.to_dict()}
    text = json.dumps(asked, sort_keys=True) + "\n"
    folder = folder or at_free(Path("runs"), f"ladder {source.name}", reserved)
    if folder.exists() and any(folder.iterdir()):
        if not (folder / FILE).is_file() or read_text(folder / FILE) != text:
            raise WhenceError(
                f"{folder} already exists, and no ladder of this text, time and recipe was begun "
                "there: choose another name with --out."
            )
    else:
        write_whole(folder / FILE, text)
    return folder


def _learn(
    rung: str, source: Source, dataset: Dataset, recipe: Recipe, budget: float, folder: Path
) -> Row:
    quiet = Record(sample_tokens=0, checkpoint_every=10**9, evaluate_every=10**9)
    recipe = replace(recipe, record=quiet)
    by_steps = task_of(recipe, dataset).by_steps
    if (folder / rung).exists():  # of a ladder that was broken off
        run = Run.open(folder / rung)
    else:
        if by_steps:
            steps = max(1, int(budget / _seconds_per_step(recipe, dataset)))
            recipe = replace(recipe, steps=steps)
        run = Run.create(recipe, folder / rung, source)
    if run.state != "finished":
        _train(run, LATE * budget if by_steps else math.inf)
    records = run.steps
    seconds = records.seconds()
    model = run.model("last")
    speed, text = _write(model, dataset)
    return Row(
        rung=rung,
        parameters=model.n_parameters
        if isinstance(model, NGram)
        else sum(p.numel() for p in model.parameters()),
        tokens=int(records.column("tokens").sum()),
        seconds=seconds,
        bits_per_byte=run.evaluate(at="last", overlap=True).bits_per_byte,
        writing_speed=speed,
        text=text,
        folder=run.path,
        curve=_curve(records, len(dataset.train) / dataset.n_bytes_train),
    )


def _train(run: Run, budget: float) -> None:
    """Train from where the run is to its end, or until so many seconds went into its steps."""
    done = max(run.checkpoints, default=0)
    spent = [run.steps.seconds(0, done)]
    for event in run.train(should_stop=lambda: spent[0] > budget):
        if isinstance(event, Stepped):
            spent[0] += event.seconds


def _seconds_per_step(recipe: Recipe, dataset: Dataset) -> float:
    """The median time of some steps after a first one, which is slower."""
    loop = assemble(recipe, dataset).learn(range(TRIAL_STEPS + 1))
    next(loop)
    times = []
    for _ in range(TRIAL_STEPS):
        start = time.perf_counter()
        next(loop)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _write(model, dataset: Dataset) -> tuple[float, str]:
    start = time.perf_counter()
    text = generate(model, dataset.tokenizer, max_tokens=WRITTEN, temperature=0.8, seed=0)[0]
    return WRITTEN / (time.perf_counter() - start), " ".join(text.split())


def _curve(records: Steps, tokens_per_byte: float, n: int = 60) -> list[tuple[float, float]]:
    """About n means over stretches of the training loss, in bits per byte, by seconds spent."""
    ends = np.cumsum(records.column("seconds"))
    losses = records.column("loss")
    groups = np.array_split(np.arange(len(records)), min(n, len(records)))
    return [
        (float(ends[g[-1]]), bits_per_byte(float(losses[g].mean()), 1, 1) * tokens_per_byte)
        for g in groups
    ]
