"""Going back: the exact state before any step, replayed from the nearest checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from whence.data import Dataset, Part, Tokenizer
from whence.errors import WhenceError, shell_word
from whence.models import Model
from whence.runs.folder import RunFolder
from whence.runs.recipe import Recipe
from whence.runs.store.checkpoints import LetGoError, load_model, load_optimizer
from whence.runs.store.files import DamagedError
from whence.runs.training.session import Session
from whence.scale.hardware import manifest
from whence.train.optimizer import Optimizer


@dataclass(frozen=True)
class Difference:
    """A replayed step whose loss isn't the recorded one.

    Attributes:
        step: which.
        recorded: the loss in the record.
        replayed: the loss now.

    Example:
        >>> step = Difference(31, recorded=2.5, replayed=2.5000002)
        >>> step.replayed > step.recorded
        True
    """

    step: int
    recorded: float
    replayed: float


class ReplayError(WhenceError):
    """A replay left the recorded path.

    Args:
        difference: the first step that differs.
        reasons: what is different now.

    Attributes:
        difference: the first step that differs, with both losses.
        reasons: what the manifest says is different now; empty where nothing is.

    Example:
        >>> error = ReplayError(Difference(3, 2.5, 2.25), ["torch was 2.12.0 and is 2.13.0"])
        >>> str(error).partition(":")[0]
        'step 3 gives the loss 2.25 and the record says 2.5'
    """

    def __init__(self, difference: Difference, reasons: list[str]):
        self.difference, self.reasons = difference, reasons
        super().__init__(
            f"step {difference.step} gives the loss {difference.replayed!r} and the record says "
            f"{difference.recorded!r}: {_likely(reasons)}; --approximate goes on all the same and "
            "says how far off it is."
        )


def _likely(reasons: list[str]) -> str:
    if not reasons:
        return (
            "nothing the manifest knows of has changed, so the record, a checkpoint or the code "
            "may have"
        )
    return "likely because " + "; ".join(reasons)


class Moment:
    """The state of a run before the update of one step.

    Get one by `run.at(step)`. It can be moved on: `advance()` does the step. A moment is a copy in
    memory; whatever is done to it changes nothing in the run's folder.

    Args:
        run: the run.
        session: model, batches and optimizer, in the state before `step`.
        step: the number of the next step.
        approximate: go on where a loss isn't the recorded one.

    Attributes:
        run: the run.
        session: model, batches and optimizer.
        step: the number of the next step.
        differences: the steps replayed so far whose loss wasn't the recorded one; always empty
            unless `approximate`.
        replayed: how many steps were replayed, from which checkpoint on.

    Example:
        >>> moment = go_to(RunFolder.open("runs/mine"), 3)
        >>> recorded = moment.recorded
        >>> moment.advance() == recorded
        True
    """

    trace: Callable[..., Any]
    """The step with every number recorded: added by `whence.why`, a higher layer."""

    def __init__(self, run: RunFolder, session: Session, step: int, approximate: bool = False):
        self.run, self.session, self.step, self.approximate = run, session, step, approximate
        self.differences: list[Difference] = []
        self.replayed = 0
        self._records: Sequence[dict[str, Any]] = run.steps

    @property
    def recipe(self) -> Recipe:
        """Everything that decides what the run computes."""
        return self.session.recipe

    @property
    def model(self) -> Model:
        """The model, as written."""
        return self.session.model

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, with its memory."""
        return self.session.optimizer

    @property
    def batches(self):
        """All batches of the run."""
        return self.session.batches

    @property
    def dataset(self) -> Dataset:
        """The text's tokens."""
        return self.session.dataset

    @property
    def tokenizer(self) -> Tokenizer:
        """What turns text into tokens and back."""
        return self.session.dataset.tokenizer

    @property
    def batch(self) -> list[tuple[float, Part]]:
        """The batch of this step: parts with their share of its tokens."""
        return self.session.batches[self.step]

    @property
    def recorded(self) -> float | None:
        """The recorded loss of this step; None at the run's end."""
        if self.step >= len(self._records):
            return None
        return float.fromhex(self._records[self.step]["loss_hex"])

    def loss_fn(self, model: Model, part: Part):
        """Return the loss of a part of the batch, in the run's precision.

        Args:
            model: this moment's, or another of its shape.
            part: of a batch, one of `batch`.
        """
        return self.session.loss(model, part)

    @torch.no_grad()
    def loss(self) -> float:
        """Return the loss of this step's batch, without changing anything."""
        total = sum(weight * self.loss_fn(self.model, part) for weight, part in self.batch)
        return float(total)

    def advance(self) -> float:
        """Do the step, and move on to the state before the next one.

        Returns:
            The loss, before the update.

        Raises:
            ReplayError: where it isn't the recorded one, unless the moment is approximate.
        """
        recorded, loss = self.recorded, self.do(self.session.forward)
        if recorded is not None and recorded.hex() != loss.hex():
            difference = Difference(self.step - 1, recorded, loss)
            if not self.approximate:
                raise ReplayError(difference, changed_since(self.run, self.step - 1, self.session))
            self.differences.append(difference)
        self.replayed += 1
        return loss

    def do(self, forward: Callable[..., Any]) -> float:
        """Do the step by the model as written or compiled, whatever the record says."""
        session, here = self.session, range(self.step, self.step + 1)
        session.optimizer.steps = self.run.header.length_at(self.step)
        [(_, loss)] = session.learn(here, forward)
        self.step += 1
        return float(loss)

    def advance_to(self, step: int) -> Iterator[tuple[int, float]]:
        """Do all steps before `step`, giving the number and the loss of each."""
        while self.step < step:
            yield self.step, self.advance()

    def leave_the_record(self, batches: Any) -> None:
        """From here on train on other batches, to which the record doesn't apply."""
        self.session.batches = batches
        self._records = []

    def how_far_off(self) -> str:
        """Say whether the replay was exact, and if not, by how much the losses differ.

        Example:
            >>> go_to(RunFolder.open("runs/mine"), 3).how_far_off()
            '3 steps replayed, every loss as recorded to the bit'
        """
        if not self.differences:
            return f"{self.replayed} steps replayed, every loss as recorded to the bit"
        first = self.differences[0]
        worst = max(self.differences, key=lambda d: abs(d.replayed - d.recorded))
        reasons = changed_since(self.run, first.step, self.session)
        return (
            f"approximate: {len(self.differences)} of {self.replayed} replayed losses differ, the "
            f"first at step {first.step} ({first.replayed!r}, recorded {first.recorded!r}), at "
            f"most by {abs(worst.replayed - worst.recorded):.3g} at step {worst.step}; "
            f"{_likely(reasons)}"
        )


