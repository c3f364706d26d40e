"""What a recipe becomes in memory: model, batches, loss and optimiser, ready for the loop."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from whence.data import Dataset, WindowBatches
from whence.data.pairs import PairBatches
from whence.models import Model, build
from whence.models.seq2seq import Seq2Seq, Seq2SeqConfig
from whence.runs.pairs import measure_pairs, pairs_of
from whence.runs.recipe import Recipe
from whence.scale.hardware import Hardware
from whence.train.evaluation import Evaluation, evaluate
from whence.train.losses import next_token_loss
from whence.train.optimizer import Optimizer


@dataclass
class Session:
    """Everything that one training step reads and moves."""

    recipe: Recipe
    dataset: Dataset
    model: Model
    forward: Any  # the model, perhaps compiled
    batches: WindowBatches | PairBatches
    optimizer: Optimizer
    held_out: list[np.ndarray] = field(default_factory=list)  # pairs, of an encoder–decoder

    @property
    def hardware(self) -> Hardware:
        """What the steps are computed on."""
        return self.recipe.hardware

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a batch holds, of pairs about."""
        if isinstance(self.batches, PairBatches):
            pairs = self.batches.pairs
            return round(self.recipe.batch_size * sum(map(len, pairs)) / len(pairs))
        return self.recipe.batch_size * self.recipe.model.context_length

    def loss(self, model: nn.Module, part: Any):
        """Return the loss of a part of a batch, in the run's precision."""
        c = self.recipe.model
        smoothing = c.label_smoothing if isinstance(c, Seq2SeqConfig) else 0.0
        with self.hardware.context():
            return next_token_loss(model, part, smoothing)

    def evaluate(self, n_tokens: int | None = None) -> Evaluation:
        """Measure the loss on the validation text, or on its first tokens."""
        if isinstance(self.model, Seq2Seq):
            return measure_pairs(
                self.forward,
                self.model,
                self.held_out,
                self.dataset.tokenizer,
                n_tokens,
                self.hardware.context,
            )
        tokens = self.dataset.validation[:n_tokens]
        return evaluate(
            self.forward,
            tokens,
            context_length=self.recipe.model.context_length,
            n_bytes=self.dataset.tokenizer.n_bytes(tokens[1:]),
            device=self.hardware.device,
            precision=self.hardware.context,
        )

    @property
    def prompt(self) -> str:
        """What a sample goes on from: nothing, or the source of a held-out pair."""
        if not self.held_out:
            return ""
        pair = self.dataset.tokenizer.decode(self.held_out[0])
        return pair[: pair.index("\t") + 1]


def assemble(recipe: Recipe, dataset: Dataset) -> Session:
    """Make what a recipe describes; its first weights are a function of the seed alone.

    Args:
        recipe: with its hardware resolved.
        dataset: the tokens of the recipe's text.
    """
    recipe.hardware.apply()
    torch.manual_seed(recipe.seed)
    model = build(recipe.model, dataset.tokenizer.vocab_size).to(recipe.hardware.device)
    options: Any = {
        "batch_size": recipe.batch_size,
        "seed": recipe.seed,
        "accumulate": recipe.accumulate,
        "device": recipe.hardware.device,
    }
    held_out: list[np.ndarray] = []
    if isinstance(recipe.model, Seq2SeqConfig):
        c = recipe.model
        pairs, held_out = pairs_of(dataset, c)
        batches = PairBatches(pairs, c.separator, c.end, **options)
    else:
        batches = WindowBatches(
            dataset.train, context_length=recipe.model.context_length, **options
        )
    optimizer = Optimizer(
        model, recipe.optimizer, recipe.schedule, recipe.steps, recipe.hardware.matmul_dtype
    )
    forward = torch.compile(model) if recipe.hardware.compile else model
    return Session(recipe, dataset, model, forward, batches, optimizer, held_out)
