"""The same graph, recorded once and computed again for other numbers, hundreds of times faster.

    fast = jit(loss)                  # loss(model, batch) -> Value
    fast(model, batch).backward()         # the first call records, the next ones replay

Nothing else changes: what it returns is a `Value` with the loss's data, whose `backward()` gives
every parameter the bits that the uncompiled graph would have given it.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from whence.errors import WhenceError
from whence.scalar import ops
from whence.scalar.compiled import kernels
from whence.scalar.compiled.batch import put_together, take_apart
from whence.scalar.compiled.tape import Tape, write_down
from whence.scalar.compiled.watch import Guard, watched_class
from whence.scalar.matrix import values_of
from whence.scalar.value import Value, many

Loss = Callable[[Any, Any], Value]
ArrayLoss = Callable[[Any, Any], tuple[float, Any]]

OTHER_GRAPH = (
    "For these numbers the loss builds another graph than the one that was recorded: "
    "call the compiled loss itself, which records it."
)


class Recording(NamedTuple):
    """A tape and what its leaves stand for.

    Attributes:
        tape: the instructions.
        inputs: the slots of the batch's numbers, −1 for those that the graph doesn't use.
        sources: the leaves that live outside: parameters, and `Value`s that the loss closes over.
        source_slots: their slots.
    """

    tape: Tape
    inputs: Any
    sources: list[Value]
    source_slots: Any


class Filled(NamedTuple):
    """Every slot's number after a replay, and what the parameters were."""

    slots: Any
    parameters: list[float]


class SlowWarning(UserWarning):
    """A compiled loss is recorded again and again, and is slower than it would be uncompiled."""


def record(loss: Loss, model: Any, shape: Any, numbers: list[Any]) -> Recording:
    """Run the loss once on numbers that notice when they are read, and record its graph.

    Raises:
        WhenceError: if the loss returns something that isn't a `Value`.
    """
    guards: list[Guard] = []
    watched = watched_class(guards)
    leaves = [Value(x._data if isinstance(x, Value) else x) for x in numbers]
    for v in leaves:
        v.__class__ = watched
    parameters = values_of(model.parameters()) if hasattr(model, "parameters") else []
    kinds = [type(p) for p in parameters]
    for p in parameters:
        p.__class__ = watched
    try:
        root = loss(model, put_together(shape, iter(leaves).__next__))
    finally:
        for p, kind in zip(parameters, kinds, strict=True):
            p.__class__ = kind
    if not isinstance(root, Value):
        raise WhenceError(
            f"A loss must return a Value to be recorded; this one returned {type(root).__name__}."
        )
    tape = write_down(root, guards)
    slot_of = {id(v): slot for slot, v in enumerate(tape.leaves, start=2)}
    inputs = np.array([slot_of.get(id(v), -1) for v in leaves], dtype=np.int64)
    mine = set(map(id, leaves))
    kept = [v for v in tape.leaves if id(v) not in mine]
    # Of what the recording made nobody else holds on to: such a leaf is a figure of the program.
    guards.clear()
    del root, leaves, tape.leaves[:]
    place = {id(p): i for i, p in enumerate(parameters)}
    outside = sorted(_held_elsewhere(kept), key=lambda v: place.get(id(v), len(place)))
    slots = np.array([slot_of[id(v)] for v in outside], dtype=np.int64)
    return Recording(tape, inputs, outside, slots)


def _held_elsewhere(leaves: list[Value]) -> list[Value]:
    # One reference is the list's, one the argument of getrefcount.
    return [leaves[i] for i in range(len(leaves)) if sys.getrefcount(leaves[i]) > 2]


