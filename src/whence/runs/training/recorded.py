"""Training with a record: the one loop, and in its body the lines, measurements and checkpoints."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from whence.generate.inference import inference
from whence.runs.store.chain import link
from whence.runs.store.checkpoints import (
    folder_name,
    saved_line,
    saved_steps,
)
from whence.runs.store.header import Header, Segment
from whence.runs.store.past import Past
from whence.runs.store.records.record import Logs
from whence.runs.store.retention import Spacing, before_the_end, is_due, surplus
from whence.runs.store.tidy import let_go, precious
from whence.runs.training.events import (
    Differed,
    Ended,
    Evaluated,
    Event,
    Noted,
    Sampled,
    Saved,
    Stepped,
)
from whence.runs.training.saver import Saver
from whence.runs.training.session import Session
from whence.runs.training.split import is_split, restore, write_shards
from whence.train.evaluation import Evaluation
from whence.train.optimizer import NotFiniteError

Measuring = Callable[[int, int], bool]
Evaluations = Mapping[str, Callable[[Any], float]]


class _LeftOutError(Exception):
    """A measurement that was begun and is no longer needed."""


class Training:
    """One process's work on a run: from its last checkpoint, or the start, to its end.

    Steps after that checkpoint that the record already holds are done again, by the schedule they
    were done by, and must give the recorded losses to the bit.

    Args:
        folder: the run's folder, locked for this process.
        header: its last segment is this one.
        session: what the recipe describes, in memory.
        start: the checkpoint to go on from; 0: the first weights.
        should_stop: asked before the first step and after each; true saves a checkpoint and ends.
        measuring: told how far a measurement is, (done, of how many); true leaves it out.
        evaluations: as of `Run.train`.
    """

    def __init__(
        self,
        folder: Path,
        header: Header,
        session: Session,
        start: int,
        should_stop: Callable[[], bool] = lambda: False,
        measuring: Measuring = lambda done, total: False,
        evaluations: Evaluations | None = None,
    ):
        self.folder, self.header, self.session, self.start = folder, header, session, start
        self.should_stop, self.measuring = should_stop, measuring
        self.evaluations = evaluations or {}
        self.record = session.recipe.record
        self.logs, self.past = Logs(folder, header.id), Past(folder)
        self.checkpoints = folder / "checkpoints"
        self.spacing = Spacing(self.record)
        self.saver = Saver(self.checkpoints, self._sync, self._saved)
        self.last_saved = start
        self.losses: dict[int, float] = {}  # of the usual measurements, by step
        self.known: Sequence[dict[str, Any]] = []  # what the record held when this began

    def events(self) -> Iterator[Event]:
        """Train, and tell each thing as it happens.

        Raises:
            NotFiniteError: the state before the refused update is saved first.
        """
        self._restore()
        try:
            yield from self._loop()
        except NotFiniteError as error:
            step = self.session.optimizer.index
            self._save(step)
            self.saver.wait()
            raise NotFiniteError(
                f"{error} The state before that step is saved as checkpoint {folder_name(step)}."
            ) from error
        finally:
            self.saver.close()
            self.logs.close()

    def _loop(self) -> Iterator[Event]:
        state, steps = self.start, self.session.recipe.steps
        why: Literal["finished", "no longer improving", "stopped"] = "finished"
        data = self.session.recipe.data
        if state == 0 and not (data.validation or data.validation_source):
            yield Noted("no text is kept for validation: what is measured is the text it learns.")
        if state == 0 and self.session.task.by_steps:
            yield from self._evaluate(0)
        if self.should_stop():
            steps, why = state, "stopped"
        clock = time.perf_counter()
        for step, loss in self._losses(state, steps):
            done = Stepped(
                step=step,
                loss=float(loss),
                rate=self.session.optimizer.rate,
                grad_norm=self.session.optimizer.grad_norm,
                seconds=time.perf_counter() - clock,
                tokens=self.session.task.tokens_per_step,
            )
            yield from self._write(done)
            yield done
            yield from map(Noted, self.session.task.notes(self.session.model))
            state = step + 1
            if state < steps:
                yield from self._now_and_then(state)
            if state < steps and self.should_stop():  # at the end, ending is what was asked for
                why = "stopped"
                break
            if self._has_stalled(state):
                why = "no longer improving"
                break
            clock = time.perf_counter()
        if why != "stopped":
            measured = yield from self._evaluate_whole(state)
            why = why if measured else "stopped"
        yield from self._save(state)
        yield from map(Saved, self.saver.wait())
        yield Ended(state, why)

    def _losses(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """The loop, in stretches that went by the same schedule."""
        session = self.session
        while start < stop:
            session.optimizer.steps = self.header.length_at(start)
            later = [s.start for s in self.header.segments if s.start > start]
            end = min([stop, *later])
            yield from session.learn(range(start, end))
            start = end

    def _write(self, done: Stepped) -> Iterator[Differed]:
        """Add a step to the record, or compare it with the record."""
        step = done.step
        self.spacing.took(step, done.seconds)
        if step < len(self.known) and self.known[step]["loss_hex"] != done.loss.hex():
            yield Differed(step, float.fromhex(self.known[step]["loss_hex"]), done.loss)
            self._forget(step)
        if step >= len(self.known):
            self.logs.steps.append(done.to_record())

    def _forget(self, step: int) -> None:
        """From this step on the record is this segment's, which gives other losses."""
        self.saver.wait()
        for other in saved_steps(self.checkpoints):  # first: none may be after the record's end
            if other > step:
                let_go(self.logs, self.checkpoints, other)
        self.logs.steps.begin_as(self.logs.steps, step)
        self.known = self.logs.read_steps()
        last = self.header.segments[-1]
        self.header.segments[-1] = Segment(step, last.steps, last.manifest)
        self.header.write(self.folder)

    def _now_and_then(self, state: int) -> Iterator[Event]:
        better = False
        if state % (self.record.evaluate_every or 1) == 0:
            for evaluated in self._evaluate(state):
                better = evaluated.best
                yield evaluated
        if state % (self.record.sample_every or 1) == 0 and self.record.sample_tokens:
            yield self._sample(state)
        end = before_the_end(self.record, self.session.recipe.steps)
        if better or state in end or is_due(state, self.last_saved, self.spacing):
            yield from self._save(state)
        yield from map(Saved, self.saver.finished())

    def _evaluate(self, state: int) -> Iterator[Evaluated]:
        """Measure as during training; an interrupted measurement gives nothing."""
        evaluation = self._measured(self.record.evaluate_tokens)
        if evaluation is None:
            return
        best = all(evaluation.loss < loss for step, loss in self.losses.items() if step != state)
        event = Evaluated(state, evaluation, best, own=self._own())
        if state not in self.losses:
            self.logs.evals.append(event.to_record())
        self.losses[state] = evaluation.loss
        yield event

    def _evaluate_whole(self, state: int) -> Generator[Evaluated, None, bool]:
        """Measure as usual at the end, and on all of the text if that covered only part of it.

        Returns:
            Whether that was done, or broken off.
        """
        if state not in self.losses:
            yield from self._evaluate(state)
        if not self.record.measures_part_of(len(self.session.dataset.validation)):
            return state in self.losses
        evaluation = self._measured() if state in self.losses else None
        if evaluation is None:
            return False
        event = Evaluated(state, evaluation, best=False, whole=True, own=self._own())
        self.logs.evals.append(event.to_record())
        yield event
        return True

    def _measured(self, n_tokens: int | None = None) -> Evaluation | None:
        """Measure the validation text or windows all over it; None if interrupted."""

        def each(done: int, total: int) -> None:
            if self.measuring(done, total):
                raise _LeftOutError

        try:
            return self.session.evaluate(n_tokens, each)
        except _LeftOutError:
            return None

    def _own(self) -> dict[str, float]:
        """Ask the caller's own evaluations; training goes on as if they hadn't been."""
        if not self.evaluations:
            return {}
        model = self.session.model
        with self.session.hardware.in_force(), inference(model):
            return {name: float(measure(model)) for name, measure in self.evaluations.items()}

    def _sample(self, state: int) -> Sampled:
        event = Sampled(state, self.session.sample(self.record.sample_tokens))
        self.logs.samples.append(event.to_record())
        return event

    def _has_stalled(self, state: int) -> bool:
        """Tell, at a measurement, whether the last `patience` of them brought nothing better."""
        patience = self.record.patience
        if not patience or state not in self.losses or len(self.losses) <= patience:
            return False
        losses = [self.losses[step] for step in sorted(self.losses)]
        return min(losses[-patience:]) >= min(losses[:-patience])

    def _save(self, state: int) -> list[Saved]:
        """Begin to save a state; return what has been saved meanwhile."""
        self.last_saved = state
        weights = self.session.model.state_dict(keep_vars=True)
        memory = self.session.optimizer.state_dict()
        done, write = self.saver.wait(), None
        if is_split(self.session) and state not in saved_steps(self.checkpoints):
            write = write_shards(self.session, self.checkpoints)

        def tie() -> Mapping[str, Any]:
            return link(self.header, self.past.now())

        done += self.saver.save(state, weights, memory, tie, write)
        return [Saved(step) for step in done]

    def _sync(self) -> None:
        """Flush what a checkpoint depends on before it is written."""
        for lines in self.logs:
            lines.sync()

    def _saved(self, step: int) -> None:
        """Note a checkpoint that is on the disk, and let go of those that aren't needed."""
        self.logs.checkpoints.append(saved_line(self.checkpoints, step))
        self.logs.checkpoints.sync()
        saved = saved_steps(self.checkpoints)
        stay = precious(saved, dict(self.losses), self.header)
        for other in surplus(saved, stay, self.spacing):
            let_go(self.logs, self.checkpoints, other)

    def _restore(self) -> None:
        """Restore the state of the first step, and the record up to it."""
        if self.start in saved_steps(self.checkpoints):  # else it is 0, the first weights
            restore(self.session, self.checkpoints, self.start)
        self.known = steps = self.logs.read_steps()
        self.spacing.took_before(steps.column("seconds"))
        for lines in (self.logs.evals, self.logs.samples):
            # What was measured after the checkpoint will be measured again.
            records = list(lines)
            if any(record["step"] > self.start for record in records):
                lines.replace([r for r in records if r["step"] <= self.start])
        self.losses = {r["step"]: r["loss"] for r in self.logs.evals if not r["whole"]}
