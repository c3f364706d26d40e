"""Tracing a step of a run: what its numbers are called, and what the trace will need."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from whence.data import Part
from whence.data.batches import NOT_COUNTED
from whence.data.labels import LabelBatches, LabelledPart
from whence.data.pairs import PairBatches
from whence.errors import WhenceError, in_bytes
from whence.runs.questions.places import places
from whence.runs.questions.reading import part_of
from whence.runs.replay import Moment
from whence.scale.limits import memory_left
from whence.train.loop import train
from whence.why.step import trace
from whence.why.trace import Trace


def trace_moment(moment: Moment, text: str | Sequence[int] | None = None, **options: Any) -> Trace:
    """Do a step of a run with every number of it recorded, and move on to the next state.

    The model runs as written, also where the run is compiled.

    Args:
        moment: the state before the step.
        text: read this text (or these ids) instead, forward and backward, without an update.
        **options: `tell`, called with how many bytes the trace will need before anything is done;
            others as of `whence.why.trace`.

    Raises:
        WhenceError: the trace would need more memory than there is, said before the step is
            done; or the text can't be read by the model.

    Example:
        >>> trace_moment(Run.open("runs/mine").at(31))["loss"].why()  # doctest: +SKIP
    """
    with moment.session.stepping():
        return _traced(moment, text, **options)


Moment.trace = trace_moment  # runs know nothing of what opens their numbers


def _traced(moment: Moment, text: str | Sequence[int] | None, **options: Any) -> Trace:
    moment.run.refuse_counted()
    parts = [part for _, part in moment.batch] if text is None else [part_of(moment.session, text)]
    tell: Callable[[int], None] | None = options.pop("tell", None)
    budget = options.pop("budget", None)
    budget = int(0.9 * memory_left()) if budget is None else budget
    # To foresee a text's trace it would have to be made: it is refused while it is made.
    need = 0
    if text is None or tell is not None:
        # Where nobody is told, it needn't be known better than that it fits.
        need = foresee(moment, parts, text is None, enough=budget if tell is None else 0)
    if tell is not None:
        tell(need)
    if need > budget:
        raise WhenceError(
            f"the trace of this step needs {in_bytes(need)} of memory, and {in_bytes(budget)} are "
            "available: trace a text of your own instead (--text), or a run with a smaller batch "
            "or model."
        )
    known = {
        "model": moment.model,
        "optimizer": moment.optimizer if text is None else None,
        "tokens": [part.inputs for part in parts],
        "decode": functools.cache(lambda token: shown(moment, token)),
        "budget": budget,
    }
    if text is not None:
        t = trace(_reading(moment, parts[0]), **{**known, **options})
        t.step = moment.step
        return t
    known["where"] = places(moment.dataset, parts, in_lines(moment))
    recorded = moment.recorded
    step = moment.step

    def do() -> float:
        """Do the step, also when it has been done before, as `check` does it again."""
        after, moment.step = moment.step, step
        try:
            return moment.do(moment.model)
        finally:
            moment.step = max(after, moment.step)

    t = trace(do, **{**known, **options})
    t.step = step
    t.add_up_losses()
    t.labels.by_example = bool(in_lines(moment))
    if not t.refused:
        t.notes.append(_compared(recorded, float(t.result), moment))
    return t


def foresee(
    moment: Moment, parts: Sequence[Part | LabelledPart], update: bool = True, enough: int = 0
) -> int:
    """Say how many bytes the trace of a step will keep, by tracing it on very few examples.

    A copy of the model and its optimizer is traced on one example and on two. What a trace keeps
    is a constant (parameters, gradients, the optimizer's tensors) and so much for each example:
    bytes(n) = bytes(1) + (n − 1)·(bytes(2) − bytes(1)).

    Args:
        moment: the state before the step; it stays as it is.
        parts: the parts of the batch.
        update: whether the step ends with the optimizer's update.
        enough: where n·bytes(1), which is never less, is no more than this, it is the answer: the
            second example needn't be traced.

    Returns:
        Bytes, within a few per cent; or an upper bound.

    Example:
        >>> foresee(moment, [part for _, part in moment.batch])  # doctest: +SKIP
        412345678
    """
    part, count = parts[0], sum(len(part.inputs) for part in parts)
    rows = _longest(part) if update else [0]
    base = _measure(moment, part, rows, update)
    if count <= len(rows):
        return base
    if count * base <= enough:
        return count * base
    if len(part.inputs) > len(rows):
        more = next(row for row in range(len(part.inputs)) if row not in rows)
        each = _measure(moment, part, [*rows, more], update) - base
    else:  # each part is one example: a second part is the second example
        each = _measure(moment, part, rows, update, twice=True) - base
    return base + (count - len(rows)) * each


def _longest(part: Part | LabelledPart) -> list[int]:
    """The examples that all others are padded to, one or two; the first where none are padded.

    Of pairs, those with the longest source and the longest target.
    """
    if isinstance(part, LabelledPart):
        return [int(part.visible.sum(1).argmax())]
    counted = part.targets != NOT_COUNTED
    return list({int(counted.int().argmax(1).argmax()), int(counted.sum(1).argmax())})


def _measure(
    moment: Moment,
    part: Part | LabelledPart,
    rows: list[int],
    update: bool,
    twice: bool = False,
) -> int:
    model, optimizer = copy.deepcopy((moment.model, moment.optimizer))
    few = part._replace(
        **{name: value[rows] for name, value in part._asdict().items() if name != "seed"}
    )
    if not update:
        return trace(_reading(moment, few, model), model=model).nbytes
    batch = {moment.step: [(0.5, few), (0.5, few)] if twice else [(1.0, few)]}
    here = range(moment.step, moment.step + 1)
    optimizer.steps = moment.run.header.length_at(moment.step)

    def step() -> object:
        return list(train(model, batch, moment.session.loss, optimizer, here))

    return trace(step, model=model, optimizer=optimizer).nbytes


def _reading(moment: Moment, part: Part | LabelledPart, model: Any = None) -> Callable[[], Tensor]:
    """A forward and a backward pass over a part, without dropout and without an update."""
    model = moment.model if model is None else model

    def read() -> Tensor:
        was = model.training
        model.eval()
        try:
            for parameter in model.parameters():
                parameter.grad = None
            loss = moment.session.loss(model, part)
            loss.backward()
        finally:
            model.train(was)
        return loss

    return read


def shown(moment: Moment, token: int) -> str:
    """Show a token as it is in the text; half a character, as the tokenizer shows it."""
    text = moment.tokenizer.decode([token])
    return moment.tokenizer.token(token) if "\ufffd" in text else text


def in_lines(moment: Moment) -> str:
    """Name what the run's examples are where each is a whole line; "" where they are windows."""
    batches = moment.batches
    kind = type(getattr(batches, "batches", batches))
    return {PairBatches: "pair", LabelBatches: "text"}.get(kind, "")


def _compared(recorded: float | None, loss: float, moment: Moment) -> str:
    """Say whether the traced step is the recorded one."""
    if recorded is None:
        return f"loss {loss!r}: the run never did this step"
    if recorded.hex() == loss.hex():
        return f"loss {loss!r}, as recorded, to the bit"
    why = "traced eagerly, recorded compiled; " if moment.session.hardware.compile else ""
    return f"loss {loss!r}; recorded {recorded!r} ({why}{loss - recorded:+.3g})"
