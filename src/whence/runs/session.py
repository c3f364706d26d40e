"""What a recipe becomes in memory: model, batches, loss and optimiser, ready for the loop."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from whence.data import Dataset, WindowBatches
from whence.models import build
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
    model: nn.Module
    forward: nn.Module
    batches: WindowBatches
    optimizer: Optimizer

    @property
    def hardware(self) -> Hardware:
        """What the steps are computed on."""
        return self.recipe.hardware

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a batch holds."""
        return self.recipe.batch_size * self.recipe.model.context_length

    def loss(self, model: nn.Module, part: Any):
        """Return the loss of a part of a batch, in the run's precision."""
        with self.hardware.context():
            return next_token_loss(model, part)

    def evaluate(self, n_tokens: int | None = None) -> Evaluation:
        """Measure the loss on the validation text, or on its first tokens."""
        tokens = self.dataset.validation[:n_tokens]
        return evaluate(
            self.forward,
            tokens,
            context_length=self.recipe.model.context_length,
            n_bytes=self.dataset.tokenizer.n_bytes(tokens[1:]),
            device=self.hardware.device,
            precision=self.hardware.context,
        )


def assemble(recipe: Recipe, dataset: Dataset) -> Session:
    """Make what a recipe describes; its first weights are a function of the seed alone.

    Args:
        recipe: with its hardware resolved.
        dataset: the tokens of the recipe's text.
    """
    recipe.hardware.apply()
    torch.manual_seed(recipe.seed)
    model = build(recipe.model, dataset.tokenizer.vocab_size).to(recipe.hardware.device)
    batches = WindowBatches(
        dataset.train,
        context_length=recipe.model.context_length,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        accumulate=recipe.accumulate,
        device=recipe.hardware.device,
    )
    optimizer = Optimizer(
        model, recipe.optimizer, recipe.schedule, recipe.steps, recipe.hardware.matmul_dtype
    )
    forward = torch.compile(model) if recipe.hardware.compile else model
    return Session(recipe, dataset, model, forward, batches, optimizer)
