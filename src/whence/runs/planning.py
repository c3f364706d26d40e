"""What a recipe will take, found before it is trained: operations, memory, time, disk."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from whence.data import Dataset, Source, prepare, text_source
from whence.errors import WhenceError
from whence.models import GPTConfig, build
from whence.models.kinds import KINDS, kind_for
from whence.runs.recipe import Recipe, usual
from whence.runs.tasks import task_of
from whence.runs.training.creation import resolve
from whence.runs.training.session import assemble, n_parameters
from whence.scale.footprint import Footprint, footprint
from whence.scale.limits import peak_memory
from whence.scale.machines import SHARE, Machine
from whence.scale.plan import available_memory
from whence.train.optimizer import Optimizer

CHINCHILLA = 20  # tokens for each parameter (Hoffmann et al. 2022)
READ = 20_000_000  # bytes of a text that are tokenised for a plan; the rest is taken to be alike
SECONDS = 3.0  # of real steps


@dataclass(frozen=True)
class Planned:
    """What a recipe will take.

    Attributes:
        recipe: resolved.
        parts: how many parameters each part of the model has.
        step: memory and operations of one step.
        process: bytes that Python and PyTorch take before any of it.
        gaps: bytes that real steps took beside all that: freed blocks that nothing fitted into, and
            what kernels keep for themselves; 0 where no steps were run, or nobody can tell.
        preparing: bytes that counting a model's table took at its peak, before the first step; 0
            where nothing is counted, or nobody can tell.
        room: bytes of memory that there are, on this machine or the one asked for.
        tokens_per_step: that a step learns from.
        text_tokens: that the text has to train on.
        seconds: that a step takes; none: not measured, and no machine was named.
        how: where `seconds` comes from.
        peak_share: the share of the published peak that was reckoned with; none: measured.
        largest_batch: windows of a part of a batch that fit.
        largest_model: parameters of the largest model of this shape that fits; none where it has no
            layers to add.
        advice: what to change where it doesn't fit; empty where it does.
    """

    recipe: Recipe
    parts: dict[str, int]
    step: Footprint
    process: int
    gaps: int
    preparing: int
    room: int
    tokens_per_step: int
    text_tokens: int
    seconds: float | None
    how: str
    largest_batch: int
    largest_model: int | None
    advice: str

    @property
    def n_parameters(self) -> int:
        """How many numbers are learnt."""
        return sum(self.parts.values())

    @property
    def memory(self) -> int:
        """Bytes at the peak, Python and PyTorch included."""
        return self.process + max(self.step.memory + self.gaps, self.preparing)

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint; beside a step they are taken once more while it is written."""
        return self.step.weights + self.step.moments

    @property
    def fits(self) -> bool:
        """Whether a step, and a checkpoint being written beside it, have room."""
        step = self.step.memory + self.gaps + self.checkpoint
        return max(step, self.preparing) <= self.room

    @property
    def tokens_per_parameter(self) -> float:
        """Tokens read in the whole run for each parameter."""
        return self.recipe.steps * self.tokens_per_step / max(1, self.n_parameters)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "recipe": self.recipe.to_dict(),
            "parameters": self.n_parameters,
            "parameters_by_part": self.parts,
            "flops_per_step": self.step.flops,
            "memory": {
                "process": self.process,
                "gaps": self.gaps,
                "preparing": self.preparing,
                **{k: v for k, v in asdict(self.step).items() if k not in ("flops", "recorded")},
                "peak": self.memory,
                "room": self.room,
            },
            "fits": self.fits,
            "advice": self.advice,
            "tokens_per_step": self.tokens_per_step,
            "tokens": self.recipe.steps * self.tokens_per_step,
            "text_tokens": self.text_tokens,
            "tokens_per_parameter": self.tokens_per_parameter,
            "chinchilla": CHINCHILLA,
            "checkpoint": self.checkpoint,
            "trace": self.step.recorded,
            "seconds_per_step": self.seconds,
            "seconds": None if self.seconds is None else self.seconds * self.recipe.steps,
            "how": self.how,
            "largest_batch": self.largest_batch,
            "largest_model": self.largest_model,
        }