class Compiled:
    """A loss that is replayed. Made by `jit()`.

    Attributes:
        recordings: how often a graph was recorded.
        calls: how often the loss was called.
    """

    LIMIT = 64  # graphs kept for one shape of batch

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.tapes: dict[Any, list[Recording]] = {}
        self.recordings = 0
        self.calls = 0

    def __call__(self, model: Any, batch: Any) -> Value:
        """Return the loss, as the function itself would.

        Raises:
            WhenceError: if the function is found to use numbers that it was not given.
        """
        self.calls += 1
        shape, numbers = take_apart(batch)
        data = as_array(numbers)
        known = self.tapes.setdefault(shape, [])
        for i, recording in enumerate(known):
            found = replay(recording, data)
            if found is not None:
                if i:  # the one that fits is tried first next time
                    known.insert(0, known.pop(i))
                out = self._result(recording, found, numbers)
                if to_check(self.calls):
                    check(self.loss, model, batch, out.data)
                return out
        recording = record(self.loss, model, shape, numbers)
        self.recordings += 1
        notice(self.recordings, self.calls)
        known.insert(0, recording)
        del known[self.LIMIT :]
        found = replay(recording, data)
        assert found is not None, "a graph must replay on the numbers it was recorded with"
        return self._result(recording, found, numbers)

    def arrays(self, model: Any, batch: Any) -> tuple[ArrayLoss, Any, Any]:
        """Return the recorded graph as a function of arrays, for a training loop without Values.

        Returns:
            The function `(parameters, numbers) -> (loss, gradient)`, and the parameters that the
            loss uses, in the model's order, and the batch's numbers, as they are now. The function
            raises where the loss would build another graph.
        """
        shape, numbers = take_apart(batch)
        recording = record(self.loss, model, shape, numbers)
        tape, p = recording.tape, recording.tape.program
        used = recording.inputs >= 0
        inputs, sources = recording.inputs[used], recording.source_slots

        def function(parameters: Any, numbers: Any) -> tuple[float, Any]:
            slots = tape.constants.copy()
            slots[inputs] = numbers[used]
            slots[sources] = parameters
            if not kernels.replay(p.rows, p.terms, tape.guards, slots):
                raise WhenceError(OTHER_GRAPH)
            grad = kernels.gradients(p.rows, p.terms, p.back, p.root, slots)
            return float(slots[p.root]), grad[sources]

        return function, np.array([v._data for v in recording.sources]), as_array(numbers)

    def _result(self, recording: Recording, found: Filled, numbers: list[Any]) -> Value:
        """Return the loss as one node over everything that a gradient flows to."""
        p, where = recording.tape.program, recording.source_slots
        slots, inputs, operands = found.slots, recording.sources, found.parameters
        grad = kernels.gradients(p.rows, p.terms, p.back, p.root, slots)
        if Value in set(map(type, numbers)):
            given = [
                (x, slot)
                for x, slot in zip(numbers, recording.inputs.tolist(), strict=True)
                if isinstance(x, Value) and slot >= 0
            ]
            inputs = [*inputs, *[x for x, _ in given]]
            operands = [*operands, *[x._data for x, _ in given]]
            where = np.concatenate([where, np.array([slot for _, slot in given], dtype=np.int64)])
        # Backward goes through inputs from the last to the first, and each slot has its whole
        # gradient already, so one pass gives the graph's own bits.
        out = many(ops.REPLAY, inputs, tuple(operands), float(slots[p.root]))
        out._y = grad[where].tolist()
        return out


def as_array(numbers: list[Any]) -> Any:
    """Return a batch's numbers, `Value`s as what they are now."""
    if Value in set(map(type, numbers)):
        numbers = [x._data if isinstance(x, Value) else x for x in numbers]
    return np.array(numbers, dtype=np.float64)


def replay(recording: Recording, data: Any) -> Filled | None:
    """Return all slots for the batch's numbers and the parameters as they are, or `None`.

    `None` means that a guard does not hold: for these numbers the program has another graph.
    """
    tape = recording.tape
    slots = tape.constants.copy()
    used = recording.inputs >= 0
    slots[recording.inputs[used]] = data[used]
    parameters = [v._data for v in recording.sources]
    slots[recording.source_slots] = np.fromiter(parameters, np.float64, len(parameters))
    p = tape.program
    fits = kernels.replay(p.rows, p.terms, tape.guards, slots)
    return Filled(slots, parameters) if fits else None


def to_check(calls: int) -> bool:
    """Return whether it is the 2nd, 16th, 128th … call."""
    return calls & (calls - 1) == 0 and calls.bit_length() % 3 == 2


def check(loss: Loss, model: Any, batch: Any, replayed: float) -> None:
    """Compare with the function itself now and then: a number from elsewhere may have changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = loss(model, batch).data
    same = plain == replayed or (plain != plain and replayed != replayed)
    if not same and abs(plain - replayed) > 1e-9 * max(abs(plain), abs(replayed)):
        raise WhenceError(
            f"The compiled loss gave {replayed!r} where the function itself gives {plain!r}: "
            "it uses numbers that it is not given (a counter, random numbers, a setting that "
            "changed). Pass them in the batch."
        )


def notice(recordings: int, calls: int) -> None:
    """Warn once where most calls record a graph."""
    if recordings == 32 and calls < 64:
        warnings.warn(
            f"{recordings} of {calls} calls recorded a new graph, which is slower than not "
            "compiling: the loss branches on numbers, uses them as an index (use pick) or reads "
            "their data.",
            SlowWarning,
            stacklevel=4,
        )