def nearest_checkpoint(run: RunFolder, step: int) -> int:
    """Return the checkpoint from which a step is reached; 0 stands for the first weights.

    Args:
        run: the run.
        step: from 0 to the number of steps done.

    Raises:
        WhenceError: where the step lies outside the run, or in the past of a fork.

    Example:
        >>> nearest_checkpoint(RunFolder.open("runs/mine"), 0)
        0
    """
    done = len(run.steps)
    if not 0 <= step <= done:
        raise WhenceError(
            f"{run.path} has no step {step}: it has done the steps 0 to {done - 1}."
            if done
            else f"{run.path} has no steps yet: train it first."
        )
    if run.origin and step < run.origin.step:
        raise WhenceError(
            f"step {step} of {run.path} belongs to {run.origin.run}, from which it was forked at "
            f"step {run.origin.step}: ask that run."
        )
    return max((s for s in run.checkpoints if s <= step), default=0)


def estimate(run: RunFolder, step: int) -> tuple[int, float]:
    """Return how many steps must be replayed to reach a step, and how many seconds they took.

    Args:
        run: the run.
        step: the step.

    Example:
        >>> run = RunFolder.open("runs/mine")
        >>> steps, seconds = estimate(run, 5)
        >>> nearest_checkpoint(run, 5) + steps
        5
    """
    start = nearest_checkpoint(run, step)
    return step - start, run.steps.seconds(start, step)


def start_from(run: RunFolder, checkpoint: int, approximate: bool = False) -> Moment:
    """Return the state of a checkpoint; 0: the first weights.

    Args:
        run: the run.
        checkpoint: the step it was saved before.
        approximate: as in `go_to`.

    Raises:
        WhenceError: where it is damaged.

    Example:
        >>> start_from(RunFolder.open("runs/mine"), 0).step
        0
    """
    session = run.session()
    if checkpoint in run.checkpoints:
        try:
            load_model(run.checkpoint_folder, checkpoint, session.model)
        except LetGoError:
            raise
        except DamagedError as error:
            raise WhenceError(
                f"{error} 'whence verify {shell_word(run.path)} --repair' puts that checkpoint "
                "aside; its steps are then reached from the one before."
            ) from error
        memory = load_optimizer(run.checkpoint_folder, checkpoint)
        session.optimizer.load_state_dict(memory, checkpoint)
    elif checkpoint != 0 or run.origin:
        raise WhenceError(
            f"{run.path} has no checkpoint {checkpoint}: there are {run.checkpoints}."
        )
    return Moment(run, session, checkpoint, approximate)


def go_to(run: RunFolder, step: int, approximate: bool = False) -> Moment:
    """Go back to the state before a step: its exact model, optimizer and batch.

    The nearest checkpoint before it is loaded and the steps between are done again; each loss must
    have the recorded bits.

    Args:
        run: the run.
        step: from 0 to the number of steps done, which is the state at the end.
        approximate: go on where a loss differs, and note it in `Moment.differences`.

    Raises:
        ReplayError: at the first loss that differs, with both values and the likely reason.
        WhenceError: where the step lies outside the run, a checkpoint is damaged, or the run's
            model was counted.

    Example:
        >>> run = RunFolder.open("runs/mine")
        >>> go_to(run, 3).recorded == run.steps[3]["loss"]
        True
    """
    run.refuse_counted()
    while True:
        try:
            moment = start_from(run, nearest_checkpoint(run, step), approximate)
            break
        except LetGoError:  # by a process that is training it: another one is nearest now
            continue
    for _ in moment.advance_to(step):
        pass
    return moment


def changed_since(run: RunFolder, step: int, session: Session) -> list[str]:
    """Say what is different now from what a step was computed on.

    Returns:
        Such as `torch was 2.12.0 and is 2.13.0`; empty where nothing is known to differ.
    """
    segment = run.header.segment(step)
    then = segment.manifest if segment else {}
    now = manifest(session.hardware)
    reasons = [
        _told(name, then[name], now.get(name, "not noted"))
        for name in then  # an older Whence recorded less, which isn't a reason
        if then[name] != now.get(name)
    ]
    if not session.hardware.deterministic:
        reasons.append("the run allowed kernels that give other bits each time")
    return reasons


def _told(name: str, then: object, now: object) -> str:
    if name == "code":
        return f"Whence's own code was another (digest {then}, now {now})"
    if name == "environment":
        return f"the environment had {then} and has {now}"
    return f"{name} was {then} and is {now}"


__all__ = [
    "Difference",
    "Moment",
    "ReplayError",
    "estimate",
    "go_to",
    "nearest_checkpoint",
    "start_from",
]
