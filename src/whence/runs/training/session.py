"""What a recipe becomes in memory: model, batches, loss and optimizer, ready for the loop."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from whence.data import Dataset
from whence.errors import WhenceError
from whence.fields import nearest
from whence.models import GPTConfig, Model, ModelConfig, build
from whence.runs.recipe import Recipe
from whence.runs.tasks import Text, task_of
from whence.runs.tasks.text import Batches
from whence.runs.training.split import gathered, is_split
from whence.scale.conditions import each_within
from whence.scale.hardware import Hardware
from whence.scale.plan import check_memory, plan
from whence.scale.sharing import Averaged, Ordered, check_parts, replicated, sharded
from whence.scale.team import Team
from whence.train.evaluation import Evaluation, Progress, no_progress
from whence.train.optimizer import Optimizer


class SkippingBatches:
    """Batches of which some are never used; those after them move up.

    Args:
        batches: all of them.
        skipped: the numbers of those to leave out.

    Example:
        >>> from whence.data import WindowBatches
        >>> batches = SkippingBatches(WindowBatches(
        ...     torch.arange(40).numpy(), context_length=4, batch_size=2, seed=0), (1, 2))
        >>> [batches.number(step) for step in range(3)]
        [0, 3, 4]
    """

    def __init__(self, batches: Batches, skipped: tuple[int, ...]):
        self.batches, self.skipped = batches, sorted(set(skipped))

    def number(self, step: int) -> int:
        """Return the number of the batch that a step uses."""
        for number in self.skipped:
            if number > step:
                break
            step += 1
        return step

    def __getitem__(self, step: int):
        """Return the parts of a step's batch."""
        return self.batches[self.number(step)]

    def starts(self, step: int):
        """Say where the windows of a step start in the tokens."""
        return self.batches.starts(self.number(step))


