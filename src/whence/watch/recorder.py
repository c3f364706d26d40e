"""`watch`: one line that records any PyTorch training loop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import psutil
from torch import Tensor

from whence.errors import WhenceError, in_bytes
from whence.runs.training.creation import free_path
from whence.watch.crash import Crash, write_crash
from whence.watch.events import Step, Update
from whence.watch.listener import Listener
from whence.watch.past import Past
from whence.watch.record import Folder, has_bad_loss
from whence.watch.ring import Ring
from whence.watch.world import World

OnBad = Literal["report", "stop", "skip"]


def watch(
    model: Any,
    optimizer: Any,
    out: Path | str | None = None,
    *,
    steps: int = 32,
    memory: int | None = None,
    snapshot_every: int = 8,
    decode: Callable[[int], str] | None = None,
    on_bad: OnBad = "report",
    tell: Callable[[str], None] | None = None,
) -> Recorder:
    """Record a training loop from here on; the loop itself stays as it is.

    Hooks on the model and the optimizer keep, of each of the last steps, what is needed to do it
    again to the bit: inputs, random generators, the gradients that came from outside the model,
    and those that the update saw. The loop computes the same bits as without.

    Args:
        model: an `nn.Module`, several in a list, or several as name → module.
        optimizer: one of torch's, or several in the order in which the loop steps them; a step ends
            with the update of the last.
        out: the folder for the record and for crash reports, not there yet; none: one in `runs/`.
        steps: at most so many of the last steps are kept in memory.
        memory: bytes that they may take; none: a quarter of what the machine has free, at most
            2 GB. The steps since the last snapshot are kept in any case.
        snapshot_every: steps between two copies of parameters and of the optimizers' state.
        decode: token id → its text, such as a tokenizer's `decode`.
        on_bad: at a gradient that isn't finite: `report` it and go on, `stop` with an error before
            the update, or `skip` the update.
        tell: is given the sentences that a person should read; none: they go to standard error.

    Returns:
        The recorder: `at(step)` goes back, `log(loss=…)` adds to the record, `dump()` writes a
        report, `close()` (or the end of a `with`) takes all hooks away.

    Raises:
        WhenceError: something isn't a module or an optimizer, or the folder can't be made.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Linear(2, 1)  # any module, and any loop around it
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> out = Path(tempfile.mkdtemp()) / "mine"
        >>> with watch(net, optimizer, out=out, tell=lambda sentence: None) as recorder:
        ...     for _ in range(3):
        ...         loss = net(torch.ones(4, 2)).pow(2).mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        ...         recorder.log(loss=loss)
        ...     trace = recorder.at(1).trace()
        >>> receipt = trace.number("weight[0,1].update").why()
        >>> abs(receipt.residual) <= receipt.bound
        True
    """
    if on_bad not in get_args(OnBad):
        raise WhenceError(f"on_bad is {on_bad!r}: give report, stop or skip.")
    for name, value in (("steps", steps), ("snapshot_every", snapshot_every)):
        if value < 1:
            raise WhenceError(f"{name} is {value}: give 1 or more.")
    world = World(model, optimizer)
    kinds = "-".join(type(m).__name__ for m in world.models.values())
    path = Path(out) if out is not None else free_path(Path("runs"), kinds)
    if memory is None:
        memory = min(psutil.virtual_memory().available // 4, 2 * 10**9)
    folder = Folder(path, world)
    recorder = Recorder(world, Ring(steps, memory, snapshot_every), folder, decode, on_bad, tell)
    recorder.say(
        f"watching {kinds}: the last {steps} steps stay in memory, in up to {in_bytes(memory)}, "
        f"and each step's line goes to {path}"
    )
    return recorder


class Recorder:
    """Watches a training loop until it is closed; get one by `watch`.

    Args:
        world: what is watched.
        ring: where the last steps are kept.
        folder: where the record is written.
        decode: token id → its text.
        on_bad: what to do at gradients that aren't finite.
        tell: is given sentences.

    Attributes:
        path: the folder.
        crashes: the folders of the reports so far.
    """

    def __init__(
        self,
        world: World,
        ring: Ring,
        folder: Folder,
        decode: Callable[[int], str] | None = None,
        on_bad: OnBad = "report",
        tell: Callable[[str], None] | None = None,
    ):
        self.path, self.crashes = folder.path, list[Path]()
        self._world, self._ring, self._folder, self._decode = world, ring, folder, decode
        self._on_bad, self._tell = on_bad, tell
        self._last: Step | None = None
        self._was_bad = self._closed = False
        self._listener = Listener(world, ring.memory, self._opened, self._seen, self._done)
        self._excepthook = sys.excepthook
        self._hook = self._at_exception
        sys.excepthook = self._hook

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self._report_exception(error)
        self.close()

    def say(self, sentence: str) -> None:
        """Tell a person something."""
        if self._tell is not None:
            self._tell(sentence)
        else:
            print(f"whence: {sentence}", file=sys.stderr)

    def close(self) -> None:
        """Stop watching: models and optimizers are as they were before `watch`."""
        if self._closed:
            return
        self._closed = True
        self._listener.close()
        self._folder.close()
        if sys.excepthook == self._hook:
            sys.excepthook = self._excepthook

    @property
    def steps(self) -> range:
        """The steps that can be opened."""
        kept = self._ring.steps
        return range(kept[0].number, kept[-1].number + 1) if kept else range(0)

    def log(self, *, loss: float | Tensor) -> None:
        """Tell the loss of the step that is going on or, between two steps, of the last.

        Raises:
            WhenceError: it isn't one number, or no step has begun.
        """
        step = self._listener.step or self._last
        if step is None:
            raise WhenceError("log() came before the first step: call it behind the model.")
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise WhenceError(f"loss has {loss.numel()} numbers: give log() one.")
            loss = loss.detach().reshape(()).clone()
        step.loss = loss if isinstance(loss, Tensor) else float(loss)

    def at(self, step: int) -> Past:
        """Return one of the last steps; a negative number counts from the end.

        Raises:
            WhenceError: it isn't in memory.
        """
        number = self._listener.number + step if step < 0 else step
        kept = self._ring.until(number)
        return Past(self._world, self._listener.hooks, *kept, self._decode)

    def dump(self, reason: str = "recorder.dump() was called") -> Path:
        """Write the step that is going on, or else the last one, with a report of it.

        Returns:
            The folder `crashes/STEP` with `report.md`, and what `open_crash` reads.

        Raises:
            WhenceError: no step has begun, or the folder can't be written.
        """
        past = self._going_on() if self._listener.step is not None else None
        if past is None and self._ring.steps:
            past = self.at(-1)
        if past is None:
            raise WhenceError("dump() came before the first step: there is nothing to write.")
        number = past.step.number
        before = [s for s in self._ring.steps if s.number < number][-5:]
        folder = self.path / "crashes" / f"{number:06d}"
        written = write_crash(folder, past, Crash(reason, before))
        self.crashes.append(written)
        self.say(f"{reason}: see {written / 'report.md'}")
        return written

    def _going_on(self) -> Past | None:
        """The step that is going on, up to here."""
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
        return kept and Past(self._world, self._listener.hooks, *kept, self._decode)

    def _opened(self, step: Step) -> None:
        self._folder.flush()
        if self._ring.wants_snapshot():
            self._world.find_places()
            step.snapshot = self._world.snapshot()

    def _seen(self, step: Step, update: Update, finite: bool) -> None:
        if finite and not has_bad_loss(step):
            self._was_bad = False
            return
        first, self._was_bad = not self._was_bad, True
        reason = "a gradient isn't finite" if not finite else "the loss isn't finite"
        if first:
            self._dump_or_say(reason)
        if self._on_bad == "stop":
            raise WhenceError(
                f"step {step.number}: {reason}; the reports in {self.path / 'crashes'} say where "
                "it came from."
            )
        if self._on_bad == "skip":
            for number in update.gradients:
                self._world.parameters[number].grad = None
                update.gradients[number] = None

    def _done(self, step: Step) -> None:
        self._ring.add(step)
        self._last = step
        self._folder.add(step)

    def _report_exception(self, error: BaseException) -> None:
        if self._was_bad and isinstance(error, WhenceError):
            return  # our own, which was reported
        self._dump_or_say(f"{type(error).__name__}: {error}")

    def _dump_or_say(self, reason: str) -> None:
        try:
            self.dump(reason)
        except WhenceError as failed:
            self.say(f"{reason}, and no report of it was written: {failed}")

    def _at_exception(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        if issubclass(kind, Exception) and not self._closed:
            self._report_exception(error)
            self.close()
        self._excepthook(kind, error, trace)
