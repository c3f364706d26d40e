"""Training with a record: the one loop, and in its body the lines, measurements and checkpoints."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from whence.errors import WhenceError
from whence.generate import generate
from whence.runs.checkpoints import (
    folder_name,
    load_model,
    load_optimizer,
    on_cpu,
    save_checkpoint,
    saved_steps,
)
from whence.runs.events import Differed, Ended, Evaluated, Event, Sampled, Saved, Stepped
from whence.runs.files import Lines
from whence.runs.session import Session
from whence.train.loop import train
from whence.train.optimizer import NotFiniteError


class Training:
    """One process's work on a run: from its last checkpoint, or the start, to its end.

    Args:
        folder: the run's folder.
        session: what the recipe describes, in memory.
        should_stop: asked after each step; true saves a checkpoint and ends.
    """

    def __init__(self, folder: Path, session: Session, should_stop: Callable[[], bool]):
        self.session, self.should_stop = session, should_stop
        self.record = session.recipe.record.resolved(session.recipe.steps)
        self.checkpoints = folder / "checkpoints"
        self.steps = Lines(folder / "steps.jsonl")
        self.evals = Lines(folder / "evals.jsonl")
        self.samples = Lines(folder / "samples.jsonl")

    def events(self) -> Iterator[Event]:
        """Train, and tell each thing as it happens.

        Raises:
            NotFiniteError: the state before the refused update is saved first.
        """
        session = self.session
        self._restore()
        known = {r["step"]: r["loss_hex"] for r in self.steps}
        for log in (self.evals, self.samples):
            log.cut(lambda r: r["step"] <= session.optimizer.index)
        try:
            yield from self._loop(known)
        except NotFiniteError as error:
            step = session.optimizer.index
            self._save(step)
            raise NotFiniteError(
                f"{error} The state before that step is saved as checkpoint {folder_name(step)}."
            ) from error
        finally:
            for log in (self.steps, self.evals, self.samples):
                log.close()

    def _loop(self, known: dict[int, str]) -> Iterator[Event]:
        session = self.session
        first, steps = session.optimizer.index, session.recipe.steps
        if first == 0:
            yield self._evaluate(0)
        clock = time.perf_counter()
        state = first
        why = "finished"
        for step, loss in train(
            session.forward, session.batches, session.loss, session.optimizer, range(first, steps)
        ):
            done = Stepped(
                step=step,
                loss=float(loss),
                rate=session.optimizer.rate,
                grad_norm=session.optimizer.grad_norm,
                seconds=time.perf_counter() - clock,
                tokens=session.tokens_per_step,
            )
            if step not in known:
                self.steps.append(done.to_record())
            elif known[step] != done.loss.hex():
                yield Differed(step, float.fromhex(known[step]), done.loss)
                self.steps.cut(lambda r, here=step: r["step"] < here)
                self.steps.append(done.to_record())
                known = {}
            yield done
            state = step + 1
            if state < steps:
                yield from self._now_and_then(state)
            if self.should_stop():
                why = "stopped"
                break
            if self._has_stalled():
                why = "no longer improving"
                break
            clock = time.perf_counter()
        if why != "stopped" and state > first:
            yield self._evaluate(state, whole=True)
        yield self._save(state)
        yield Ended(state, why)

    def _now_and_then(self, state: int) -> Iterator[Event]:
        saved = False
        if state % (self.record.evaluate_every or 1) == 0:
            evaluated = self._evaluate(state)
            yield evaluated
            if evaluated.best:
                saved = True
                yield self._save(state)
        if state % (self.record.sample_every or 1) == 0 and self.record.sample_tokens:
            yield self._sample(state)
        if state % (self.record.checkpoint_every or 1) == 0 and not saved:
            yield self._save(state)

    def _evaluate(self, state: int, whole: bool = False) -> Evaluated:
        limit = None if whole else self.record.evaluate_tokens
        evaluation = self.session.evaluate(limit)
        best = all(evaluation.loss < r["loss"] for r in self.evals)
        event = Evaluated(state, evaluation, best)
        if all(r["step"] != state for r in self.evals):
            self.evals.append(event.to_record())
        return event

    def _sample(self, state: int) -> Sampled:
        text = generate(
            self.session.model,
            self.session.dataset.tokenizer,
            prompt=self.session.prompt,
            max_tokens=self.record.sample_tokens,
            seed=self.session.recipe.seed,
            stop=("\n",) if self.session.prompt else (),
        )[0]
        event = Sampled(state, self.session.prompt + text)
        self.samples.append(event.to_record())
        return event

    def _has_stalled(self) -> bool:
        patience = self.record.patience
        if not patience:
            return False
        losses = [r["loss"] for r in self.evals]
        return len(losses) > patience and min(losses[-patience:]) > min(losses[:-patience])

    def _save(self, state: int) -> Saved:
        weights = on_cpu(self.session.model.state_dict(keep_vars=True))
        save_checkpoint(self.checkpoints, state, weights, on_cpu(self.session.optimizer.state()))
        if self.record.keep == "last":
            best = best_step(list(self.evals), saved_steps(self.checkpoints))
            for step in saved_steps(self.checkpoints):
                if step not in (state, best):
                    remove_checkpoint(self.checkpoints, step)
        return Saved(state)

    def _restore(self) -> None:
        saved = saved_steps(self.checkpoints)
        if not saved:
            return
        load_model(self.checkpoints, saved[-1], self.session.model)
        tensors = load_optimizer(self.checkpoints, saved[-1])
        self.session.optimizer.load_state(tensors, saved[-1])


def best_step(evals: list[dict[str, Any]], saved: list[int]) -> int | None:
    """Return the saved step with the lowest validation loss.

    Example:
        >>> best_step([{"step": 5, "loss": 2.0}, {"step": 9, "loss": 2.5}], [5, 9])
        5
    """
    measured = {r["step"]: r["loss"] for r in evals if r["step"] in saved}
    return min(measured, key=measured.__getitem__) if measured else None


def remove_checkpoint(folder: Path, step: int) -> None:
    """Remove a checkpoint so that a kill leaves no half of it under its name."""
    import shutil

    gone = folder / f".{folder_name(step)}.gone"
    (folder / folder_name(step)).rename(gone)
    shutil.rmtree(gone)


def check_can_end(steps: int, done: int) -> None:
    """Refuse to train a run that is already at its end.

    Raises:
        WhenceError: saying how to go on.
    """
    if done >= steps:
        raise WhenceError(
            f"the run is finished: it has done its {done} steps. Give more with --steps."
        )