@dataclass
class Session:
    """Everything that one training step reads and moves.

    Attributes:
        recipe: what all of this was made from.
        dataset: the tokens and their tokenizer.
        task: what the model is trained to do.
        model: the model, as written.
        forward: what the steps call: the model, or its compiled twin.
        batches: `batches[step]` gives the (weight, part) pairs of a step.
        optimizer: moves the model.
        team: the processes that do each step together; none: this one does it alone.
    """

    recipe: Recipe
    dataset: Dataset
    task: Text
    model: Model
    forward: Callable[..., Any]
    batches: Batches
    optimizer: Optimizer
    team: Team | None = None

    @property
    def hardware(self) -> Hardware:
        """What the steps are computed on."""
        return self.recipe.hardware

    def loss(self, model: Callable[..., Any], part: Any):
        """Return the loss of a part of a batch, in the run's precision."""
        with self.hardware.in_force(), self.hardware.context():
            return self.task.loss(model, part)

    def learn(
        self, steps: Iterable[int], forward: Callable[..., Any] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Do some steps, and give the number and the loss of each.

        Between two steps the caller's settings of PyTorch are in force.

        Args:
            steps: their numbers.
            forward: what to call instead of the run's own form of the model.
        """
        forward = self.forward if forward is None else forward
        sharing = self._sharing()
        batches: Any = self.batches if sharing is None else sharing
        loss = self.loss if sharing is None else sharing.loss
        if self.team is not None:
            steps = self.team.steps(steps, self.optimizer)
        learning = self.task.learn(forward, batches, loss, self.optimizer, steps)
        for step, total in each_within(self.stepping, learning):
            yield step, total if sharing is None else sharing.total(total)

    def _sharing(self) -> Averaged | Ordered | None:
        """How gradients of parts come together, where it isn't the loop that adds them."""
        n_parts, team = self.recipe.accumulate, self.team
        if self.hardware.reduction == "ordered":
            moved = self.optimizer.named.values()
            return Ordered(self.batches, self.loss, n_parts, moved, team)
        if team is None:
            return None
        return Averaged(self.batches, self.loss, n_parts, team, self._quiet)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """The context in which a process's gradients stay its own, for all parts but the last."""
        if self.hardware.parallel == "ddp":
            with self.forward.no_sync():  # pyright: ignore[reportFunctionMemberAccess]
                yield
            return
        model: Any = self.model
        model.set_requires_gradient_sync(False)
        yield
        model.set_requires_gradient_sync(True)

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """The context of a step: PyTorch's settings are the run's, and gradients are recorded."""
        with self.hardware.in_force(), torch.inference_mode(False), torch.enable_grad():
            yield

    def evaluate(self, n_tokens: int | None = None, each: Progress = no_progress) -> Evaluation:
        """Measure the loss on the validation text, or on windows spread over it.

        It takes the model as written: other shapes of input would make a compiled one compile
        again,
        and the bits of later steps depend on that.
        """
        with self.hardware.in_force():
            return self.task.evaluate(self.whole(), n_tokens, self.hardware.context, each)

    def sample(self, n_tokens: int) -> str:
        """Let the model write so many tokens; what it writes is a function of the seed."""
        with self.hardware.in_force():
            return self.task.sample(self.whole(), n_tokens, self.recipe.seed)

    def whole(self) -> Model:
        """Return the model with all of its weights; gathered where they are split."""
        return gathered(self) if is_split(self) else self.model


def assemble(recipe: Recipe, dataset: Dataset, team: Team | None = None) -> Session:
    """Make what a recipe describes; its first weights are a function of the seed alone.

    Args:
        recipe: with its hardware resolved.
        dataset: the tokens of the recipe's text.
        team: the processes that train it together; each calls this.

    Raises:
        WhenceError: where this machine lacks the device, the compiler or the memory, the text is
            too short, or a module to freeze isn't there.
    """
    hardware = recipe.hardware.resolved()
    with hardware.in_force(), torch.inference_mode(False), torch.enable_grad():
        return _assemble(recipe, dataset, hardware, team)


def _assemble(recipe: Recipe, dataset: Dataset, hardware: Hardware, team: Team | None) -> Session:
    vocab_size = dataset.tokenizer.vocab_size
    _check_memory(recipe, vocab_size)
    torch.default_generator.manual_seed(recipe.seed)
    model = build(recipe.model, vocab_size)
    task = task_of(recipe, dataset)
    task.prepare(model)
    model.to(hardware.device)
    freeze(model, recipe.change.freeze)
    if team is not None:
        check_parts(recipe.accumulate, team.size, hardware.reduction == "ordered")
        if hardware.parallel == "fsdp":
            sharded(model, hardware.device, team.size)
    batches = batches_of(recipe, task, hardware.device)
    optimizer = Optimizer(
        model, recipe.optimizer, recipe.schedule, recipe.steps, hardware.matmul_dtype
    )
    # Shapes never vary in training; were they dynamic, the kernels would depend on the past.
    if hardware.compile:
        pass  # loaded, so that steps set it, too
    forward = torch.compile(model, dynamic=False) if hardware.compile else model
    if team is not None and hardware.parallel == "ddp" and hardware.reduction == "fast":
        forward = replicated(model, forward, hardware.device)
    return Session(recipe, dataset, task, model, forward, batches, optimizer, team)


def batches_of(recipe: Recipe, task: Text, device: str) -> Batches:
    """Return the batches of a run's steps."""
    batches = task.batches(device)
    skipped = recipe.change.skip_batches
    return SkippingBatches(batches, skipped) if skipped else batches


def freeze(model: nn.Module, names: tuple[str, ...]) -> list[str]:
    """Keep modules or weights as they are: the optimizer will not see them.

    Returns:
        The names of the weights.

    Raises:
        WhenceError: where nothing has such a name (the nearest is named), or nothing is left.
    """
    frozen: list[str] = []
    for name in names:
        found = [n for n, _ in model.named_parameters() if n == name or n.startswith(f"{name}.")]
        if not found:
            known = [n for n, _ in [*model.named_modules(), *model.named_parameters()] if n]
            raise WhenceError(f"the model has nothing called {name}{nearest(name, known)}")
        frozen += found
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad = False
    if names and not any(parameter.requires_grad for parameter in model.parameters()):
        raise WhenceError(f"freezing {', '.join(names)} leaves nothing to train: freeze less.")
    return frozen


class _Unfilled(TorchFunctionMode):
    """Leaves weights without values: on no device drawing them would load PyTorch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass over what fills a tensor, and do all else."""
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def outline(config: ModelConfig, vocab_size: int) -> dict[str, torch.Tensor]:
    """Return the names and shapes of a model's weights, on no device: it takes no memory.

    Raises:
        WhenceError: where a size is beyond what a tensor can have, or there are no tokens.
    """
    if vocab_size < 1:
        raise WhenceError("the tokenizer knows no token, so there is nothing to predict.")
    try:
        with torch.device("meta"), _Unfilled():
            return build(config, vocab_size).state_dict(keep_vars=True)
    except (RuntimeError, TypeError, OverflowError) as error:  # as torch tells of such sizes
        raise WhenceError(
            "the model is too large for any machine: lower its sizes (model.d_model and others)."
        ) from error


def n_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Return how many parameters a model has, without making it; every layer has the same.

    Example:
        >>> from whence.models import GPTConfig
        >>> n_parameters(GPTConfig(n_layers=10**9), 65) > 10**14
        True
    """

    def count(config: ModelConfig) -> int:
        weights = {id(p): p.numel() for p in outline(config, vocab_size).values()}
        return sum(weights.values())

    n_layers = getattr(config, "n_layers", None)
    if n_layers is None:
        return count(config)
    one, two = (count(replace(config, n_layers=n)) for n in (1, 2))
    return one + (n_layers - 1) * (two - one)


def _check_memory(recipe: Recipe, vocab_size: int) -> None:
    """Refuse what can't fit: weights, gradients, two moments, and what a step keeps."""
    need = 16 * n_parameters(recipe.model, vocab_size)
    need += 24 * recipe.batch_size * recipe.window_length
    need += 20_000 * getattr(recipe.model, "n_layers", 0)  # the layers' Python objects
    advice = "take a smaller model (model.n_layers, model.d_model) or a smaller batch_size"
    check_memory(need, recipe.hardware.device, advice)
    if isinstance(recipe.model, GPTConfig):  # fused recurrent layers can't be planned
        windows = recipe.batch_size // recipe.accumulate
        size = (windows, recipe.window_length)
        planned = plan(lambda: build(recipe.model, vocab_size), size)
        # What autograd keeps is at least half as large in bfloat16 as in float32.
        kept = planned.activations // (2 if recipe.hardware.precision == "bf16" else 1)
        need = planned.memory - planned.activations + kept
        check_memory(need, recipe.hardware.device, f"{advice}, or accumulate")
