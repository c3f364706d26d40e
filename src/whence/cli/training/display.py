"""What a person sees while a model learns: a live line in a terminal, plain lines elsewhere."""

import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from whence import __version__
from whence.cli.terminal import Console
from whence.data.baselines import Baseline, baselines
from whence.doctor.live import Live
from whence.errors import in_bytes, in_flops, shell_word
from whence.models import GPTConfig, build
from whence.models.kinds import MODELS, ModelConfig
from whence.runs.recipe import kind_of
from whence.runs.remarks import remarks
from whence.runs.run import Run
from whence.runs.store.retention import policy
from whence.runs.training.events import (
    Differed,
    Ended,
    Evaluated,
    Event,
    Noted,
    Sampled,
    Stepped,
)
from whence.scale.hardware import device_name
from whence.scale.machines import utilisation
from whence.scale.plan import plan
from whence.train.optimizers import OPTIMIZERS

WAITS = 10_000_000  # bytes of text that take some seconds to count


def display_for(run: Run) -> "Display":
    """Return the display for standard output: live on a terminal, plain elsewhere."""
    return Display(run, Console(soft_wrap=True))


class Display:
    """Prints the run's heading, a live line, each measurement, samples, and what to do next.

    Args:
        run: the run that is going to be trained.
        console: where to print.
    """

    def __init__(self, run: Run, console: Console):
        self.run, self.console = run, console
        self.n_steps = run.recipe.steps
        dataset = run.dataset
        self.tokens_per_byte = len(dataset.train) / max(1, dataset.n_bytes_train)
        self.seconds, self.tokens, self.n_done = 0.0, 0, 0
        self.flops_per_token = 0.0  # of a GPT
        self.started = time.perf_counter()
        self.first_step: float | None = None  # when it began: what came before says nothing of pace
        self.baselines: list[Baseline] = []
        self.passed: set[str] = set()
        self.loss: float | None = None
        self.ended: Ended | None = None
        self.doctor = Live(run)
        self.progress = Progress(
            TextColumn("{task.fields[step]}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=console,
            refresh_per_second=4,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("", total=self.n_steps, step="", numbers="")
        self._last_line = 0.0

    def __enter__(self):
        try:
            self._heading()
        except KeyboardInterrupt:
            path = shell_word(self.run.path)
            self.console.print(f"\nno step was done. Go on with:  whence resume {path}")
            raise
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.progress.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text)

    def show(self, event: Event) -> None:
        """Print what happened, if it is worth a line."""
        if isinstance(event, Stepped):
            self._stepped(event)
        elif isinstance(event, Evaluated):
            self._evaluated(event)
        elif isinstance(event, Sampled):
            self._named("writes ", _one_paragraph(event.text))
        elif isinstance(event, Differed):
            self.console.print(
                f"step {event.step} gave the loss {event.loss!r} and the record says "
                f"{event.recorded!r}: another machine, thread count or version; from here on the "
                "record is this one's.",
                style="yellow",
            )
        elif isinstance(event, Noted):
            self._named("note   ", event.text, "yellow")
        elif isinstance(event, Ended):
            self.ended = event
        for finding in self.doctor.note(event):
            colour = "red" if finding.level == "act" else "yellow"
            self._named("doctor ", f"{finding.verdict}: {finding.advice}", colour)

    def measuring(self, done: int, total: int) -> None:
        """Show how far a measurement is, if it takes a while."""
        if total > 20:
            self.progress.update(self.task, numbers=f"measuring: batch {done:,} of {total:,}")

    def close(self) -> None:
        """Print the last sample and what to do next."""
        run, ended = self.run, self.ended
        if ended is None:
            return
        path = shell_word(run.path)
        if ended.why == "stopped":
            self.console.print(
                f"\nstopped and saved before step {ended.step}. Go on with:  whence resume {path}"
            )
            return
        if not run.task.is_prose:
            self._answers()
        else:
            self._named("\nit writes", " (temperature 0.8)", "bold")
            text = run.generate("", max_tokens=500, temperature=0.8, seed=0)
            self.console.print(text.strip())
        n = len(run.checkpoints)
        kept = f"{n} checkpoint{'s' * (n != 1)}, {in_bytes(run.disk_use)} in all"
        if run.task.by_steps:
            done = f"{ended.why} after {ended.step:,} steps in {_duration(self.elapsed)} "
            done += f"({_duration(self.seconds)} of it in steps, {self._speed()})"
            further = f"whence resume {path} --steps {2 * self.n_steps}"
        else:
            done = f"counted in {self.seconds:.2f} s ({self._speed()})"
            further = f"whence compare {path} runs/another"
            kept = f"{in_bytes(run.disk_use)} in all"
        self.console.print(f"\n{done}; saved in {path} ({kept})")
        self.console.print(
            "\nnext\n"
            f"  whence {run.task.question(path)}\n"
            f"  whence evaluate {path} your.txt\n"
            f"  {further}"
        )

    def _answers(self) -> None:
        self._named("\nit answers", " (to what was held out)", "bold")
        for question, answer, right in self.run.task.answers(self.run.model("last"), 5):
            verdict = "" if answer == right else f"  (should be {right})"
            self.console.print(Text.assemble(f"  {question} → {answer}", (verdict, "red")))

    def _named(self, name: str, text: str, style: str = "dim") -> None:
        self.console.print(Text.assemble((name, style), text))

    @property
    def elapsed(self) -> float:
        """Seconds since the display began."""
        return time.perf_counter() - self.started

    def _heading(self) -> None:
        run, recipe, data = self.run, self.run.recipe, self.run.dataset
        tokenizer = data.tokenizer
        names = {"chars": "characters", "bytes": "bytes", "words": "words", "bpe": "BPE tokens"}
        names["imported"] = "tokens"
        kinds = names[tokenizer.kind]
        model, session = recipe.model, run.session()
        n_parameters = sum(p.numel() for p in session.model.parameters())
        size = f": {n_parameters:,} parameters" if n_parameters else ""
        epochs = recipe.steps * session.task.tokens_per_step / len(data.train)
        learns = (
            f"{recipe.steps:,} steps × {recipe.batch_size} {session.task.unit} "
            f"({epochs:.1f} times the text) · {kind_of(recipe.optimizer, OPTIMIZERS)} "
            f"{recipe.optimizer.learning_rate:g} · {recipe.schedule.kind} · seed {recipe.seed}"
        )
        whole = data.validation is not data.train  # the same text where none is kept back
        n_bytes = data.n_bytes_train + whole * data.n_bytes_validation
        rows = {
            "on": recipe.hardware.summary(),
            "text": f"{data.source}: {n_bytes:,} bytes as "
            f"{len(data.train):,} {kinds} to train on and {len(data.validation):,} to validate; "
            f"{tokenizer.vocab_size:,} different ones",
            "model": f"{kind_of(model, MODELS)}: {shape_in_words(model)}{size}",
            "recipe": learns if run.task.by_steps else "counts the text once; there are no steps",
            "run": str(run.path),
        }
        if run.task.by_steps:
            tokens = min(recipe.record.evaluate_tokens or 0, len(data.validation))
            spread = " all over it" if recipe.record.measures_part_of(len(data.validation)) else ""
            rows["tests"] = (
                f"every {recipe.record.evaluate_every:,} steps on {tokens:,} validation "
                f"{kinds if run.task.is_prose else 'tokens'}{spread}; at the end on all "
                f"{len(data.validation):,}"
            )
            rows["saves"] = (
                f"a checkpoint {policy(recipe.record)}; each takes at most "
                f"{in_bytes(12 * n_parameters)} (weights, and what the optimizer remembers)"
            )
            rows["plan"] = self._plan(n_parameters, session.task.tokens_per_step)
        self._named("Whence ", __version__, "bold")
        for name, text in rows.items():
            self._named(f"{name:<7}", text)
        for remark in remarks(recipe, data):
            self._named("note   ", remark, "yellow")
        if not run.task.is_prose:
            self.console.print("")
            return
        with self._waiting("counting what a model must beat", n_bytes > WAITS):
            self.baselines = baselines(data)
        told = " · ".join(f"{f.name} {f.bits_per_byte:.3f}" for f in self.baselines)
        self._named(f"{'beat':<7}", f"{told} bits per byte of the validation text\n")

    def _waiting(self, what: str, long: bool) -> AbstractContextManager[Any]:
        """Say what is waited for, if it takes long: on a terminal for as long as it takes."""
        if long and self.console.is_terminal:
            return self.console.status(what)
        if long:
            self.console.print(what)
        return nullcontext()

    def _plan(self, n_parameters: int, tokens_per_step: int) -> str:
        """What a step takes, and how the text read compares with the model's size."""
        recipe = self.run.recipe
        told = f"{recipe.steps * tokens_per_step / max(1, n_parameters):.1f} tokens for each "
        told += "parameter (Chinchilla: 20); 'whence plan' says what it takes"
        if not isinstance(recipe.model, GPTConfig):
            return told
        vocab_size = self.run.tokenizer.vocab_size
        part = (recipe.batch_size // recipe.accumulate, recipe.window_length)
        planned = plan(lambda: build(recipe.model, vocab_size), part)
        self.flops_per_token = recipe.accumulate * planned.flops / tokens_per_step
        step = f"{in_flops(recipe.accumulate * planned.flops)} and about "
        return f"{step}{in_bytes(planned.memory)} of memory a step; {told}"

    def _stepped(self, event: Stepped) -> None:
        self.seconds += event.seconds
        self.tokens += event.tokens
        self.loss = event.loss if self.loss is None else 0.9 * self.loss + 0.1 * event.loss
        done = event.step + 1
        self.n_done += 1
        now = time.perf_counter()
        self.first_step = self.first_step or now - event.seconds
        left = (self.n_steps - done) * (now - self.first_step) / self.n_done
        numbers = (
            f"loss {self.loss:.3f} · {self._bits(self.loss):.3f} bits/byte · {self._speed()} · "
            f"{_duration(left)} left"
        )
        self.progress.update(self.task, completed=done, step=f"step {done}", numbers=numbers)
        if not self.console.is_terminal and now - self._last_line > 10:
            self._last_line = now
            self.console.print(f"step {done:>6,}  {numbers}")

    def _evaluated(self, event: Evaluated) -> None:
        now = event.evaluation.bits_per_byte
        n, all_of_it = event.evaluation.n_tokens, len(self.run.dataset.validation) - 1
        part = self.run.task.is_prose and n < all_of_it
        # A fresh model guesses evenly, and rounding must not praise it for that. The baselines are
        # of the whole part: what was measured on a part can't be held against them.
        below = [
            f.name
            for f in self.baselines
            if event.step and not part
            if now < f.bits_per_byte - 0.001 and f.name not in self.passed
        ]
        self.passed.update(below)
        what = "all of validation" if event.whole else "validation"
        what += f" ({n:,} tokens of it)" if part else ""
        text = f"step {event.step:>6,}  {what} {now:.4f} bits/byte"
        text += (
            f" · loss {event.evaluation.loss:.4f} · perplexity {event.evaluation.perplexity:.2f}"
        )
        if event.evaluation.exact_match is not None:
            text += f" · {event.evaluation.exact_match:.1%} of the targets exact"
        if event.evaluation.loss == math.inf:
            text += " · it gives probability 0 to a token there: smooth it (--model.smoothing)"
        elif event.best and event.step:
            text += " · best"
        passed = f" · now below {', '.join(below)}" if below else ""
        self.console.print(Text.assemble(text, (passed, "green")))

    def _bits(self, loss: float) -> float:
        from whence.train.losses import bits_per_byte

        return bits_per_byte(loss, 1, 1) * self.tokens_per_byte

    def _speed(self) -> str:
        if not self.seconds:
            return "–"
        rate = self.tokens / self.seconds
        hardware = self.run.recipe.hardware
        known = self.flops_per_token and hardware.device == "cuda"
        name = device_name("cuda").removeprefix("CUDA: ") if known else ""
        used = utilisation(rate * self.flops_per_token, name, hardware.precision)
        return f"{rate:,.0f} tokens/s on average" + (
            f", MFU {used:.1%}" if used is not None else ""
        )


SIZES = {
    "order": "order {}",
    "smoothing": "{}",
    "n_layers": "{} layers",
    "n_heads": "{} heads",
    "n_previous": "{} tokens back",
    "d_model": "width {}",
    "d_ff": "{} hidden units",
    "context_length": "window {}",
}


def shape_in_words(model: ModelConfig) -> str:
    """Name the sizes that a model's configuration sets.

    Example:
        >>> shape_in_words(MODELS["bigram"])
        'window 64'
    """
    values = vars(model)
    told = [text.format(values[name]) for name, text in SIZES.items() if values.get(name)]
    return ", ".join(told).replace("1 layers", "1 layer")


def _one_paragraph(text: str) -> str:
    return " ".join(text.split())


def _duration(seconds: float) -> str:
    seconds = max(0, round(seconds))
    if seconds < 100:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{minutes / 60:.1f} h"
