"""The recorder of a watched loop: its public methods, and what happens during a step."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from torch import Tensor

from whence.errors import WhenceError, in_bytes
from whence.watch.again.past import Past
from whence.watch.disk.keeping import Keeping
from whence.watch.disk.record import Folder
from whence.watch.hooks.departures import Departures
from whence.watch.hooks.listener import Listener
from whence.watch.reports.crash import write_crash
from whence.watch.reports.report import BUILD, Asked
from whence.watch.reports.spikes import Spikes
from whence.watch.ring import Ring
from whence.watch.step.events import Snapshot, Step, Update
from whence.watch.step.losses import has_bad_loss, loss_of
from whence.watch.step.world import World

OnBad = Literal["report", "stop", "skip"]
_BEFORE = 5  # steps told of before a crash
_PATIENCE = 100  # backward passes without a step, after which a sentence is said
_APART = 50  # steps between two reports of spikes


class Recorder:
    """Watches a training loop until it is closed; get one by `watch`.

    Args:
        world: what is watched.
        ring: where the last steps are kept.
        folder: where the record is written.
        every: steps between two that are stored on disk; 0: none but crashes.
        decode: token id → its text.
        source: batch → rows of the data set.
        on_bad: what to do at gradients that aren't finite, and at spikes.
        spike: the z-score above which there is one.
        build: `module:function` that builds the model.
        tell: is given sentences.

    Attributes:
        path: the folder.
        crashes: the folders of the reports so far.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from whence import watch
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with watch(net, optimizer, Path(tempfile.mkdtemp()) / "mine") as recorder:
        ...     net(torch.ones(4, 2)).square().mean().backward()
        ...     optimizer.step()
        ...     recorder.log(loss=0.25)
        ...     recorder.steps
        range(0, 1)
    """

    def __init__(
        self,
        world: World,
        ring: Ring,
        folder: Folder,
        *,
        every: int = 0,
        decode: Callable[[int], str] | None = None,
        source: Callable[[Any], Any] | None = None,
        on_bad: OnBad = "report",
        spike: float | None = None,
        build: str | None = None,
        tell: Callable[[str], None] | None = None,
    ):
        self.path, self.crashes = folder.path, list[Path]()
        self._world, self._ring, self._folder = world, ring, folder
        self._decode, self._source, self._build = decode, source, build or BUILD
        self._on_bad, self._tell = on_bad, tell
        self._last: Step | None = None
        self._unsettled: Step | None = None
        self._was_bad = self._closed = self._reminded = False
        self._spikes = [Spikes(spike) for _ in range(len(world.optimizers) + 2)]
        self._spiked_at = -_APART
        self._keeping = Keeping(folder.path, world, every, self.say)
        self._listener = Listener(world, ring.memory, self._opened, self._seen, self._done)
        self._listener.backward_ended = self._remind
        self._departures = Departures(self.failed, self._terminated, self.close)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self.failed(error)
        self.close()

    def say(self, sentence: str) -> None:
        """Tell a person something."""
        if self._tell is not None:
            self._tell(sentence)
        else:
            print(f"whence: {sentence}", file=sys.stderr)

    def close(self) -> None:
        """Stop watching: models, optimizers and signals are as they were before `watch`."""
        if self._closed:
            return
        self._closed = True
        self._listener.close()
        self._departures.close()
        self._settle()
        self._keeping.close()
        self._folder.close()

    @property
    def steps(self) -> range:
        """The steps that can be opened from memory."""
        kept = self._ring.steps
        return range(kept[0].number, kept[-1].number + 1) if kept else range(0)

    @property
    def memory(self) -> int:
        """Bytes that the steps in memory take."""
        return self._ring.nbytes

    @property
    def most_memory(self) -> int:
        """Bytes that they may take, as reported at the start."""
        return self._ring.memory

    @property
    def has_no_loss(self) -> bool:
        """Whether the loss of the last step isn't known."""
        return self._last is None or math.isnan(loss_of(self._last))

    @property
    def loss(self) -> Any:
        """The loss function that `watch` was given, for the loop to call where it isn't a module.

        Raises:
            WhenceError: none was given.
        """
        if "loss" not in self._world.models:
            raise WhenceError("watch() was given no loss function: add loss=.")
        return self._world.models["loss"]

    def source(self, batch: Any) -> list[Any]:
        """Return the rows of the data set that a batch is made of.

        Raises:
            WhenceError: `watch` was given no source.
        """
        if self._source is None:
            raise WhenceError(
                "watch() doesn't know the data set: give it source=, a function from what the "
                "model is given to the numbers of its rows."
            )
        return list(self._source(batch) or [])

    def log(self, *, loss: float | Tensor | None = None, grad_norm: float | None = None) -> None:
        """Tell the loss, or the gradient's norm before it was clipped, of a step.

        It belongs to the step that is going on or, between two steps, to the last one.

        Args:
            loss: one number, or a tensor of one.
            grad_norm: before clipping.

        Raises:
            WhenceError: it isn't one number, or no step has begun.
        """
        step = self._listener.step or self._last
        if step is None:
            raise WhenceError("log() came before the first step: call it after the model.")
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise WhenceError(f"loss has {loss.numel()} numbers: give log() one.")
            loss = loss.detach().reshape(()).clone()
        if loss is not None:
            step.loss = loss if isinstance(loss, Tensor) else float(loss)
        if grad_norm is not None:
            step.raw_norm = float(grad_norm)

    def step(self) -> None:
        """End a step by hand: call it right after the update of an optimizer that isn't torch's.

        Raises:
            WhenceError: all optimizers are torch's, whose updates are seen, or no step is going on.
        """
        if not self._world.blind:
            raise WhenceError("step() is for optimizers that aren't torch's: these are all seen.")
        if not self._listener.end_step():
            raise WhenceError("step() came before the watched model was called: nothing to end.")

    def at(self, step: int) -> Past:
        """Return one of the last steps; a negative number counts from the end.

        Raises:
            WhenceError: it isn't in memory.
        """
        number = self._listener.number + step if step < 0 else step
        return self._past(*self._ring.until(number))

    def dump(self, reason: str = "recorder.dump() was called") -> Path:
        """Write the step that is going on, or else the last one, with a report of it.

        Returns:
            The folder `crashes/STEP` with `report.md`, `report.html`, and what `whence why` and
            `open_crash` read.

        Raises:
            WhenceError: no step has begun, or the folder can't be written.
        """
        return self._dump(reason)

    def failed(self, error: BaseException) -> None:
        """Report an exception that leaves the loop; frameworks that catch it may call this."""
        if self._was_bad and isinstance(error, WhenceError):
            return  # our own, which was reported
        self._dump_or_say(f"{type(error).__name__}: {error}")

    def _past(self, snapshot: Snapshot, between: list[Step], step: Step) -> Past:
        hooks = self._listener.hooks
        return Past(self._world, hooks, snapshot, between, step, self._decode, self._source)

    def _dump(self, reason: str, spiked: bool = False) -> Path:
        past = self._going_on() if self._listener.step is not None else None
        if past is None and self._ring.steps:
            past = self.at(-1)
        if past is None:
            raise WhenceError("dump() came before the first step: there is nothing to write.")
        number = past.step.number
        before = [s for s in self._ring.steps if s.number < number][-_BEFORE:]
        asked = Asked(reason, before, spiked, self._build)
        written, lines = write_crash(self.path, self._world, past, asked)
        self.crashes.append(written)
        self.say("\n".join([f"{reason}: see {written / 'report.md'}", *lines]))
        return written

    def _going_on(self) -> Past | None:
        """The step in progress, up to here."""
        step = self._listener.step
        assert step is not None
        if step.lost:
            raise WhenceError(
                f"step {step.number} took more than the {in_bytes(self._ring.memory)} there are "
                "for steps: give watch() more memory."
            )
        kept = self._ring.leading_to(step)
        if not any(update.done for update in step.updates):
            # What it began with is still there, and whatever was written to it by hand as well.
            kept = self._world.snapshot(), [], step
        return None if kept is None else self._past(*kept)

    def _settle(self) -> None:
        """Write the last step, whose loss could be logged until now."""
        self._folder.flush()
        if self._unsettled is not None:
            self._keeping.add(self._unsettled)
        self._unsettled = None

    def _opened(self, step: Step) -> None:
        self._settle()
        wants, stored = self._ring.wants_snapshot(), self._keeping.wants_snapshot(step.number)
        if not (wants or stored):
            return
        change = self._world.change()
        if change:
            self._keeping.close()
            self._world.renew()
            self._listener.renew()
            self._ring.clear()
            self.say(
                f"the model has changed before step {step.number} ({change}): it is watched as it "
                "is now, and earlier steps can no longer be opened"
            )
        self._world.find_places()
        step.snapshot = self._world.snapshot()

    def _seen(self, step: Step, update: Update, finite: bool) -> None:
        reason = "" if finite else "a gradient isn't finite"
        if finite and has_bad_loss(step):
            reason = "the loss isn't finite"
        spike = "" if reason else self._spike(step, update)
        if not reason and not spike:
            self._was_bad = False
            return
        first, self._was_bad = not self._was_bad, bool(reason)
        if spike and step.number - self._spiked_at < _APART:
            first = False
        if spike:
            self._spiked_at = step.number
        if first:
            self._dump_or_say(reason or spike, bool(spike))
        if self._on_bad == "stop":
            self._was_bad = True
            raise WhenceError(
                f"step {step.number}: {reason or spike}; the reports in {self.path / 'crashes'} "
                "say where it came from."
            )
        if self._on_bad == "skip" and update.optimizer >= 0:
            for number in update.gradients:
                self._world.parameters[number].grad = None
                update.gradients[number] = None

    def _spike(self, step: Step, update: Update) -> str:
        """Say whether the gradient's norm or the loss has jumped; "" if not."""
        norm = update.norm if step.raw_norm is None else step.raw_norm
        watched = [(self._spikes[update.optimizer], "the gradient's norm", norm)]
        if step.loss is not None or len(step.updates) == 1:
            watched.append((self._spikes[-2], "the loss", loss_of(step)))
        for spikes, what, value in watched:
            z = spikes.z(value)
            if spikes.is_spike(z):
                return f"{what} has a spike: {value:.4g}, {z:.1f} deviations above its mean"
        return ""

    def _remind(self, passes: int) -> None:
        """Warn about a loop none of whose updates are seen."""
        if passes < _PATIENCE or self._reminded:
            return
        self._reminded = True
        self.say(
            f"no step has ended in {passes} backward passes: "
            + (
                "call recorder.step() after each update"
                if self._world.blind
                else "give watch() the optimizer that the loop steps"
            )
        )

    def _done(self, step: Step) -> None:
        self._ring.add(step)
        self._last = self._unsettled = step
        self._folder.add(step)

    def _terminated(self) -> None:
        self._dump_or_say("SIGTERM arrived")

    def _dump_or_say(self, reason: str, spiked: bool = False) -> None:
        try:
            self._dump(reason, spiked)
        except WhenceError as failed:
            self.say(f"{reason}, and no report of it was written: {failed}")
