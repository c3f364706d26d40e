"""Predict each token of a text from those before it: what most models are trained to do."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from whence.data import Dataset, Source, WindowBatches, prepare, text_source
from whence.data.texts.cutting import MARK
from whence.data.tokenizers.chars import CharTokenizer
from whence.data.tokenizers.words import UNKNOWN_ID
from whence.errors import WhenceError, shell_word
from whence.generate import generate
from whence.generate.reader import CachedLanguageModel, LanguageModel
from whence.runs.recipe import Recipe
from whence.scale.hardware import find_device
from whence.train.evaluation import (
    Evaluation,
    Progress,
    evaluate,
    no_progress,
    spread,
    window_losses,
)
from whence.train.losses import next_token_loss
from whence.train.optimizer import Optimizer

LONGEST_MEASURED = 2048  # tokens

Precision = Callable[[], AbstractContextManager]


class Batches(Protocol):
    """What a run trains on: a pure function of the step."""

    def __getitem__(self, step: int, /) -> list[tuple[float, Any]]:
        """Make the parts of a step's batch."""
        ...

    def starts(self, step: int) -> np.ndarray:
        """Say where the parts of a step are in the text."""
        ...


class Text:
    """Predict the next token; the base of every other task, which overrides only what differs.

    Args:
        recipe: what to train, and how.
        dataset: the text's tokens.

    Attributes:
        unit: what a batch is made of, in words.
        by_steps: the model learns by the loop, so that it has steps to go back to.
        is_prose: the text can be written on, and held against the floors.
        more: what to do to train further.

    Raises:
        WhenceError: where the text or the recipe doesn't suit the task.
    """

    unit = "windows"
    by_steps = True
    is_prose = True
    more = "Give more with --steps."

    def __init__(self, recipe: Recipe, dataset: Dataset):
        self.recipe, self.dataset = recipe, dataset

    @staticmethod
    def settle(recipe: Recipe, source: Source) -> Recipe:
        """Put into a recipe what its model must be told of the text: here nothing."""
        return recipe

    def prepare(self, model: Any) -> None:
        """Give a new model what it must know of the text before its first step: here nothing."""

    def batches(self, device: str) -> Batches:
        """Return what the steps train on."""
        return WindowBatches(
            self.dataset.train,
            context_length=self.recipe.window_length,
            skip=[(start, stop) for start, stop in self.recipe.change.skip_tokens],
            **self._batch_options(device),
        )

    def learn(
        self, forward: Any, batches: Batches, loss: Any, optimizer: Optimizer, steps: Iterable[int]
    ) -> Iterator[tuple[int, Any]]:
        """Train, and give the number and the loss of each step."""
        from whence.train.loop import train

        yield from train(forward, batches, loss, optimizer, steps)

    def loss(self, model: Callable[..., Any], part: Any) -> Tensor:
        """Return the loss of a part of a batch."""
        return next_token_loss(model, part)

    def notes(self, model: Any) -> list[str]:
        """Say, after a step, where the model did something other than requested."""
        return []

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a batch holds, or about."""
        return self.recipe.batch_size * self.recipe.window_length

    def evaluate(
        self,
        model: Any,
        n_tokens: int | None = None,
        precision: Precision = nullcontext,
        each: Progress = no_progress,
    ) -> Evaluation:
        """Measure a model during training: on the validation text, or on windows all over it."""
        tokens, length = self.dataset.validation, self.recipe.window_length
        predicted, starts = tokens[1:], None
        if n_tokens is not None and n_tokens < len(tokens):
            starts, length = spread(len(tokens), length, n_tokens)
            predicted = tokens[(starts[:, None] + np.arange(1, length + 1)).ravel()]
        return evaluate(
            model,
            tokens,
            starts=starts,
            context_length=length,
            n_bytes=self.dataset.bytes_behind(predicted),
            device=self.recipe.hardware.device,
            precision=precision,
            vocab_size=self.dataset.tokenizer.vocab_size,
            each=each,
        )

    def measure(self, model: Any, text: str | Source | None, overlap: bool = False) -> Evaluation:
        """Measure a trained model on all of a text, or of the validation part.

        As during training: windows side by side, in the run's precision where this machine has
        its device (else in float32). With `overlap` windows overlap by half, in float32, so that
        each prediction but the first few has at least half a window before it.
        """
        tokenizer = self.dataset.tokenizer
        source = text_source("the text", lambda: [text]) if isinstance(text, str) else text
        left_out: Counter[str] = Counter()
        if source is not None and isinstance(tokenizer, CharTokenizer):
            source, left_out = _readable(source, tokenizer)
        with self.tokens_of(source) as (tokens, n_bytes):
            counted = n_bytes - tokenizer.n_bytes(tokens[:1])
            if source is None:  # as during training, to the last bit
                counted = self.dataset.bytes_behind(tokens[1:])
            found = self._measure(model, tokens, counted, overlap)
            unknown = int((tokens[1:] == UNKNOWN_ID).sum()) if tokenizer.kind == "words" else 0
        return replace(found, n_unknown=unknown, left_out=dict(left_out))

    def _measure(self, model: Any, tokens: np.ndarray, n_bytes: int, overlap: bool) -> Evaluation:
        context_length = self.recipe.window_length
        if overlap:  # with all that the model reads, as far as its logits leave memory
            context_length = min(self.recipe.model.context_length, LONGEST_MEASURED)
        hardware = self.recipe.hardware
        device = find_device("auto")
        same = device == hardware.device and not overlap
        return evaluate(
            model.to(device),
            tokens,
            context_length=context_length,
            stride=max(1, context_length // 2) if overlap else None,
            n_bytes=n_bytes,
            device=device,
            precision=hardware.context if same else nullcontext,
            vocab_size=self.dataset.tokenizer.vocab_size,
        )

    def stretches(self, model: Any, n_tokens: int) -> list[float]:
        """The loss of each of some stretches of the validation part, at most so many tokens.

        Args:
            model: the run's model, perhaps with a part silenced.
            n_tokens: at most so many tokens are read.
        """
        tokens = self.dataset.validation
        window = min(self.recipe.model.context_length, max(1, (len(tokens) - 1) // 2))
        starts, window = spread(len(tokens), window, n_tokens)
        rows = tokens[starts[:, None] + np.arange(window + 1)]
        return window_losses(model, rows).mean(1).tolist()

    @property
    def prompt(self) -> str:
        """What a sample goes on from."""
        return ""

    def question(self, run: str) -> str:
        """Return the arguments of `whence` that ask a trained model: how its own text begins.

        Args:
            run: its folder, as in a command.
        """
        return f"generate {run} {shell_word(self._opening())} --show-probabilities"

    def _opening(self, longest: int = 12) -> str:
        """The first words of a line of the text, as short as a command should be."""
        decode = self.dataset.tokenizer.decode
        text = decode(np.asarray(self.dataset.train[:400]))
        lines = [" ".join(line.split()) for line in text.splitlines()]
        line = next((line for line in lines if any(c.isalpha() for c in line)), text.strip()[:1])
        cut = line.rfind(" ", 0, longest)
        return line[:cut] if cut > 0 else line[:longest]

    @property
    def stop(self) -> tuple[str, ...]:
        """Where a sample ends, besides its length."""
        return ()

    def asked(self, prompt: str) -> str:
        """Return the prompt that the model continues when a person asks this.

        Raises:
            WhenceError: where the model can't be asked so.
        """
        return prompt

    def writer(self, model: Any) -> LanguageModel | CachedLanguageModel:
        """Return a model as one that writes.

        Raises:
            WhenceError: where it doesn't write.
        """
        return model

    def sample(self, model: Any, n_tokens: int, seed: int) -> str:
        """Let the model write, and return what it went on from and what it wrote."""
        written = generate(
            model,
            self.dataset.tokenizer,
            prompt=self.prompt,
            max_tokens=n_tokens,
            seed=seed,
            stop=self.stop,
        )
        return self.prompt + written[0]

    def answers(self, model: Any, n: int) -> list[tuple[str, str, str]]:
        """What a model says to some held-out questions: (question, answer, the right one)."""
        return []

    def _batch_options(self, device: str) -> dict[str, Any]:
        r = self.recipe
        return {
            "batch_size": r.batch_size,
            "seed": r.seed,
            "accumulate": r.accumulate,
            "device": device,
        }

    def _no_token_is_skipped(self) -> None:
        if self.recipe.change.skip_tokens:
            raise WhenceError(f"tokens can't be left out of {self.unit}: leave out whole batches.")

    @contextmanager
    def tokens_of(self, source: Source | None) -> Iterator[tuple[np.ndarray, int]]:
        """Give a text's tokens, mapped from disk, and how many bytes it has."""
        if source is None:
            yield self.dataset.validation, self.dataset.n_bytes_validation
            return
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            tokenizer = self.dataset.tokenizer
            ended = self.recipe.data.documents
            made = prepare(source, tokenizer.kind, None, 0, Path(folder), tokenizer, ended=ended)
            yield made.train, made.n_bytes_train


def _readable(source: Source, tokenizer: CharTokenizer) -> tuple[Source, Counter[str]]:
    """Return a text without the characters that a tokenizer has never seen, and a count of those.

    Raises:
        WhenceError: where it has seen none of them.
    """
    left_out: Counter[str] = Counter()
    for chunk in source.chunks():
        left_out.update(tokenizer.split_unknown(chunk.replace(MARK, ""))[1])
    if not left_out:
        return source, left_out
    if left_out.total() > source.n_chars - 2:
        raise WhenceError(
            f"{source.name} has none of the {tokenizer.vocab_size} characters that this model was "
            "trained on: measure it on a text in the same writing system."
        )
    known = text_source(
        source.name, lambda: (tokenizer.split_unknown(chunk)[0] for chunk in source.chunks())
    )
    return known, left_out