def plan_run(
    recipe: Recipe,
    source: Source,
    on: Machine | None = None,
    memory: int | None = None,
    seconds: float = SECONDS,
) -> Planned:
    """Find out what a recipe will take.

    Args:
        recipe: what would be trained.
        source: its text.
        on: another machine, by its published peaks; none: this one, where real steps are timed.
        memory: reckon with so many bytes of memory instead of what there is.
        seconds: how long to time real steps; 0: don't.

    Raises:
        WhenceError: where the text or the recipe can't be trained on, or its model is counted.

    Example:
        >>> from whence.data import open_source
        >>> from whence.models import GPTConfig
        >>> tiny = GPTConfig(n_layers=1, n_heads=2, d_model=16, context_length=16)
        >>> plan_run(Recipe(model=tiny), open_source("topics"), seconds=0).parts["blocks.mlp"]
        2048
    """
    if kind_for(recipe.model).task == "counted":
        raise WhenceError("a counted model takes no steps, so there is nothing to plan: count it.")
    other = None if isinstance(recipe.model, GPTConfig) else kind_for(recipe.model)
    process = _process(
        next((name for name, k in KINDS.items() if k is other and k.task == "text"), "")
    )
    if on is not None:
        recipe = replace(recipe, hardware=_as_on(recipe, on))
    recipe = resolve(recipe, source)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        dataset, share = _tokens(recipe, source, Path(folder))
        task = task_of(recipe, dataset)
        here, preparing = _footprint(recipe, dataset, 1)
        twice, _ = _footprint(recipe, dataset, 2)
        room = memory or (on.memory if on else available_memory(recipe.hardware.device) or 0)
        per_window = max(1, (twice.activations - here.activations) // _windows(recipe))
        always = max(0, here.activations - per_window * _windows(recipe))
        fixed = 2 * (here.weights + here.moments)  # twice: a checkpoint is being written
        measured = on is None and here.memory < 0.9 * room and seconds > 0
        took, added = _timed(recipe, dataset, seconds) if measured else (None, 0)
        gaps = max(0, added - here.memory)
        most = max(0, room - fixed - here.gradients - here.update - always - gaps)
        largest_batch = most // per_window
        vocab_size = dataset.tokenizer.vocab_size
        how = f"measured: {seconds:g} s of real steps on this machine"
        if on is not None:
            took = on.seconds(here.flops, recipe.hardware.precision)
            how = f"not measured: {SHARE:.0%} of the published peak of the {on.name}"
        elif not measured:
            how = "not measured"
        planned = Planned(
            recipe=recipe,
            parts=parts_of(recipe, vocab_size),
            step=here,
            process=process,
            gaps=gaps,
            preparing=preparing,
            room=room,
            tokens_per_step=task.tokens_per_step,
            text_tokens=round(len(dataset.train) / share),
            seconds=took,
            how=how,
            largest_batch=largest_batch,
            largest_model=_largest_model(recipe, vocab_size, here, room),
            advice="",
        )
    return planned if planned.fits else replace(planned, advice=_advice(planned))


def parts_of(recipe: Recipe, vocab_size: int) -> dict[str, int]:
    """Count the parameters of each part of a model; tied ones count where they stand first.

    Example:
        >>> from whence.models import GPTConfig
        >>> tiny = GPTConfig(n_layers=1, n_heads=2, d_model=16, context_length=16)
        >>> sorted(parts_of(Recipe(model=tiny), 65))
        ['blocks.attn', 'blocks.mlp', 'embed', 'head']
    """
    with torch.device("meta"):
        model = build(recipe.model, vocab_size)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        part = ".".join([word for word in name.split(".")[:-1] if not word.isdigit()][:2])
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


@cache
def _process(kind: str) -> int:
    """Bytes that this process takes once all is loaded that a step of a kind needs; "": a GPT."""
    small = GPTConfig(n_layers=1, n_heads=1, d_model=16, context_length=16)
    usually = usual(Recipe(), kind) if kind else Recipe(model=small)
    source = text_source("a few letters", lambda: ["a few letters " * 20])
    recipe = resolve(replace(usually, steps=1, batch_size=1), source)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        dataset = prepare(source, "chars", None, 0.1, Path(folder))
        for _ in assemble(recipe, dataset).learn(range(1)):
            pass
    return psutil.Process().memory_info().rss


def _as_on(recipe: Recipe, on: Machine):
    """The hardware of a recipe as it would be there; what is fixed in the recipe stays."""
    precision = recipe.hardware.precision
    if precision == "auto":
        precision = "bf16" if on.bf16 else "fp32"
    return replace(recipe.hardware, device="cpu", precision=precision, compile=False)


def _tokens(recipe: Recipe, source: Source, folder: Path) -> tuple[Dataset, float]:
    """The text's tokens, or those of its beginning, and the share of it that they are."""
    data, share = recipe.data, min(1.0, READ / source.n_bytes)
    if share < 1:
        whole, name = source, source.name

        def beginning():
            left = READ
            for chunk in whole.chunks():
                left -= len(chunk)
                yield chunk
                if left <= 0:
                    return

        source = text_source(name, beginning)
    made = prepare(source, data.tokenizer, data.vocab_size, data.validation, folder)
    return made, share


def _windows(recipe: Recipe) -> int:
    return recipe.batch_size // recipe.accumulate


def _footprint(recipe: Recipe, dataset: Dataset, times: int) -> tuple[Footprint, int]:
    """What a step takes, with parts so many times as large; and what preparing the model took."""
    recipe = replace(recipe, batch_size=times * recipe.batch_size)
    task, hardware, kind = task_of(recipe, dataset), recipe.hardware, kind_for(recipe.model)
    # What isn't plain text looks at its numbers as it goes, so it needs real ones.
    real = kind.task != "text"
    preparing = 0

    def made() -> nn.Module:
        nonlocal preparing
        model = build(recipe.model, dataset.tokenizer.vocab_size)
        if real:
            before, held = peak_memory(), psutil.Process().memory_info().rss
            task.prepare(model)
            peak = peak_memory()
            preparing = peak - held if peak > before else 0
        return model

    def loss(model: nn.Module, part: Any):
        with _precision(recipe):
            return task.loss(model, part)

    def optimizer(model: nn.Module) -> Optimizer:
        return Optimizer(
            model, recipe.optimizer, recipe.schedule, recipe.steps, hardware.matmul_dtype
        )

    with torch.inference_mode(False), torch.enable_grad():
        step = footprint(made, task.batches("cpu")[0], loss, optimizer, fake=not real)
    return step, preparing


def _precision(recipe: Recipe) -> AbstractContextManager:
    if recipe.hardware.precision != "bf16":
        return nullcontext()
    return torch.autocast("cpu", torch.bfloat16)


def _timed(recipe: Recipe, dataset: Dataset, seconds: float) -> tuple[float, int]:
    """Do real steps: how long one takes (the first two don't count), and bytes added, or 0."""
    session = assemble(recipe, dataset)
    times: list[float] = []
    before, held = peak_memory(), psutil.Process().memory_info().rss
    end = clock = time.perf_counter()
    for step, _ in session.learn(range(recipe.steps)):
        now = time.perf_counter()
        if step == min(1, recipe.steps - 1):
            end = now + seconds
        if step > 1 or recipe.steps < 3:
            times.append(now - clock)
        if step > 1 and now >= end:
            break
        clock = now
    peak = peak_memory()
    return statistics.median(times), peak - held if peak > before else 0


def _largest_model(recipe: Recipe, vocab_size: int, here: Footprint, room: int) -> int | None:
    """Parameters of the largest model that fits, deeper and wider by the same factor.

    What a step keeps grows with depth times width.
    """
    n_layers, d_model = (getattr(recipe.model, n, None) for n in ("n_layers", "d_model"))
    if not n_layers or not d_model:
        return None
    heads = getattr(recipe.model, "n_heads", 1)
    per_head = max(1, d_model // heads)
    for_weights = 2 * (here.weights + here.moments) + here.gradients + here.update
    per_weight = for_weights / max(1, here.weights)

    def sizes(n: int) -> tuple[int, int]:
        wide = max(1, round(heads * n / n_layers))
        changed: dict[str, Any] = {"n_layers": n, "d_model": wide * per_head}
        if hasattr(recipe.model, "n_heads"):
            changed["n_heads"] = wide
        if getattr(recipe.model, "n_kv_heads", None):
            changed["n_kv_heads"] = wide
        count = n_parameters(replace(recipe.model, **changed), vocab_size)
        grown = here.activations * (n / n_layers) * (wide / heads)
        return count, round(4 * count * per_weight + grown)

    low, high = 0, 1
    while high < 4096 and sizes(high)[1] <= room:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sizes(middle)[1] <= room else (low, middle)
    return sizes(low)[0] if low else 0


def _advice(planned: Planned) -> str:
    """What to change where it doesn't fit: more parts of a batch, or a smaller model."""
    recipe, largest = planned.recipe, planned.largest_batch
    for parts in range(2, recipe.batch_size + 1):
        if recipe.batch_size % parts == 0 and recipe.batch_size // parts <= largest:
            return f"compute the batch in parts: --accumulate {parts}"
    smaller = planned.largest_model
    if smaller:
        return (
            f"take a smaller model (up to about {smaller:,} parameters of this shape fit), by "
            "--model.n-layers and --model.d-model"
        )
    return "take a smaller model or a shorter window"
